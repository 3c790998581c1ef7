"""Conditions on small fields: what they understand, what they refuse, and that nothing of them is run."""

from __future__ import annotations

import ast
import shlex
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamload.conditions import COMPARISONS, Condition
from streamload.errors import ConfigError
from streamload.ragged import Ragged, text_arrays


class TestConditions:
    """Of fields with numbers, texts and classes."""

    TAKEN: ClassVar = {"label": np.array([0, 1, 2, 3]), "width": np.array([10, 64, 64, 128]), "x": np.array([0.5, np.nan, 2.0, -1.0])}

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ("label == 2", [2]),
            ("label in (0, 3)", [0, 3]),
            ("label not in [0, 3] and width >= 64", [1, 2]),
            ("not label < 2 or width == 10", [0, 2, 3]),
            ("0 < label <= 2", [1, 2]),
            ("width > label", [0, 1, 2, 3]),
            ("x < -0.5", [3]),
            ("x == x", [0, 2, 3]),
            ("label == 'cat'", [0]),
            ("'dog' == label or label in ('cow',)", [1, 2]),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_comparisons(self, text: str, right: list[int]):
        """Of fields with numbers, names of classes and each other."""
        held = Condition(text).holds(self.TAKEN, {"label": ["cat", "dog", "cow", "ant"]})
        assert np.flatnonzero(held).tolist() == right

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            (f"whole == {2**53 + 1}.0 or whole == {2**53 + 1}", [0, 1]),
            (f"whole in ({2**53}.0, 7.5)", [0]),
            ("whole == wide", [0]),
            ("wide < whole", [1]),
            ("whole == unsigned", [0, 1]),
            ("unsigned > whole", [2, 3]),
            (f"wide == {2**53 + 1} or wide > {10**400}", [3]),
            (f"wide < {10**400}", [0, 1, 2]),
            ("narrow == 16777217", []),
            ("narrow == 0.1", [1]),
            ("narrow < 1e300", [0, 1]),
            ("narrow == 1e-60 or narrow > 1e39", [2]),
            ("byte < 300 and byte > -1", [0, 1, 2, 3]),
            ("byte == 256 or byte == 1.5", []),
            ("flag == 2 or flag == -1", []),
            ("flag == byte", [1]),
        ],
    )
    def test_numbers_are_compared_as_they_are(self, text: str, right: list[int]):
        """Not as NumPy rounds them to compare them; but a fraction counts as the field's type holds it."""
        taken = {
            "whole": np.array([2**53, 2**53 + 1, -1, -(2**63)]),
            "unsigned": np.array([2**53, 2**53 + 1, 2**64 - 1, 2**63], np.uint64),
            "wide": np.array([2.0**53, 2.0**53, 0.5, np.inf]),
            "narrow": np.array([2**24, 0.1, np.inf, np.nan], np.float32),
            "byte": np.array([0, 1, 255, 9], np.uint8),
            "flag": np.array([True, True, False, False]),
        }
        assert np.flatnonzero(Condition(text).holds(taken, {})).tolist() == right

    @given(
        values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
        near=st.integers(-1, 1),
        sign=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    )
    def test_whole_numbers_and_floats_compare_as_in_python(self, values: list[int], near: int, sign: str):
        """Field by number, field by field, and the other way round."""
        compare = COMPARISONS[type(ast.parse(f"a {sign} b", mode="eval").body.ops[0])]
        whole, floats = np.array(values), np.array(values, np.float64)
        number = float(values[0] + near)
        for text, wanted in (
            (f"a {sign} {number!r}", [compare(one, number) for one in values]),
            (f"{values[0] + near} {sign} b", [compare(values[0] + near, one) for one in floats.tolist()]),
            (f"a {sign} b", [compare(one, other) for one, other in zip(values, floats.tolist(), strict=True)]),
        ):
            assert Condition(text).holds({"a": whole, "b": floats}, {}).tolist() == wanted

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("__import__('os').system('x')", "is no comparison"),
            ("label.__class__ == 1", "is neither a field nor a number or text"),
            ("label == (lambda: 1)()", "is neither a field nor a number or text"),
            ("[x for x in label] == 1", "is neither a field nor a number or text"),
            ("label == 10 ** 10 ** 10", "is neither a field nor a number or text"),
            ("label in width", "what follows `in` is no list"),
            ("label is 1", "`is` compares nothing here"),
            ("label == -'cat'", "\"-'cat'\" is a text with a sign"),
            ("1 == 1", "it asks about no field"),
            ("label = 1", "where 'label = 1' cannot be read. Did you mean \"label == 1\"?"),
            ("label = cat", "Did you mean \"label == 'cat'\"?"),
            ("label = it's", "Did you mean 'label == \"it\\'s\"'?"),
            ("name = New York", "Did you mean \"name == 'New York'\"?"),
            ("label = (1, 2)", 'Did you mean "label in (1, 2)"?'),
            ("a.b = 3", "cannot be read. Compare fields with numbers"),
            ("label = True", 'Did you mean "label == True"?'),
            ("label = None", "cannot be read. Compare fields with numbers"),
            ("(" * 300, "cannot be read"),
        ],
        ids=lambda value: value[:30],
    )
    def test_anything_else_is_refused(self, text: str, why: str):
        """Nothing is run."""
        with pytest.raises(ConfigError) as refused:
            Condition(text)
        assert why in str(refused.value)
        assert "Compare fields with numbers" in str(refused.value) or "Did you mean" in str(refused.value)

    @given(name=st.sampled_from(["x", "Ab", "é"]), value=st.text(max_size=9), said=st.sampled_from(["where", "--where"]))
    def test_what_is_suggested_can_be_read(self, name: str, value: str, said: str):
        """As Python reads a text in quotes, or a shell the argument of an option."""
        try:
            Condition(f"{name} = {value}", said=said)
        except ConfigError as refused:
            meant = str(refused).partition("Did you mean ")[2].removesuffix("?")
        if meant:
            assert Condition(shlex.split(meant)[0] if said == "--where" else ast.literal_eval(meant)).names == (name,)

    def test_one_that_is_too_long_says_so(self):
        """With how long it is, and may be."""
        with pytest.raises(
            ConfigError, match=r"has 2,009 characters, and 1,000 are read. Say it in fewer, with a range such as .* as indices="
        ):
            Condition("label == " + "1" * 2000)

    @given(text=st.text(max_size=40))
    def test_whatever_is_written_it_is_read_or_refused(self, text: str):
        """No other error."""
        try:
            Condition(text)
        except ConfigError:
            pass

    def test_a_class_that_is_misspelt_is_named(self):
        """With what was probably meant."""
        with pytest.raises(ConfigError, match=r"'cta' is no class of 'label'. Did you mean 'cat'\?"):
            Condition("label == 'cta'").holds(self.TAKEN, {"label": ["cat", "dog"]})
        with pytest.raises(ConfigError, match="numbers without names"):
            Condition("label == 'cat'").holds(self.TAKEN, {})
        with pytest.raises(ConfigError, match="'x' holds no single numbers"):
            Condition("x == 1").holds({"x": np.zeros((3, 2))}, {})

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ("a == b", [0, 4, 6]),
            ("b == a", [0, 4, 6]),
            ("a != b", [1, 2, 3, 5, 7]),
            ("a == same", [0, 1, 2, 3, 4, 5, 6, 7]),
            ("a < same or a <= 1", [0, 1, 3, 6]),
            ("a == plain and plain < 2", [0, 1, 3, 6]),
            ("'cat' == a == b", [0]),
        ],
    )
    def test_classes_of_two_fields_are_compared_by_name(self, text: str, right: list[int]):
        """Where each numbers its own; a number that is no class of either is equal to itself alone."""
        a = np.array([0, 1, 2, 0, 2, 3, -1, 9], np.int8)  # cat, dog, cow, cat, cow, emu, none, none
        b = np.array([1, 1, 2, 2, 0, 3, -1, 8])  # cat, cat, dog, dog, cow, none, none, none
        classes = {"a": ["cat", "dog", "cow", "emu"], "b": ["cow", "cat", "dog"], "same": ["cat", "dog", "cow", "emu"]}
        held = Condition(text).holds({"a": a, "b": b, "same": a, "plain": a}, classes)
        assert np.flatnonzero(held).tolist() == right

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("label < 'dog'", "names have no order; 'dog' is number 1. If the numbers are meant: \"label < 1\"."),
            (
                "label == 1 or 'cat' >= label",
                "\"'cat' >= label\" asks which class comes first, and names have no order; 'cat' is number 0.",
            ),
            ("label > width", 'the two fields number theirs differently. Ask whether they are the same: "label == width".'),
            ("label < 'dgo'", "'dgo' is no class of 'label'. Did you mean 'dog'?"),
        ],
    )
    def test_which_class_comes_first_is_no_question(self, text: str, why: str):
        """By name or by number would be a guess."""
        with pytest.raises(ConfigError) as refused:
            Condition(text).holds(self.TAKEN, {"label": ["cat", "dog"], "width": ["dog", "cat"]})
        assert why in str(refused.value)

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ("name == 'cat'", [0, 2]),
            ("name != 'cat' and label > 1", [3]),
            ("name in ('dog', 'ant')", [1, 3]),
            ("code == 'b'", [1, 3]),
            ("name < 'cb'", [0, 2, 3]),
        ],
    )
    def test_texts_are_compared_as_they_are(self, text: str, right: list[int]):
        """Fixed-length strings and bytes, and texts of any length."""
        taken = self.TAKEN | {"name": np.array(["cat", "dog", "cat", "ant"]), "code": np.array([b"a", b"b", b"a", b"b"])}
        assert np.flatnonzero(Condition(text).holds(taken, {})).tolist() == right

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ("name == 'a'", [0]),
            ("name == 'a\\0'", [1]),
            ("name in ('', 'a\\0', 'it\\'s')", [1, 2]),
            ("name == code", [0, 3]),
            ("code != name and code < name", [1]),
            ("code == 'é'", [3]),
            ("code == '\\ud800' or code == 'a\\0'", []),
            ("µ == 1", [1]),
        ],
    )
    def test_texts_are_told_apart_to_the_last_character(self, text: str, right: list[int]):
        """With zero characters at the end; beside bytes, which are texts in UTF-8; and names of fields, whose letters look alike."""
        ((_, _, texts),) = text_arrays({"name": Ragged.of(["a", "a\0", "it's", "é"])}, 4)
        taken = texts | {"code": np.array([one.encode() for one in ("a", "a", "z", "é")]), "µ": np.arange(4), "μ": np.zeros(4)}
        assert np.flatnonzero(Condition(text).holds(taken, {})).tolist() == right

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ("a == 'cat'", [0, 2, 3]),
            ("a != 'cat'", [1, 4]),
            ("a in ('cat', 1)", [0, 1, 2, 3]),
            ("a == 2", [2]),
            ("a == b", [0, 2, 4]),
            ("b == a", [0, 2, 4]),
            ("a == same", [0, 2, 3, 4]),
        ],
    )
    def test_a_name_stands_for_all_numbers_that_have_it(self, text: str, right: list[int]):
        """A list of classes may have one twice."""
        a, b, same = np.array([0, 1, 2, 0, 9]), np.array([1, 1, 1, 0, 9]), np.array([0, 0, 2, 2, 9])
        words = ["cat", "dog", "cat"]
        held = Condition(text).holds({"a": a, "b": b, "same": same}, {"a": words, "b": ["dog", "cat"], "same": words})
        assert np.flatnonzero(held).tolist() == right

    @pytest.mark.parametrize("text", ["name == 3", "name > label", "label in (1, 2) or name in ('a', 2)"])
    def test_texts_are_not_compared_with_numbers(self, text: str):
        """Which would never be equal: a slip of the pen."""
        taken = self.TAKEN | {"name": np.array(["cat", "dog", "cat", "ant"])}
        with pytest.raises(ConfigError, match="is not understood: a text and a number cannot be compared"):
            Condition(text).holds(taken, {})

    def test_errors_call_it_what_it_is(self):
        """A method, or an option of a command; and repeat no control characters."""
        with pytest.raises(ConfigError, match=r"--where 'x \\x1b\[31m' cannot be read"):
            Condition("x \x1b[31m", said="--where")
        with pytest.raises(ConfigError, match="where 'x' is not understood: 'x' is no comparison"):
            Condition("x")

"""Conditions on small fields, such as "label in (3, 5) and width >= 64": read by a grammar of their own, never run as code."""

from __future__ import annotations

import ast
import difflib
import operator
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.comparisons import as_utf8, compared, is_text
from streamload.errors import ConfigError

MOST_CHARACTERS = 1000
MOST_SHOWN = 300
"""Characters of a condition, or of a value in it, that an error repeats."""
NO_CLASS = np.iinfo(np.int64).min
"""Stands for a name that is none of the classes that it is compared with: equal to no number of a class."""
HINT = 'Compare fields with numbers, texts or each other: "label in (3, 5) and not width < 64", "label == \'cat\'".'

MEANT = {
    **dict.fromkeys(("true", "TRUE", "false", "FALSE"), "Truth values are written True and False."),
    **dict.fromkeys(("nan", "NaN", "NAN"), 'What is not a number is equal to nothing, itself included: "x != x".'),
    **dict.fromkeys(("inf", "Infinity"), "What is larger than all numbers is written 1e999."),
}
"""What is to be said of words that other languages have for values, where there is no field of that name."""

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Condition:
    """A condition that was read and found to hold nothing but comparisons; `names` are the fields that it asks about.

    `said` is what errors call it: "where", or the option of a command.
    """

    def __init__(self, text: str, *, said: str = "where") -> None:
        self.text = text
        self.said = said
        if len(text) > MOST_CHARACTERS:
            raise ConfigError(
                f"{said} {_quoted(text)} has {len(text):,} characters, and {MOST_CHARACTERS:,} are read.",
                hint='Say it in fewer, with a range such as "3 <= label < 50", or give record numbers of your own as indices='
                + (" of a loader." if said.startswith("-") else "."),
            )
        tree = _parsed(text)
        if tree is None:
            raise ConfigError(f"{said} {_quoted(text)} cannot be read.", hint=_meant_comparison(text, said) or HINT)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):  # Python's grammar makes one letter of some that look alike, such as two kinds of µ.
                node.id = ast.get_source_segment(text.strip(), node) or node.id
        self._tree = tree
        self.names = tuple(dict.fromkeys(self._names(self._tree)))
        if not self.names:
            raise self._refused("it asks about no field")

    def _refused(self, why: str, hint: str = HINT) -> ConfigError:
        return ConfigError(f"{self.said} {_quoted(self.text)} is not understood: {why}.", hint=hint)

    def _names(self, node: ast.expr) -> list[str]:
        """The fields below a node of the condition; refuses what is none."""
        if isinstance(node, ast.BoolOp):
            return [name for value in node.values for name in self._names(value)]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self._names(node.operand)
        if not isinstance(node, ast.Compare):
            raise self._refused(f"{ast.unparse(node)[:60]!r} is no comparison")
        found: list[str] = []
        for operation, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operation, (ast.In, ast.NotIn)):
                if not isinstance(right, (ast.Tuple, ast.List, ast.Set)):
                    raise self._refused("what follows `in` is no list")
                for one in right.elts:
                    self._constant(one)
                continue
            if type(operation) not in COMPARISONS:
                raise self._refused("`is` compares nothing here")
            found += self._operand(right)
        return self._operand(node.left) + found

    def _operand(self, node: ast.expr) -> list[str]:
        if isinstance(node, ast.Name):
            return [node.id]
        self._constant(node)
        return []

    def _constant(self, node: ast.expr) -> Any:
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            node, sign = node.operand, -1
        if not isinstance(node, ast.Constant) or not isinstance(node.value, (bool, int, float, str)):
            raise self._refused(f"{ast.unparse(node)[:60]!r} is neither a field nor a number or text")
        if isinstance(node.value, str) and sign < 0:
            raise self._refused(f"{'-' + ast.unparse(node)[:60]!r} is a text with a sign")
        return node.value if isinstance(node.value, str) else sign * node.value

    def holds(self, taken: Mapping[str, NDArray[Any]], classes: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
        """For which records it holds; shape (records,). `taken` are the fields of `names`: numbers, truth values or texts.

        Texts in a condition stand for the numbers of classes, where a field of numbers has classes. Two fields that have classes are
        compared by their names. Raises ConfigError where that leaves no order: names of classes, and numbers in two lists, have none.
        """
        for name in self.names:
            if taken[name].ndim != 1 or taken[name].dtype.kind not in "buifSUO":
                raise ConfigError(f"{self.said}: {_quoted(name)} holds no single numbers.", hint="Ask about small fields, such as labels.")
        return np.asarray(self._held(self._tree, taken, classes), np.bool_)

    def _held(self, node: ast.expr, taken: Mapping[str, NDArray[Any]], classes: Mapping[str, Sequence[str]]) -> Any:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return join.reduce([self._held(value, taken, classes) for value in node.values])
        if isinstance(node, ast.UnaryOp):
            return np.logical_not(self._held(node.operand, taken, classes))
        assert isinstance(node, ast.Compare)
        count = len(taken[self.names[0]])
        result = np.ones(count, np.bool_)
        left = node.left
        for operation, right in zip(node.ops, node.comparators, strict=True):
            result &= np.broadcast_to(self._compared(left, operation, right, taken, classes), (count,))
            left = right
        return result

    def _compared(self, left: ast.expr, operation: ast.cmpop, right: ast.expr, taken: Mapping[str, Any], classes: Mapping[str, Any]) -> Any:
        if isinstance(operation, (ast.In, ast.NotIn)):
            assert isinstance(right, (ast.Tuple, ast.List, ast.Set))
            found = [self._result(operator.eq, *self._sides(left, one, taken, classes)) for one in right.elts]
            inside = np.logical_or.reduce(found) if found else np.False_
            return np.logical_not(inside) if isinstance(operation, ast.NotIn) else inside
        compare = COMPARISONS[type(operation)]
        if compare not in (operator.eq, operator.ne):
            self._check_order(left, operation, right, classes)
        return self._result(compare, *self._sides(left, right, taken, classes))

    def _sides(self, left: ast.expr, right: ast.expr, taken: Mapping[str, Any], classes: Mapping[str, Any]) -> tuple[Any, Any]:
        """What is compared: arrays of fields' values, numbers, or texts. Classes are numbers that are equal where their names are."""
        named = next((one.id for one in (left, right) if isinstance(one, ast.Name)), None)
        here, there = (self._value(one, named, taken, classes) for one in (left, right))
        words, others = (tuple(classes.get(one.id, ())) if isinstance(one, ast.Name) else () for one in (left, right))
        if words and others:
            return _by_first(here, words), _by_first(_renumbered(there, others, words), words)
        if any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in (left, right)):
            here, there = _by_first(here, words), _by_first(there, others)
        return here, there

    def _check_order(self, left: ast.expr, operation: ast.cmpop, right: ast.expr, classes: Mapping[str, Any]) -> None:
        """Raise ConfigError where which class comes first would be a guess: by its name, or by its number."""
        words, others = (tuple(classes.get(node.id, ())) if isinstance(node, ast.Name) else () for node in (left, right))
        why = f"{ast.unparse(ast.Compare(left, [operation], [right]))!r} asks which class comes first, and "
        if words and others and words != others:
            same = ast.unparse(ast.Compare(left, [ast.Eq()], [right]))
            raise self._refused(why + "the two fields number theirs differently", hint=f'Ask whether they are the same: "{same}".')
        for known, node in ((words, right), (others, left)):
            if isinstance(node, ast.Constant) and node.value in known:
                number = ast.Constant(known.index(node.value))
                meant = ast.Compare(number, [operation], [right]) if node is left else ast.Compare(left, [operation], [number])
                why += f"names have no order; {node.value!r} is number {number.value}"
                raise self._refused(why, hint=f'If the numbers are meant: "{ast.unparse(meant)}".')

    def _result(self, compare: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
        """What a comparison gives. Raises ConfigError for a text beside a number."""
        if is_text(left) != is_text(right):
            raise self._refused("a text and a number cannot be compared")
        return compared(compare, left, right)

    def _value(self, node: ast.expr, named: str | None, taken: Mapping[str, Any], classes: Mapping[str, Any]) -> Any:
        """An array of a field's values, or a number: that of a class, where a text stands beside a field that has classes."""
        if isinstance(node, ast.Name):
            return taken[node.id]
        value, kind = self._constant(node), taken[named].dtype.kind if named is not None else "i"
        if not isinstance(value, str):
            return value
        if kind in "SUO":
            return as_utf8(value) if kind == "S" else value
        words = list(classes.get(named or "", ()))
        if value not in words:
            raise ConfigError(
                f"{self.said}: {_quoted(value)} is no class of {_quoted(named or '?')}.",
                hint=_meant(value, words) if words else "Its values are numbers without names: compare with a number.",
            )
        return words.index(value)


def _by_first(values: Any, words: Sequence[str]) -> Any:
    """Numbers of classes of which several may have one name, each as the first of its name; others as they are."""
    return _renumbered(values, words, words) if len(set(words)) < len(words) else values


def _renumbered(values: NDArray[Any], words: Sequence[str], others: Sequence[str]) -> NDArray[Any]:
    """Numbers of the classes `words` as those of the same names in `others`; NO_CLASS for a name that is not there.

    They stay what they are where both have the same, each once, and where they are numbers of no class in either."""
    if words == others and len(set(words)) == len(words):
        return values
    first = {name: number for number, name in reversed([*enumerate(others)])}
    numbers = np.array([first.get(name, NO_CLASS) for name in words], np.int64)
    known = np.isin(values, np.arange(len(words)))
    found = np.where(np.isin(values, np.arange(len(others))), NO_CLASS, values)
    found[known] = numbers[values[known].astype(np.int64)]
    return found


def _parsed(text: str) -> ast.expr | None:
    """What Python's grammar makes of a text, of which nothing is compiled or run; None for what it cannot read."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _meant_comparison(text: str, said: str) -> str | None:
    """A hint for a condition with one sign of equality, as other languages have it; None where nothing is likely."""
    one = re.fullmatch(r"([^=<>!]*[^=<>! ]) *= *(?! *None$)([^=]*[^= ])", text.strip())
    if one is None:
        return None
    name, value = one.groups()
    known = _parsed(value) if not value.isidentifier() or iskeyword(value) else None
    if isinstance(known, (ast.Tuple, ast.List, ast.Set)):
        meant = f"{name} in {value}"
    else:
        meant = f"{name} == {value if isinstance(known, (ast.Constant, ast.UnaryOp)) else repr(value)}"
    try:
        Condition(meant)
    except ConfigError:
        return None
    if not set(meant) & set('"\\$`!'):
        return f'Did you mean "{meant}"?'
    return f"Did you mean {shlex.quote(meant) if said.startswith('-') else repr(meant)}?"


def advice_on_name(name: str) -> str:
    """What may have been meant by a word that is no field."""
    return MEANT.get(name) or f"A text is quoted: {name!r}."


def _quoted(text: str) -> str:
    """Text in quotes, as an error may repeat it: no control characters, and of bounded length."""
    return repr(text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…")


def _meant(given: str, known: Sequence[str]) -> str:
    """A hint that names what was probably meant, or all there is."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There is {', '.join(known)}."

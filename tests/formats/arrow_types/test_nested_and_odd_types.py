"""Columns that are no plain numbers: structs, dates, moments, dictionaries; delivered where NumPy or a Ragged can hold them."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract import assert_delivers, assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from table_files import WRITERS, each_format

from streamload.errors import ConfigError, NullValueError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.loader.loader import Loader
from streamload.ragged import Ragged

DAYS = [dt.date(2020, 1, 1 + at % 28) for at in range(60)]
ZONE = pa.timestamp("us", "Europe/Berlin")
MOMENTS = np.datetime64("2020-01-01T12:00", "us") + np.arange(60) * np.timedelta64(1, "h")


def text(values: list[Any]) -> Ragged:
    """Strings as they are delivered."""
    return Ragged.of(values)


VALUES: dict[str, tuple[pa.Array, Any]] = {
    "date32": (pa.array(DAYS), np.array(DAYS, "M8[D]")),
    "moments of a zone": (pa.array(MOMENTS).cast(ZONE), MOMENTS),
    "times of day": (
        pa.array([dt.time(1, 2, at) for at in range(60)], pa.time64("us")),
        (3720 + np.arange(60)) * np.timedelta64(10**6, "us"),
    ),
    "whole decimals": (pa.array([decimal.Decimal(10**17 + at) for at in range(60)], pa.decimal128(18)), 10**17 + np.arange(60)),
    "bytes in a dictionary": (pa.array([b"one", b"", b"three"] * 20).dictionary_encode(), text([b"one", b"", b"three"] * 20)),
    "binary in a dictionary": (
        pa.array([b"abc", b"def"] * 30, pa.binary(3)).dictionary_encode(),
        np.array([list(b"abc"), list(b"def")] * 30, "u1"),
    ),
    "dates in a dictionary": (pa.array(DAYS).dictionary_encode(), np.array(DAYS, "M8[D]")),
    "booleans of a byte": (
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, 2] * 20, pa.int8())),
        np.array([False, True, True] * 20),
    ),
    "lists of moments": (
        pa.array([MOMENTS[: at % 3].tolist() for at in range(60)], pa.list_(ZONE)),
        Ragged.of([MOMENTS[: at % 3] for at in range(60)]),
    ),
}


@each_format
@pytest.mark.parametrize("what", VALUES)
def test_values_that_numpy_can_hold_are_delivered(write: Any, what: str, tmp_path: Path):
    """To the last digit, alone and as members of structs."""
    column, expected = VALUES[what]
    within = pa.StructArray.from_arrays([column, pa.array(np.arange(60))], ["x", "n"])
    assert_delivers(write(tmp_path / "a", pa.table({"x": column})), {"x": expected})
    assert_delivers(write(tmp_path / "b", pa.table({"s": within})), {"s.x": expected, "s.n": np.arange(60)})


@each_format
def test_what_cannot_be_held_is_left_out_with_the_true_reason(write: Any, tmp_path: Path):
    """And the rest is delivered."""
    columns = {
        "money": pa.array([decimal.Decimal("1.25")] * 3, pa.decimal128(9, 2)),
        "words": pa.array([["a", "b"]] * 3),
        "boxes": pa.array([[{"left": 1}]] * 3),
        "pairs": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int32())),
        "none": pa.nulls(3),
        "number": np.arange(3),
    }
    path = write(tmp_path / "a", pa.table(columns))
    assert_delivers(path, {"number": np.arange(3)})
    told = repr(open_source(path))
    for name, why in {
        "money": "holds values of the type decimal128(9, 2), which has no counterpart in NumPy",
        "words": "holds lists of text, and several texts a record are neither an array nor a Ragged",
        "boxes": "holds lists of structs, whose members lie side by side in no array",
        "pairs": "holds values of the type map<string, int32",
        "none": "holds nothing but nulls",
    }.items():
        assert f"'{name}' left out: it {why}" in told
        with pytest.raises(UnsupportedFeatureError, match=f"column '{name}' {why[:20]}"):
            open_source(path, fields=[name])


@each_format
def test_members_of_structs_are_fields(write: Any, tmp_path: Path):
    """Down to those that are none, under the names on the way; all of a struct can be asked for at once, and renamed."""
    rows = [{"x": at, "place": {"lat": at / 2, "name": f"n{at}"}, "tokens": [at] * (at % 3)} for at in range(60)]
    path = write(tmp_path / "a", pa.table({"s": pa.array(rows), "label": np.arange(60)}))
    members = {
        "x": np.arange(60),
        "place.lat": np.arange(60) / 2,
        "place.name": text([f"n{at}" for at in range(60)]),
        "tokens": Ragged.of([np.full(at % 3, at) for at in range(60)]),
    }
    assert_delivers(path, {**{f"s.{name}": one for name, one in members.items()}, "label": np.arange(60)})
    assert_delivers(path, {f"q.{name}": one for name, one in members.items()}, fields={"q": "s"})
    assert_delivers(path, {"s.place.lat": np.arange(60) / 2, "n": np.arange(60)}, fields={"s.place.lat": "s.place.lat", "n": "s.x"})
    with pytest.raises(ConfigError, match=r"holds no column 's\.place\.lon'.* Did you mean 's\.place\.l"):
        open_source(path, fields=["s.place.lon"])
    with Loader(open_source(path, fields=["s.place"]), batch_size=7, num_workers=0) as loader:
        found = {int(number): name for batch in loader for number, name in zip(batch.records, batch["s.place.name"], strict=True)}
    assert found == {at: f"n{at}" for at in range(60)}


@each_format
def test_a_null_struct_is_a_null_of_each_member(write: Any, tmp_path: Path):
    """NaN where there is one, said elsewhere; the other records are there."""
    rows = [None if at % 5 == 3 else {"x": at / 4, "n": at, "t": f"t{at}", "l": [at] * (at % 3)} for at in range(60)]
    kind = pa.struct([("x", pa.float64()), ("n", pa.int64()), ("t", pa.string()), ("l", pa.list_(pa.int64()))])
    path = write(tmp_path / "a", pa.table({"s": pa.array(rows, kind), "label": np.arange(60)}))
    source = open_source(path)
    assert {name: one.count for name, one in source.nulls.items()} == {"s.n": 12, "s.t": 12, "s.l": 12}
    fractions = np.arange(60) / 4
    fractions[3::5] = np.nan
    np.testing.assert_array_equal(source.complete()[0][:]["s.x"], fractions)
    record = source[4]
    assert (record["s.n"], record["s.t"], record["s.l"].tolist()) == (4, "t4", [4])
    with pytest.raises(NullValueError, match=r"null at row 8 of column 's\.n'"):
        source[8]
    filled = open_source(path, fill={"s.n": -1, "s.t": "?", "s.l": []})[3]
    assert (filled["s.n"], filled["s.t"], filled["s.l"].tolist()) == (-1, "?", [])


@pytest.mark.parametrize("how", ["arrow", "arrow zstd"])
def test_codes_of_members_are_classes(how: str, tmp_path: Path):
    """The dictionary of each is its own."""
    rows = [{"kind": "cat" if at % 2 else "dog", "more": {"size": "large"}} for at in range(60)]
    codes = pa.dictionary(pa.int8(), pa.string())
    kind = pa.struct([pa.field("kind", codes), pa.field("more", pa.struct([pa.field("size", codes)]))])
    source = open_source(WRITERS[how](tmp_path / "a", pa.table({"s": pa.array(rows, kind)})))
    assert source.classes == {"s.kind": ("dog", "cat"), "s.more.size": ("large",)}
    assert_same(source[:]["s.kind"], np.arange(60, dtype="i1") % 2)
    source.close()


@each_format
def test_images_are_no_structs(write: Any, tmp_path: Path):
    """Paths that are null are no nulls of theirs."""
    rows = [{"bytes": f"image {at}".encode(), "path": None} for at in range(60)]
    path = write(tmp_path / "a", pa.table({"image": pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}))
    assert_delivers(path, {"image": text([f"image {at}".encode() for at in range(60)])})
    assert not open_source(path).nulls


LEAVES = {
    "int": (pa.int16(), st.integers(-9, 9)),
    "float": (pa.float64(), st.integers(-9, 9).map(float)),
    "text": (pa.string(), st.text("ab", max_size=3)),
    "list": (pa.list_(pa.int8()), st.lists(st.integers(0, 9), max_size=2)),
}


def kinds(depth: int) -> st.SearchStrategy[Any]:
    """Leaves, or structs of up to three of them, nested."""
    leaf = st.sampled_from(sorted(LEAVES))
    return leaf if not depth else leaf | st.lists(kinds(depth - 1), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), kind=st.lists(kinds(2), min_size=1, max_size=3), how=st.sampled_from(list(WRITERS)))
def test_any_struct_gives_what_its_members_hold(data: st.DataObject, kind: list[Any], how: str, tmp_path_factory: pytest.TempPathFactory):
    """Nulls at any depth; a record is given whole, or not at all."""

    def arrow(one: Any) -> Any:
        return LEAVES[one][0] if isinstance(one, str) else pa.struct([(f"m{at}", arrow(inner)) for at, inner in enumerate(one)])

    def value(one: Any) -> Any:
        if isinstance(one, str):
            return data.draw(st.none() | LEAVES[one][1])
        return None if data.draw(st.integers(0, 4)) == 0 else {f"m{at}": value(inner) for at, inner in enumerate(one)}

    def leaves(one: Any, name: str, found: Any) -> dict[str, tuple[str, Any]]:
        if isinstance(one, str):
            return {name: (one, found)}
        inner = [leaves(part, f"{name}.m{at}", None if found is None else found[f"m{at}"]) for at, part in enumerate(one)]
        return {key: pair for part in inner for key, pair in part.items()}

    rows = [value(kind) for _ in range(data.draw(st.integers(1, 5)))]
    path = WRITERS[how](tmp_path_factory.mktemp("nested") / "a", pa.table({"s": pa.array(rows, arrow(kind))}))
    source = open_source(path)
    for at, row in enumerate(rows):
        expected = leaves(kind, "s", row)
        if any(found is None for name, found in expected.values() if name != "float"):
            with pytest.raises(NullValueError):
                source[at]
            continue
        for name, found in source[at].items():
            wanted = expected[name][1]
            np.testing.assert_array_equal(found, np.nan if wanted is None else wanted)
    source.close()

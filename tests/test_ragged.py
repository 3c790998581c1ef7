"""A Ragged is a list of records in two arrays, and a schema says which fields are ragged."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamload as sl
from streamload.ragged import MOST_TEXTS_NBYTES, text_arrays
from streamload.schema import Field, Schema

texts = st.lists(st.text(max_size=12), min_size=1, max_size=12)
binaries = st.lists(st.binary(max_size=12), min_size=1, max_size=12)
arrays = st.builds(
    lambda lengths, seed, shape, dtype: [np.random.default_rng(seed).integers(0, 2, (n, *shape)).astype(dtype) for n in lengths],
    st.lists(st.integers(0, 7), min_size=1, max_size=12),
    st.integers(0, 99),
    st.sampled_from([(), (3,), (2, 2), (0,)]),
    st.sampled_from(["u1", "f4", "i8", "?"]),
)
records = st.one_of(texts, binaries, arrays)


def same(found: Any, expected: Any) -> bool:
    """Whether two records are alike, type included."""
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    return type(found) is type(expected) and found == expected


@given(records)
def test_a_ragged_gives_back_the_list_it_was_made_of(expected: list[Any]):
    """By integers from either end, by iterating, and as a list; its length and lengths are the list's."""
    ragged = sl.Ragged.of(expected)
    assert len(ragged) == len(expected)
    assert ragged.offsets[0] == 0
    assert ragged.offsets[-1] == len(ragged.values)
    for found in (
        list(ragged),
        ragged.to_list(),
        [ragged[k] for k in range(len(ragged))],
        [ragged[k - len(ragged)] for k in range(len(ragged))],
    ):
        assert all(map(same, found, expected))
    encoded = [len(one.encode()) if isinstance(one, str) else len(one) for one in expected]
    assert ragged.lengths.tolist() == encoded


@given(records, st.data())
def test_slices_integers_and_booleans_choose_as_they_do_of_a_list(expected: list[Any], data: st.DataObject):
    """The result is a Ragged of its own, which begins at 0."""
    ragged, numbers = sl.Ragged.of(expected), np.arange(len(expected))
    chosen: Any = data.draw(
        st.one_of(
            st.slices(len(expected)),
            st.lists(st.integers(-len(expected), len(expected) - 1), max_size=9).map(lambda one: np.array(one, np.int64)),
            st.lists(st.booleans(), min_size=len(expected), max_size=len(expected)).map(np.array),
        )
    )
    found = ragged[chosen]
    assert isinstance(found, sl.Ragged)
    assert found.kind == ragged.kind
    assert found.offsets[0] == 0
    wanted = [expected[k] for k in numbers[chosen].tolist()]
    assert len(found) == len(wanted)
    assert all(map(same, found, wanted))


@given(arrays, st.integers(0, 8) | st.none())
def test_padding_fills_up_what_the_mask_says_is_no_element(expected: list[np.ndarray], length: int | None):
    """The unmasked elements are the records', cut where they are longer; everything else is the value that was given."""
    padded, mask = sl.Ragged.of(expected).padded(1, length)
    width = max(map(len, expected)) if length is None else length
    assert padded.shape == (len(expected), width, *expected[0].shape[1:])
    assert mask.shape == padded.shape[:2]
    for row, kept, one in zip(padded, mask, expected, strict=True):
        assert kept.tolist() == [k < len(one) for k in range(width)]
        assert np.array_equal(row[kept], one[:width])
        assert (row[~kept] == 1).all()


@given(records)
def test_arrow_and_pickles_have_the_same_records(expected: list[Any]):
    """Arrow's array is valid and of a large type, with the elements' own type inside."""
    ragged = sl.Ragged.of(expected)
    array = ragged.to_arrow()
    array.validate(full=True)
    assert array.to_pylist() == [one.tolist() if isinstance(one, np.ndarray) else one for one in expected]
    assert str(array.type).startswith("large_")
    assert all(map(same, pickle.loads(pickle.dumps(ragged)), expected))
    assert all(map(same, ragged.copy(), expected))
    assert not np.shares_memory(ragged.copy().offsets, ragged.offsets)


def test_records_of_an_array_are_views():
    """What is written into a record is written into the values."""
    ragged = sl.Ragged.of([np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)])
    ragged[0][:] = 5
    assert (ragged.values[:2] == 5).all()


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (["a cat", "two dögs", ""], "Ragged(3 x text: ['a cat', 'two dögs', ''])"),
        ([b"\xff\xd8" * 50, b""], "Ragged(2 x bytes: [b'" + "\\xff\\xd8" * 20 + "'... (100 bytes), b''])"),
        ([np.arange(2), np.arange(9)], "Ragged(2 x int64 (*,): [[0, 1], [0, 1, ..., 7, 8]])"),
        ([np.zeros((0, 3), "f4")], "Ragged(1 x float32 (*, 3): [[]])"),
        ([""] * 9, "Ragged(9 x text: ['', '', '', '', '', '', ...])"),
    ],
    ids=["text", "bytes", "arrays", "no elements", "many"],
)
def test_a_repr_shows_the_first_records(expected: list[Any], text: str):
    """Of many records some, of long ones the beginning."""
    assert repr(sl.Ragged.of(expected)) == text


def test_what_cannot_be_is_refused_with_a_cure():
    """Mixed records, arrays that differ in more than the first axis, numbers beyond the end, and use as one array."""
    with pytest.raises(sl.ConfigError, match="are of 2 kinds"):
        sl.Ragged.of(["a", b"b"])
    with pytest.raises(sl.ConfigError, match=r"differ in their first axis only, and these are float64 \(2, 3\), float64 \(2, 4\)"):
        sl.Ragged.of([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(sl.ConfigError, match="padded\\(length=-1\\) is less than nothing"):
        sl.Ragged.of(["a"]).padded(length=-1)
    with pytest.raises(sl.ConfigError, match=r"^array 1 of a ragged field is a masked array, 2 of whose 3 elements are masked"):
        sl.Ragged.of([np.arange(3), np.ma.masked_less([5, 6, 7], 7)])
    with pytest.raises(sl.ConfigError, match=r"^What records are chosen by is a masked array, 1 of whose 2 elements are masked"):
        sl.Ragged.of(["a", "b"])[np.ma.masked_equal([0, 1], 1)]
    with pytest.raises(IndexError, match="record 1 is out of range for 1 records"):
        sl.Ragged.of(["a"])[1]
    with pytest.raises(IndexError, match="chosen by an integer, a slice, integers or booleans"):
        sl.Ragged.of(["a"])[[[0]]]
    with pytest.raises(IndexError, match=r"^a Ragged is indexed by record alone, ragged\[5\], not by \(0, 1\): .* differ in length$"):
        sl.Ragged.of([np.arange(3)])[0, 1]
    with pytest.raises(IndexError, match=r"images that are stored as bytes become arrays by sl\.open\(path, decode=\(224, 224\)\)$"):
        sl.Ragged.of([b"a"])[..., None]
    with pytest.raises(TypeError, match=r"take \.values and \.offsets, \.padded\(\) or \.to_list\(\)"):
        np.asarray(sl.Ragged.of(["a", "b"]))
    with pytest.raises(sl.CorruptDataError, match="text number 0 is not UTF-8: invalid start byte at byte 1 of 2"):
        sl.Ragged(np.frombuffer(b"a\xff", np.uint8), np.array([0, 2]), "text")[0]


def test_a_schema_says_what_is_ragged():
    """In words, and by name; the bytes of a record are those of the fields that have a fixed size."""
    schema = Schema(
        (
            Field("image", np.dtype("u1"), (2, 3)),
            Field("caption", np.dtype("u1"), (), "text"),
            Field("jpeg", np.dtype("u1"), (), "bytes"),
            Field("points", np.dtype("f4"), (3,), "array"),
            Field("tokens", np.dtype("i4"), (), "array"),
        )
    )
    assert str(schema) == "image uint8 (2, 3) · caption text (ragged) · jpeg bytes (ragged) · points float32 (*, 3) · tokens int32 (*,)"
    assert [field.name for field in schema.ragged] == ["caption", "jpeg", "points", "tokens"]
    assert schema.record_nbytes == 6
    assert schema["points"].nbytes == 12


def test_few_texts_at_a_time_become_an_array_where_one_is_very_long() -> None:
    """An array of texts takes as much for each as for the longest: here 40 GB for 10,000 of a letter and one of a million."""
    texts = ["a"] * 10_000
    texts[7_000] = "b" * 1_000_000
    held = {"text": sl.Ragged.of(texts), "number": np.arange(10_000)}
    found = []
    for start, stop, fields in text_arrays(held, 10_000):
        assert fields["text"].nbytes <= MOST_TEXTS_NBYTES
        assert fields["number"].tolist() == list(range(start, stop))
        found += fields["text"].tolist()
    assert found == texts

"""Padding and packing: compiled and plain kernels alike, and every element exactly where it belongs."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamload.kernels import collate_plain, compile_kernels

LENGTH = 12
lengths = st.lists(st.integers(0, LENGTH), max_size=30).map(lambda found: np.array(found, np.int64))


@pytest.fixture(scope="module")
def compiled() -> ModuleType:
    """The compiled kernels."""
    from streamload.kernels import collate_kernels

    assert compile_kernels()
    found = collate_kernels()
    assert found is not collate_plain
    return found


def fitted(kernels: ModuleType, given: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    rows, starts, room = np.zeros((3, len(given)), np.int64)
    return kernels.first_fit(given, LENGTH, rows, starts, room), rows, starts


@given(lengths)
def test_records_fit_into_rows_without_overlap(compiled: ModuleType, given: np.ndarray) -> None:
    """The same rows by both; no two records share an element, and at most one row is half empty."""
    used, rows, starts = fitted(compiled, given)
    again = fitted(collate_plain, given)
    assert used == again[0]
    assert rows.tolist() == again[1].tolist()
    assert starts.tolist() == again[2].tolist()
    taken = np.zeros((used, LENGTH), int)
    for length, row, start in zip(given.tolist(), rows.tolist(), starts.tolist(), strict=True):
        assert start + length <= LENGTH
        if length:
            taken[row, start : start + length] += 1
    assert taken.max(initial=0) <= 1
    assert taken.sum() == given.sum()
    assert (taken.sum(axis=1) * 2 <= LENGTH).sum() <= 1


places = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(places, st.integers(1, 5))
def test_what_lies_between_is_filled(compiled: ModuleType, found: list[tuple[int, int]], fill_nbytes: int) -> None:
    """Pieces in their places, and all gaps, each from the fill's begin on."""
    source = np.arange(1, 101, dtype=np.uint8)
    fill = np.arange(200, 200 + fill_nbytes, dtype=np.uint8)
    counts = np.array([count for _, count in found], np.int64)
    targets = np.cumsum([gap + count for gap, count in found]).astype(np.int64) - counts
    sources = np.arange(len(found), dtype=np.int64) * 3
    total = int(targets[-1] + counts[-1]) + 4 if found else 7
    expected, at = [], 0
    for target, source_at, count in zip([*targets.tolist(), total], [*sources.tolist(), 0], [*counts.tolist(), 0], strict=True):
        expected += np.resize(fill, target - at).tolist() + source[source_at : source_at + count].tolist()
        at = target + count
    for kernels in (compiled, collate_plain):
        out = np.zeros(total + 1, np.uint8)
        kernels.lay_out(source.ctypes.data, sources, counts, out.ctypes.data, targets, total, fill.ctypes.data, fill.nbytes)
        assert out[:-1].tolist() == expected
        assert out[-1] == 0


@given(places)
def test_marks_say_what_lies_where(compiled: ModuleType, found: list[tuple[int, int]]) -> None:
    counts = np.array([count for _, count in found], np.int64)
    targets = np.cumsum([gap + count for gap, count in found]).astype(np.int64) - counts
    total = int(targets[-1] + counts[-1]) + 3 if found else 5
    numbers = np.arange(len(found), dtype=np.int32) + 1
    segments, positions = np.zeros((2, total), np.int32)
    for number, target, count in zip(numbers.tolist(), targets.tolist(), counts.tolist(), strict=True):
        segments[target : target + count] = number
        positions[target : target + count] = range(count)
    for kernels in (compiled, collate_plain):
        out = np.full((2, total), -1, np.int32)
        kernels.mark_segments(counts, targets, numbers, out[0], out[1])
        assert out.tolist() == [segments.tolist(), positions.tolist()]
        mask = np.full(total, 9, np.uint8)
        kernels.mark_elements(counts, targets, mask)
        assert mask.tolist() == (segments > 0).astype(int).tolist()

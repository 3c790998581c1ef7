"""Which chunks hold wanted records, and which are read together: the short ways say what the long one says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamload.formats.columns.chunk_grid import Grid, together


@given(band=st.integers(2, 9), total=st.integers(1, 80), data=st.data())
def test_a_run_of_records_needs_the_same_chunks_as_the_records_one_by_one(band: int, total: int, data: st.DataObject) -> None:
    """One record after the other into one row after the other, against the same records backwards, which no short way takes."""
    first = data.draw(st.integers(0, total - 1))
    count, row = data.draw(st.integers(1, total - first)), data.draw(st.integers(0, 5))
    grid = Grid.of(chunk_shape=(band, 3), shape=(3,), total=total, itemsize=2)
    local, rows = np.arange(first, first + count), np.arange(row, row + count)
    found, turned = grid.wanted(local, rows), grid.wanted(local[::-1], rows[::-1])
    assert found.chunks.tolist() == turned.chunks.tolist() == sorted({k // band for k in local.tolist()})
    assert found.edges.tolist() == turned.edges.tolist()
    assert found.runs.tolist() == list(range(len(found.chunks)))
    for k, (chunk, place) in enumerate(zip(found.chunks.tolist(), found.places.tolist(), strict=True)):
        held = [r for r in range(chunk * band, (chunk + 1) * band) if first <= r < first + count]
        assert place == ((row + held[0] - first) * grid.record_nbytes if len(held) == band else -1)
        assert found.local[found.edges[k] : found.edges[k + 1]].tolist() == held
        assert sorted(turned.local[turned.edges[k] : turned.edges[k + 1]].tolist()) == held


@given(band=st.integers(2, 5), total=st.integers(2, 40), data=st.data())
def test_whole_bands_in_any_order_need_the_same_chunks_as_their_records(band: int, total: int, data: st.DataObject) -> None:
    """Bands that come whole, and nearly: with two records that have changed places, one that comes once more, or a band twice."""
    grid = Grid.of(chunk_shape=(band, 3), shape=(3,), total=total, itemsize=2)
    bands = data.draw(st.lists(st.integers(0, (total - 1) // band), min_size=1, max_size=6, unique=data.draw(st.booleans())))
    local = np.concatenate([np.arange(one * band, min(total, (one + 1) * band)) for one in bands])
    places = np.array(data.draw(st.permutations(range(len(bands))))) * (band + data.draw(st.integers(0, 2)))
    rows = np.concatenate([place + np.arange(min(total - one * band, band)) for one, place in zip(bands, places.tolist(), strict=True)])
    for changed in (local, rows) if data.draw(st.booleans()) else ():
        one, other = (data.draw(st.integers(0, len(local) - 1)) for _ in range(2))
        changed[[one, other]] = changed[[other, one]] if data.draw(st.booleans()) else changed[one]
    found = grid.wanted(local.copy(), rows.copy())
    assert found.chunks.tolist() == sorted({k // band for k in local.tolist()})
    assert (found.edges[0], found.edges[-1], found.runs.tolist()) == (0, len(local), list(range(len(found.chunks))))
    pairs = list(zip(local.tolist(), rows.tolist(), strict=True))
    for k, (chunk, place) in enumerate(zip(found.chunks.tolist(), found.places.tolist(), strict=True)):
        held = [pair for pair in pairs if pair[0] // band == chunk]
        run = slice(found.edges[k], found.edges[k + 1])
        assert list(zip(found.local[run].tolist(), found.rows[run].tolist(), strict=True)) == held
        whole = held == [(chunk * band + step, held[0][1] + step) for step in range(band)]
        assert place == (held[0][1] * grid.record_nbytes if whole else -1)


@given(gaps=st.lists(st.sampled_from([0, 0, 7]), min_size=1, max_size=12), sizes=st.lists(st.integers(1, 40), min_size=12, max_size=12))
def test_neighbours_are_read_together_up_to_a_limit(gaps: list[int], sizes: list[int]) -> None:
    """Groups are neighbours, cover all chunks in order, and exceed the limit only by the chunk that crosses it."""
    nbytes = np.array(sizes[: len(gaps)])
    offsets = np.cumsum(nbytes + gaps) - nbytes
    firsts, stops = together(offsets, nbytes, 64)
    assert [k for group in zip(firsts, stops, strict=True) for k in range(*group)] == list(range(len(gaps)))
    for first, stop in zip(firsts.tolist(), stops.tolist(), strict=True):
        assert all(offsets[k] + nbytes[k] == offsets[k + 1] for k in range(first, stop - 1))
        assert offsets[stop - 1] - offsets[first] <= 2 * 64
    if not any(gaps[1:]) and nbytes.sum() <= 64:
        assert len(firsts) == 1

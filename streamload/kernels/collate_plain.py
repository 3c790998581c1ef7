"""Collation of records that differ in length in NumPy alone: same results, where numba is missing."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray


def first_fit(lengths: NDArray[np.int64], length: int, rows: NDArray[np.int64], starts: NDArray[np.int64], room: NDArray[np.int64]) -> int:
    """Put each record, in the order given, into the first row of `length` elements that has room for it; returns how many rows.

    Record k goes to row `rows[k]`, from element `starts[k]` on; `room`, of as many elements as there are records, is scratch.
    None is longer than `length`, and an empty one goes to row 0.
    """
    used = 0
    for k, wanted in enumerate(lengths.tolist()):
        if wanted == 0:
            rows[k] = starts[k] = 0
            continue
        fitting = np.flatnonzero(room[:used] >= wanted)
        row = int(fitting[0]) if len(fitting) else used
        if row == used:
            room[used] = length
            used += 1
        rows[k], starts[k] = row, length - room[row]
        room[row] -= wanted
    return used


def lay_out(
    source_address: int,
    sources: NDArray[np.int64],
    nbytes: NDArray[np.int64],
    out_address: int,
    targets: NDArray[np.int64],
    total: int,
    fill_address: int,
    fill_nbytes: int,
) -> None:
    """Copy `nbytes[k]` from `source_address + sources[k]` to `out_address + targets[k]`, and fill the `total` bytes up around them.

    `targets` rise. Every gap is filled with the `fill_nbytes` at `fill_address`, again and again from its begin.
    """
    out = _bytes_at(out_address, total)
    fill = _bytes_at(fill_address, fill_nbytes)
    at = 0
    for source, count, target in zip([*sources.tolist(), 0], [*nbytes.tolist(), 0], [*targets.tolist(), total], strict=True):
        if at < target:
            out[at:target] = np.resize(fill, target - at)
            at = target
        if count:
            out[target : target + count] = _bytes_at(source_address + source, count)
            at = target + count


def mark_segments(
    counts: NDArray[np.int64],
    targets: NDArray[np.int64],
    numbers: NDArray[np.int32],
    segments: NDArray[np.int32],
    positions: NDArray[np.int32],
) -> None:
    """Write, for the `counts[k]` elements from `targets[k]` on, `numbers[k]` into `segments`, and 0, 1, 2, ... into `positions`.

    `targets` rise; all other elements of both are 0.
    """
    segments[:] = positions[:] = 0
    within = _within(counts)
    places = np.repeat(targets, counts) + within
    segments[places] = np.repeat(numbers, counts)
    positions[places] = within


def mark_elements(counts: NDArray[np.int64], targets: NDArray[np.int64], mask: NDArray[np.uint8]) -> None:
    """Write 1 for the `counts[k]` elements from `targets[k]` on, and 0 for all others; `targets` rise."""
    mask[:] = 0
    mask[np.repeat(targets, counts) + _within(counts)] = 1


def _within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, ... for each of the counts, one after the other."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _bytes_at(address: int, nbytes: int) -> NDArray[np.uint8]:
    return np.frombuffer(memoryview((ctypes.c_uint8 * nbytes).from_address(address)), np.uint8) if nbytes else np.empty(0, np.uint8)

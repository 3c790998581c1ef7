"""Compiled collation of records that differ in length: where they go in rows of one length, and writing these in one pass."""

# pyright: basic, reportCallIssue=false
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# A cached kernel calls functions of this module only: numba does not notice when another module changes.
_memcpy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))


@intrinsic
def _pointer(typing_context, address):
    """An integer address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@njit(["int64(int64[::1], int64, int64[::1], int64[::1], int64[::1])"], nogil=True, cache=True)
def first_fit(lengths, length, rows, starts, room):
    """Put each record, in the order given, into the first row of `length` elements that has room for it; returns how many rows.

    Record k goes to row `rows[k]`, from element `starts[k]` on; `room`, of as many elements as there are records, is scratch.
    None is longer than `length`, and an empty one goes to row 0.
    """
    used = 0
    first = 0  # Rows before this one are full.
    for k in range(lengths.size):
        wanted = lengths[k]
        if wanted == 0:
            rows[k] = 0
            starts[k] = 0
            continue
        row = first
        while row < used and room[row] < wanted:
            row += 1
        if row == used:
            room[used] = length
            used += 1
        rows[k] = row
        starts[k] = length - room[row]
        room[row] -= wanted
        while first < used and room[first] == 0:
            first += 1
    return used


@njit(["void(int64, int64[::1], int64[::1], int64, int64[::1], int64, int64, int64)"], nogil=True, cache=True)
def lay_out(source_address, sources, nbytes, out_address, targets, total, fill_address, fill_nbytes):
    """Copy `nbytes[k]` from `source_address + sources[k]` to `out_address + targets[k]`, and fill the `total` bytes up around them.

    `targets` rise. Every gap is filled with the `fill_nbytes` at `fill_address`, again and again from its begin.
    """
    at = np.int64(0)
    for k in range(targets.size + 1):
        stop = targets[k] if k < targets.size else total
        while at < stop:
            piece = min(stop - at, fill_nbytes)
            _memcpy(_pointer(out_address + at), _pointer(fill_address), np.uintp(piece))
            at += piece
        if k < targets.size and nbytes[k]:
            _memcpy(_pointer(out_address + stop), _pointer(source_address + sources[k]), np.uintp(nbytes[k]))
            at = stop + nbytes[k]


@njit(["void(int64[::1], int64[::1], int32[::1], int32[::1], int32[::1])"], nogil=True, cache=True)
def mark_segments(counts, targets, numbers, segments, positions):
    """Write, for the `counts[k]` elements from `targets[k]` on, `numbers[k]` into `segments`, and 0, 1, 2, ... into `positions`.

    `targets` rise; all other elements of both are 0.
    """
    at = np.int64(0)
    for k in range(targets.size + 1):
        stop = targets[k] if k < targets.size else np.int64(segments.size)
        for place in range(at, stop):
            segments[place] = 0
            positions[place] = 0
        at = max(at, stop)
        if k < targets.size:
            for place in range(counts[k]):
                segments[stop + place] = numbers[k]
                positions[stop + place] = place
            at = max(at, stop + counts[k])


@njit(["void(int64[::1], int64[::1], uint8[::1])"], nogil=True, cache=True)
def mark_elements(counts, targets, mask):
    """Write 1 for the `counts[k]` elements from `targets[k]` on, and 0 for all others; `targets` rise."""
    at = np.int64(0)
    for k in range(targets.size + 1):
        stop = targets[k] if k < targets.size else np.int64(mask.size)
        for place in range(at, stop):
            mask[place] = 0
        at = max(at, stop)
        if k < targets.size:
            for place in range(stop, stop + counts[k]):
                mask[place] = 1
            at = max(at, stop + counts[k])

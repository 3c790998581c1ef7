"""Records that differ in length, on their way from blocks into batches: room for them, where they lie, collated in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.order import Layout
from streamload.schema import Field
from streamload.source import RaggedColumn, RaggedReader, measured_of

SPLIT_SLACK = 1.25
"""Where a block of the order is a part of a stored one, what it is given above its share of that."""


def capacities_of(column: RaggedColumn, layout: Layout, cuts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Elements that each block between `cuts`, in ranks of `layout`, needs room for: shape (blocks,).

    Exact where the column has counted its blocks, and the order's blocks are made of whole ones; a generous guess elsewhere.
    """
    counts = np.diff(cuts)
    measured = measured_of(column)
    lengths, weights = (column.lengths, column.weights) if measured is None else (measured.lengths, measured.elements)
    slack, stored = 4 * np.sqrt(counts) * lengths.deviation, column.cuts
    if stored is None or weights is None:
        return np.ceil(counts * lengths.mean * SPLIT_SLACK + slack).astype(np.int64)
    ranks = stored if layout.indices is None else np.searchsorted(layout.indices, stored)
    kept = np.flatnonzero(np.diff(ranks))
    borders = np.append(ranks[kept], ranks[-1:])
    below = np.concatenate([[0], np.cumsum(weights[kept])])
    rooms = np.diff(np.interp(cuts, borders, below))
    split = ~np.isin(cuts, borders)
    guessed = split[:-1] | split[1:]
    rooms[guessed] = rooms[guessed] * SPLIT_SLACK + slack[guessed]
    return np.minimum(np.ceil(rooms), float(below[-1])).astype(np.int64)


class WindowSlice(NamedTuple):
    """The positions of a step that one window holds."""

    part: int
    """Of the arena."""
    rows: NDArray[np.int64]
    """Among the window's held records."""
    start: int
    """First position, counted in the step."""
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One ragged field in one part of the arena."""

    values: NDArray[np.generic]
    starts: NDArray[np.int64]
    """Where the elements of each record begin; -1 where its block did not fit."""
    lengths: NDArray[np.int64]

    def keep(self, reader: RaggedReader, records: NDArray[np.int64], start: int, stop: int, first: int, room: int) -> None:
        """Decode a block: its records go to rows [start, stop), their elements to the `room` behind `first`, if they fit there."""
        lengths = reader.lengths(records)
        ends = np.cumsum(lengths)
        if len(ends) and ends[-1] > room:
            self.starts[start:stop] = -1
            return
        self.starts[start:stop] = first + ends - lengths
        self.lengths[start:stop] = lengths
        reader.gather_ragged(records, self.values, self.starts[start:stop])


class RaggedCollator:
    """One ragged field of a step: measured, then put together."""

    def __init__(self, field: Field, reader: RaggedReader, regions: Sequence[Region]) -> None:
        self.field = field
        self._reader = reader
        self._regions = regions
        """Of each part of the arena; none where records are read one by one."""
        self._addresses: NDArray[np.int64] = np.zeros(0, np.int64)
        self._missing: NDArray[np.intp] | None = None

    def measure(self, records: NDArray[np.int64], pieces: Sequence[WindowSlice]) -> NDArray[np.int64]:
        """Elements of each of the step's records: shape (len(records),)."""
        if not self._regions:
            return self._reader.lengths(records)
        lengths = np.empty(len(records), np.int64)
        self._addresses = np.empty(len(records), np.int64)
        for piece in pieces:
            region = self._regions[piece.part]
            starts = region.starts[piece.rows]
            lengths[piece.start : piece.stop] = region.lengths[piece.rows]
            self._addresses[piece.start : piece.stop] = np.where(starts < 0, 0, region.values.ctypes.data + starts * self.field.nbytes)
        missing = np.flatnonzero(self._addresses == 0)
        self._missing = missing if len(missing) else None
        if self._missing is not None:
            lengths[self._missing] = self._reader.lengths(records[self._missing])
        return lengths

    def collate(self, records: NDArray[np.int64], values: NDArray[np.generic], offsets: NDArray[np.int64]) -> None:
        """Put the elements of the records that were measured one after the other, record k at `offsets[k]`."""
        if not self._regions:
            self._reader.gather_ragged(records, values, offsets[:-1])
            return
        nbytes = self.field.nbytes
        if nbytes:
            sizes = np.diff(offsets) * nbytes
            kernels.gather_kernels().copy_ragged(self._addresses, sizes, values.ctypes.data, offsets[:-1] * nbytes)
        if self._missing is not None:
            self._reader.gather_ragged(records[self._missing], values, offsets[:-1][self._missing])


def offsets_of(lengths: NDArray[np.int64], out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Where records of these lengths begin, one after the other, and their end: shape (len(lengths) + 1,)."""
    offsets = np.empty(len(lengths) + 1, np.int64) if out is None else out
    offsets[0] = 0
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def capacity_for(column: RaggedColumn, records: int) -> int:
    """Elements that a batch of so many records has room for in its slot."""
    measured = measured_of(column)
    return max(1, math.ceil((column.lengths if measured is None else measured.lengths).capacity(records)))

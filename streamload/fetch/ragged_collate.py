"""Records that differ in length, on their way from blocks into batches: room for them, where they lie, collated in one pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.order import Layout
from streamload.schema import Field
from streamload.source import Lengths, RaggedColumn, RaggedReader, measured_of

SPLIT_SLACK = 1.25
"""Where a block of the order is a part of a stored one, what it is given above its share of that."""


def capacities_of(column: RaggedColumn, layout: Layout, cuts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Elements that each block between `cuts`, in ranks of `layout`, needs room for: shape (blocks,).

    Exact where the column has counted its blocks, and the order's blocks are made of whole ones; a generous guess elsewhere.
    """
    counts = np.diff(cuts)
    measured = measured_of(column)
    lengths, block_elements = (column.lengths, column.block_elements) if measured is None else (measured.lengths, measured.elements)
    slack, stored = 4 * np.sqrt(counts) * lengths.deviation, column.cuts
    if stored is None or block_elements is None:
        return np.ceil(counts * lengths.mean * SPLIT_SLACK + slack).astype(np.int64)
    ranks = stored if layout.indices is None else np.searchsorted(layout.indices, stored)
    kept = np.flatnonzero(np.diff(ranks))
    borders = np.append(ranks[kept], ranks[-1:])
    below = np.concatenate([[0], np.cumsum(block_elements[kept])])
    rooms = np.diff(np.interp(cuts, borders, below))
    split = ~np.isin(cuts, borders)
    guessed = split[:-1] | split[1:]
    rooms[guessed] = rooms[guessed] * SPLIT_SLACK + slack[guessed]
    return np.minimum(np.ceil(rooms), float(below[-1])).astype(np.int64)


class WindowSlice(NamedTuple):
    """Neighbouring rows of a batch whose records lie in one window."""

    part: int
    """Of the arena, counted over all streams."""
    held: NDArray[np.int64]
    """Which of the window's held records they are, shape (stop - start,)."""
    start: int
    """First row of the batch."""
    stop: int


class StreamRows(NamedTuple):
    """Neighbouring rows of a batch whose records are of one stream."""

    stream: int
    start: int
    """First row of the batch."""
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One ragged field in one part of the arena."""

    values: NDArray[Any]
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
    """One ragged field of a batch: measured, then put together."""

    def __init__(self, field: Field, readers: Sequence[RaggedReader], regions: Mapping[int, Region]) -> None:
        """`readers`: one a stream. `regions`: by part of the arena, where the field lies in it; parts of streams whose records
        are read one by one are not there."""
        self.field = field
        self._readers = readers
        self._regions = regions
        self._addresses: NDArray[np.int64] | None = None
        """Of each row, where its elements lie in the arena; 0 where they do not. None where no row's do."""
        self._reads: list[tuple[RaggedReader, NDArray[np.int64], slice | NDArray[np.intp]]] = []
        """What is read past the arena: readers, records, and the rows that these go to."""

    def measure(self, records: NDArray[np.int64], rows: Sequence[StreamRows], slices: Sequence[WindowSlice]) -> NDArray[np.int64]:
        """Elements of each record of a batch: shape (len(records),). `rows` cover the batch, `slices` what lies in the arena."""
        lengths = np.empty(len(records), np.int64)
        here = [one for one in slices if one.part in self._regions]
        self._addresses = addresses = np.zeros(len(records), np.int64) if here else None
        if addresses is not None:
            lengths[:] = 0
            for one in here:
                region = self._regions[one.part]
                starts = region.starts[one.held]
                lengths[one.start : one.stop] = region.lengths[one.held]
                addresses[one.start : one.stop] = np.where(starts < 0, 0, region.values.ctypes.data + starts * self.field.nbytes)
        self._reads = []
        for stream, start, stop in rows:
            chosen: slice | NDArray[np.intp] = slice(start, stop)
            if addresses is not None:
                missing = np.flatnonzero(addresses[start:stop] == 0)
                if not len(missing):
                    continue
                chosen = missing + start
            reader, wanted = self._readers[stream], records[chosen]
            lengths[chosen] = reader.lengths(wanted)
            self._reads.append((reader, wanted, chosen))
        return lengths

    def collate(self, values: NDArray[np.generic], offsets: NDArray[np.int64]) -> None:
        """Put the elements of the records that were measured one after the other, record k at `offsets[k]`."""
        nbytes = self.field.nbytes
        if self._addresses is not None and nbytes:
            sizes = np.diff(offsets) * nbytes
            kernels.gather_kernels().copy_ragged(self._addresses, sizes, values.ctypes.data, offsets[:-1] * nbytes)
        for reader, wanted, chosen in self._reads:
            reader.gather_ragged(wanted, values, offsets[:-1][chosen])


def offsets_of(lengths: NDArray[np.int64], out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Where records of these lengths begin, one after the other, and their end: shape (len(lengths) + 1,)."""
    offsets = np.empty(len(lengths) + 1, np.int64) if out is None else out
    offsets[0] = 0
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(column: RaggedColumn) -> Lengths:
    """How long its records are, as exactly as is known."""
    measured = measured_of(column)
    return column.lengths if measured is None else measured.lengths


def capacity_for(column: RaggedColumn, records: int) -> int:
    """Elements that a batch of so many records has room for in its slot."""
    return max(1, math.ceil(lengths_of(column).capacity(records)))

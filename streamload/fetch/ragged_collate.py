"""Ragged fields, whose records differ in length: how much room they need, where they lie in the arena, and how a batch of them is
collated."""

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
"""A block of the order that is a part of a stored block gets room for this many times its share of the stored block's elements."""


def capacities_of(column: RaggedColumn, layout: Layout, cuts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many elements each block of an order needs room for: shape (blocks,). Block k has ranks [cuts[k], cuts[k + 1]) of `layout`.

    Exact for blocks that are whole stored blocks, whose elements the column has counted; a generous estimate for others.
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
    """Rows [start, stop) of a batch, whose records lie in one part of the arena."""

    part: int
    """The part, numbered through all streams."""
    held: NDArray[np.int64]
    """The rows of the part that they lie in, shape (stop - start,)."""
    start: int
    stop: int


class StreamRows(NamedTuple):
    """Rows [start, stop) of a batch, whose records are of one stream."""

    stream: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One ragged field in one part of the arena."""

    values: NDArray[Any]
    """Its elements, shape (capacity, *field.shape)."""
    starts: NDArray[np.int64]
    """By row of the part, where the elements of the record begin in `values`; -1 if its block did not fit. Shape (records,)."""
    lengths: NDArray[np.int64]
    """By row of the part, how many elements the record has. Shape (records,)."""

    def keep(self, reader: RaggedReader, records: NDArray[np.int64], start: int, stop: int, first: int, room: int) -> None:
        """Decode the records of a block into rows [start, stop) of the part, with elements in `values[first : first + room]`.

        Marks them with -1 in `starts` if they do not fit there.
        """
        lengths = reader.lengths(records)
        ends = np.cumsum(lengths)
        if len(ends) and ends[-1] > room:
            self.starts[start:stop] = -1
            return
        self.starts[start:stop] = first + ends - lengths
        self.lengths[start:stop] = lengths
        reader.gather_ragged(records, self.values, self.starts[start:stop])


class RaggedCollator:
    """Collates one ragged field of a batch, after measuring it."""

    def __init__(self, field: Field, readers: Sequence[RaggedReader], regions: Mapping[int, Region]) -> None:
        """`readers`: one for each stream. `regions`: by number of a part of the arena, where the field lies in it; parts without the field
        are left out."""
        self.field = field
        self._readers = readers
        self._regions = regions
        self._addresses: NDArray[np.int64] | None = None
        """By row, the address of its elements in the arena; 0 if they are not there. None if those of no row are."""
        self._reads: list[tuple[RaggedReader, NDArray[np.int64], slice | NDArray[np.intp]]] = []
        """What is read from files: (reader, records, rows that they go to)."""

    def measure(self, records: NDArray[np.int64], rows: Sequence[StreamRows], slices: Sequence[WindowSlice]) -> NDArray[np.int64]:
        """How many elements each record of a batch has: shape (len(records),). `rows`: those of each stream, together all. `slices`: rows
        whose records lie in the arena."""
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
        """Write the elements of the records that were measured last into `values`, those of record k from `offsets[k]` on."""
        nbytes = self.field.nbytes
        if self._addresses is not None and nbytes:
            sizes = np.diff(offsets) * nbytes
            kernels.gather_kernels().copy_ragged(self._addresses, sizes, values.ctypes.data, offsets[:-1] * nbytes)
        for reader, wanted, chosen in self._reads:
            reader.gather_ragged(wanted, values, offsets[:-1][chosen])


def offsets_of(lengths: NDArray[np.int64], out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The offsets of records of these lengths that follow each other: shape (len(lengths) + 1,), from 0 to the sum. Written to `out`
    if it is given."""
    offsets = np.empty(len(lengths) + 1, np.int64) if out is None else out
    offsets[0] = 0
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(column: RaggedColumn) -> Lengths:
    """The lengths of a column's records: measured, if they were, otherwise as the column estimates them."""
    measured = measured_of(column)
    return column.lengths if measured is None else measured.lengths


def capacity_for(column: RaggedColumn, records: int) -> int:
    """How many elements of a column a slot has room for, in a batch of so many records. Few batches need more: these overflow."""
    return max(1, math.ceil(lengths_of(column).capacity(records)))

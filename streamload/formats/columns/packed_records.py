"""Records that lie in compressed files: of any length, or all of one, read in the order in which they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.formats.columns.blocks import by_block
from streamload.formats.columns.optional_values import IndexedBytes, IndexedBytesReader
from streamload.formats.columns.packed_blocks import KEPT_NBYTES, PackedBlocks, streams_of
from streamload.schema import Field
from streamload.source import Lengths, ReadStats
from streamload.storage.files import OpenFiles


class InStoredOrder(ColumnDefaults):
    """What columns of compressed files say of themselves: a base for the two below."""

    __slots__ = ()
    blocks: PackedBlocks

    @property
    def addressable(self) -> bool:
        """Never: all that lies before a record in its file is unpacked."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where blocks begin."""
        return self.blocks.cuts

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """Each file is one stream."""
        return self.blocks.starts

    @property
    def scratch_nbytes(self) -> int:
        """A block, twice while it is unpacked, and what is kept of records that lie elsewhere."""
        return 2 * self.blocks.largest_nbytes + KEPT_NBYTES


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackedRanges(IndexedBytes, InStoredOrder):
    """One ragged field of bytes or of text, each record of which is a stretch of the unpacked bytes of a file."""

    field: Field
    """As it is delivered."""
    column: str
    """Its name in the files."""
    blocks: PackedBlocks
    offsets: NDArray[np.int64]
    """The unpacked byte at which each record begins; -1 where it has no value: shape (records,)."""
    sizes: NDArray[np.int64]
    """Bytes of each record, 0 where it has no value: shape (records,)."""
    lengths: Lengths
    label: str
    """How it is stored, for people."""
    fill: bytes | None = None
    """What stands for records without a value; None: asking for one is an error."""

    @property
    def block_elements(self) -> NDArray[np.int64]:
        """Bytes of the records of each block."""
        standing = 0 if self.fill is None else len(self.fill)
        sums = np.concatenate([[0], np.cumsum(np.where(self.offsets < 0, standing, self.sizes))])
        return np.diff(sums[self.blocks.cuts])

    def place_of(self, record: int) -> tuple[int, int]:
        """The number of the file that a record belongs to, and its own number there."""
        run = int(np.searchsorted(self.blocks.starts, record, side="right")) - 1
        return int(self.blocks.numbers[run]), record - int(self.blocks.starts[run])

    def reader(self, files: OpenFiles, meter: ReadStats) -> PackedRangeReader:
        """A reader that goes on from where it, or that of another field, was."""
        return PackedRangeReader(self, files, meter)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackedArrays(InStoredOrder):
    """One field whose records are all of one size, each a stretch of the unpacked bytes of a file."""

    field: Field
    """As it is delivered."""
    stored: np.dtype
    """An element as it lies there."""
    blocks: PackedBlocks
    offsets: NDArray[np.int64]
    """The unpacked byte at which each record begins: shape (records,)."""
    label: str
    """How it is stored, for people."""

    def reader(self, files: OpenFiles, meter: ReadStats) -> PackedArrayReader:
        """A reader that goes on from where it, or that of another field, was."""
        return PackedArrayReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class StretchReader(ReaderDefaults):
    """Copies stretches of unpacked bytes."""

    def __init__(
        self, blocks: PackedBlocks, offsets: NDArray[np.int64], sizes: NDArray[np.int64], files: OpenFiles, meter: ReadStats
    ) -> None:
        self._blocks, self._offsets, self._sizes = blocks, offsets, sizes
        self._files, self._meter = files, meter

    def _copy(self, records: NDArray[np.int64], sizes: NDArray[np.int64], out: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put so many bytes of each record at these bytes of `out`. Raises CorruptDataError where a file is damaged."""
        copy = kernels.gather_kernels().copy_ragged
        for addresses, kept, which in self._found(records, sizes):
            copy(addresses, np.ascontiguousarray(sizes[which]), out.ctypes.data, np.ascontiguousarray(starts[which]))
            del kept

    def _found(self, records: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Any, NDArray[np.intp]]]:
        """Where records lie in memory, what keeps them there, and which of the records these are: some at a time."""
        blocks, streams = self._blocks, streams_of(self._files)
        for block, chosen, _ in by_block(blocks.cuts, records):
            begin, end, number = int(blocks.begins[block]), int(blocks.ends[block]), blocks.file_of(block)
            offsets = self._offsets[records[chosen]]
            own = (offsets >= begin) & (offsets + sizes[chosen] <= end)
            if own.any():
                data = streams.block(number, begin, end, self._meter)
                yield data.ctypes.data + offsets[own] - begin, data, chosen[own]
            for at, row in zip(offsets[~own].tolist(), chosen[~own].tolist(), strict=True):
                if sizes[row]:
                    apart = streams.apart(number, self._apart(block), at, int(sizes[row]), self._meter)
                    yield np.array([apart.ctypes.data], np.int64), apart, np.array([row])

    def _apart(self, block: int) -> NDArray[np.int64]:
        """Offset and size of all records of a block's file that lie outside of their own blocks: shape (records, 2)."""
        blocks = self._blocks
        at = int(np.searchsorted(blocks.starts, blocks.cuts[block], side="right")) - 1
        first, stop = blocks.starts[at : at + 2].tolist()
        records = np.arange(first, stop, dtype=np.int64)
        places = np.stack([self._offsets[records], self._sizes[records]], axis=1)
        own = np.searchsorted(blocks.cuts, records, side="right") - 1
        inside = (places[:, 0] >= blocks.begins[own]) & (places.sum(axis=1) <= blocks.ends[own])
        return places[~inside & (places[:, 0] >= 0)]

    def close(self) -> None:
        """The streams are closed with the files."""


class PackedRangeReader(IndexedBytesReader[PackedRanges], StretchReader):
    """Gathers records of any length."""

    def __init__(self, column: PackedRanges, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column.blocks, column.offsets, column.sizes, files, meter)
        self._column = column

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the bytes of record `records[k]` into `values[starts[k]:]`. Raises as unpacking does."""
        there = self._fill_missing(records, values.view(np.uint8), starts)
        if not there.all():
            records, starts = records[there], starts[there]
        if len(records):
            self._copy(records, self._column.sizes[records], values, starts)


class PackedArrayReader(StretchReader):
    """Gathers records of one size."""

    def __init__(self, column: PackedArrays, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column.blocks, column.offsets, np.broadcast_to(np.int64(column.field.nbytes), len(column.offsets)), files, meter)
        self._column = column

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`. Raises as unpacking does."""
        nbytes = self._column.field.nbytes
        if len(records) and nbytes:
            self._copy(records, self._sizes[records], out, rows * nbytes)
        if not self._column.stored.isnative:
            out[rows] = out[rows].byteswap()

"""Arrays whose records are not counted along the axis that varies slowest: each lies in pieces, and blocks of them are turned round."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.formats.columns.blocks import LastBlock, by_block
from streamload.kernels import gather_kernels
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles, short_read

BLOCK_NBYTES = 16 * 1024**2
"""Records turned round at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransposedFile:
    """One array of one file: axes that vary slower than that of records, that of records, and axes that vary faster."""

    number: int
    """Of the file."""
    records: int
    offset: int
    """Of its first byte."""
    stored: np.dtype
    """An element as it lies in the file."""
    before: tuple[int, ...]
    """The lengths of the axes before that of records: a record lies in as many pieces as these make, or in one ..."""
    after: tuple[int, ...]
    """... and of those after it: so many elements each piece has."""
    stride: int
    """Bytes from record to record within a piece."""
    fortran: bool = False
    """Whether the axes of a record are delivered in reverse."""
    opaque_nbytes: int = 0
    """Of an element whose bytes are delivered along the last axis, and lie together; 0 where elements are numbers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransposedColumn(ColumnDefaults):
    """One field whose records lie in pieces, or in files that differ in order of axes or of bytes."""

    field: Field
    parts: tuple[TransposedFile, ...]
    label: str
    """How it is stored, for people."""

    @property
    def addressable(self) -> bool:
        """Never: a record is scattered over its whole array."""
        return False

    @property
    def span(self) -> int:
        """Records of a block."""
        return max(1, BLOCK_NBYTES // max(1, self.field.nbytes))

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where blocks begin."""
        starts = np.cumsum([0, *(part.records for part in self.parts)])
        pieces = [np.arange(start, start + part.records, self.span) for start, part in zip(starts[:-1].tolist(), self.parts, strict=True)]
        return np.concatenate([*pieces, starts[-1:]]).astype(np.int64)

    @property
    def scratch_nbytes(self) -> int:
        """A block as it is stored, the same turned round, and offsets."""
        return 2 * self.span * self.field.nbytes + 16 * max((math.prod(part.before) for part in self.parts), default=0)

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset."""
        return TransposedReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return f"{self.label}, turned round in blocks of {self.span:,} records"


class TransposedReader(ReaderDefaults):
    """Reads blocks, and keeps the last."""

    def __init__(self, column: TransposedColumn, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        cuts = column.cuts
        assert cuts is not None
        self._cuts = cuts
        self._starts = np.cumsum([0, *(part.records for part in column.parts)])
        self._last = LastBlock[NDArray[np.generic]]()

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        for block, chosen, local in by_block(self._cuts, records):
            self._files.descriptor(self._column.parts[self._part_of(block)].number)
            out[rows[chosen]] = self._last.get(block, self._read)[local]

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing: what is wanted lies in small pieces all over the array."""

    def close(self) -> None:
        """Forget the block."""
        self._last.clear()

    def _part_of(self, block: int) -> int:
        return int(np.searchsorted(self._starts, self._cuts[block], side="right")) - 1

    def _read(self, block: int) -> NDArray[np.generic]:
        """The records of a block, one after the other and in native bytes."""
        which = self._part_of(block)
        field, part = self._column.field, self._column.parts[which]
        first, count = int(self._cuts[block] - self._starts[which]), int(self._cuts[block + 1] - self._cuts[block])
        began = time.perf_counter_ns()
        stored = self._fetch(part, first, count)
        read = time.perf_counter_ns()
        turned = stored.transpose() if part.fortran else np.moveaxis(stored, len(part.before), 0)
        if part.opaque_nbytes:
            turned = np.ascontiguousarray(turned).view(np.uint8)
        turned = np.ascontiguousarray(turned.reshape(count, *field.shape), field.dtype)
        self._meter.read_ns += read - began
        self._meter.decode_ns += time.perf_counter_ns() - read
        self._meter.read_nbytes += turned.nbytes
        return turned

    def _fetch(self, part: TransposedFile, first: int, count: int) -> NDArray[np.generic]:
        """Records [first, first + count) of an array as they are stored: shape (*before, count, *after)."""
        stored = np.empty((*part.before, count, *part.after), part.stored)
        one_nbytes = math.prod(part.after) * part.stored.itemsize
        begins = part.offset + np.arange(math.prod(part.before), dtype=np.int64) * part.records * part.stride + first * part.stride
        nbytes = count * one_nbytes
        if part.stride != one_nbytes:  # Other members of a structure lie between.
            begins = (begins[:, None] + np.arange(count, dtype=np.int64) * part.stride).ravel()
            nbytes = one_nbytes
        fd, rows = self._files.descriptor(part.number), np.arange(len(begins), dtype=np.int64)
        failed = gather_kernels().read_rows(fd, begins, nbytes, stored.ctypes.data, rows) if nbytes else -1
        if failed >= 0:
            raise short_read(self._files.fingerprints[part.number], int(begins[failed]), nbytes)
        return stored

"""Arrays in Fortran order: records lie scattered, so blocks of them are read element by element and turned round."""

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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransposedFile:
    """One array of one file."""

    number: int
    records: int
    offset: int
    """Of its first byte."""
    stored: np.dtype
    """As it lies in the file."""
    fortran: bool
    """Whether it is in Fortran order, or in C order beside files that differ."""
    stride: int
    """Bytes from record to record, in C order."""
    opaque_nbytes: int = 0
    """Of an element whose bytes are delivered along the last axis, and lie together; 0 where elements are numbers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransposedColumn(ColumnDefaults):
    """One field, in files that differ in order of axes or of bytes."""

    field: Field
    parts: tuple[TransposedFile, ...]

    @property
    def addressable(self) -> bool:
        """Never: a record is scattered over its whole file."""
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
        return 2 * self.span * self.field.nbytes + 16 * math.prod(self.field.shape)

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset."""
        return TransposedReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        order = "Fortran order" if all(part.fortran for part in self.parts) else "mixed orders"
        return f"{order}, turned round in blocks of {self.span:,} records"


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
            self._descriptor_of(block)
            out[rows[chosen]] = self._last.get(block, self._read)[local]

    def close(self) -> None:
        """Forget the block."""
        self._last.clear()

    def _descriptor_of(self, block: int) -> None:
        self._files.descriptor(self._part(block).number)

    def _part(self, block: int) -> TransposedFile:
        return self._column.parts[int(np.searchsorted(self._starts, self._cuts[block], side="right")) - 1]

    def _read(self, block: int) -> NDArray[np.generic]:
        """The records of a block, in C order and native bytes."""
        column, part = self._column, self._part(block)
        which = int(np.searchsorted(self._starts, self._cuts[block], side="right")) - 1
        first, count = int(self._cuts[block] - self._starts[which]), int(self._cuts[block + 1] - self._cuts[block])
        began = time.perf_counter_ns()
        if part.fortran:
            stored, shape = part.stored, column.field.shape
            if part.opaque_nbytes:
                stored, shape = np.dtype(f"V{part.opaque_nbytes}"), shape[:-1]
            elements, nbytes = math.prod(shape), stored.itemsize
            raw = np.empty((elements, count), stored)
            offsets = part.offset + (np.arange(elements, dtype=np.int64) * part.records + first) * nbytes
            self._fetch(part, offsets, count * nbytes, raw)
            values = raw.reshape((*reversed(shape), count)).transpose(range(len(shape), -1, -1))
            if part.opaque_nbytes:
                values = np.ascontiguousarray(values).view(np.uint8).reshape((count, *column.field.shape))
        else:
            values = np.empty((count, *column.field.shape), part.stored)
            offsets = part.offset + (np.arange(count, dtype=np.int64) + first) * part.stride
            self._fetch(part, offsets, column.field.nbytes, values)
        read = time.perf_counter_ns()
        turned = np.ascontiguousarray(values, column.field.dtype)
        self._meter.read_ns += read - began
        self._meter.decode_ns += time.perf_counter_ns() - read
        self._meter.read_nbytes += turned.nbytes
        return turned

    def _fetch(self, part: TransposedFile, offsets: NDArray[np.int64], nbytes: int, room: NDArray[np.generic]) -> None:
        fd = self._files.descriptor(part.number)
        rows = np.arange(len(offsets), dtype=np.int64)
        failed = gather_kernels().read_rows(fd, offsets, nbytes, room.ctypes.data, rows) if nbytes else -1
        if failed >= 0:
            raise short_read(self._files.fingerprints[part.number], int(offsets[failed]), nbytes)

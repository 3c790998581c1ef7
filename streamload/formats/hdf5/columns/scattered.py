"""Raw datasets whose records are counted along another axis than the first: each lies in pieces, and blocks of them are turned round."""

from __future__ import annotations

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
class ScatteredFile:
    """One dataset of one file."""

    number: int
    """Of the file."""
    records: int
    offset: int
    """Of its first byte."""
    stored: np.dtype
    """An element as it lies in the file."""
    before: int
    """Elements of a record along the axes before that of records: so many pieces it lies in ..."""
    after: int
    """... and along the axes after it: so many elements each has."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scattered(ColumnDefaults):
    """One field whose records lie in pieces."""

    field: Field
    parts: tuple[ScatteredFile, ...]
    label: str
    """How it is stored, for people."""

    @property
    def addressable(self) -> bool:
        """Never: a record is scattered over its whole dataset."""
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
        return 2 * self.span * self.field.nbytes + 16 * max((part.before for part in self.parts), default=0)

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset."""
        return ScatteredReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return f"{self.label}, turned round in blocks of {self.span:,} records"


class ScatteredReader(ReaderDefaults):
    """Reads blocks, and keeps the last."""

    def __init__(self, column: Scattered, files: OpenFiles, meter: ReadStats) -> None:
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
        """Nothing: what is wanted lies in small pieces all over the dataset."""

    def close(self) -> None:
        """Forget the block."""
        self._last.clear()

    def _part_of(self, block: int) -> int:
        return int(np.searchsorted(self._starts, self._cuts[block], side="right")) - 1

    def _read(self, block: int) -> NDArray[np.generic]:
        """The records of a block, one after the other and in native bytes."""
        which = self._part_of(block)
        column, part = self._column, self._column.parts[which]
        first, count = int(self._cuts[block] - self._starts[which]), int(self._cuts[block + 1] - self._cuts[block])
        began = time.perf_counter_ns()
        raw = np.empty((part.before, count, part.after), part.stored)
        piece_nbytes = part.after * part.stored.itemsize
        offsets = part.offset + (np.arange(part.before, dtype=np.int64) * part.records + first) * piece_nbytes
        nbytes = count * piece_nbytes
        rows = np.arange(part.before, dtype=np.int64)
        failed = gather_kernels().read_rows(self._files.descriptor(part.number), offsets, nbytes, raw.ctypes.data, rows) if nbytes else -1
        if failed >= 0:
            raise short_read(self._files.fingerprints[part.number], int(offsets[failed]), nbytes)
        read = time.perf_counter_ns()
        turned = np.ascontiguousarray(raw.transpose(1, 0, 2), column.field.dtype).reshape(count, *column.field.shape)
        self._meter.read_ns += read - began
        self._meter.decode_ns += time.perf_counter_ns() - read
        self._meter.read_nbytes += turned.nbytes
        return turned

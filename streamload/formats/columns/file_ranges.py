"""Records of any length in runs of bytes that an index knows: members of archives, messages in files of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import AddressableDefaults
from streamload.formats.columns.byte_ranges import ByteRangeReader, Ranges
from streamload.formats.columns.optional_values import IndexedBytes, IndexedBytesReader
from streamload.schema import Field
from streamload.source import Lengths, ReadStats
from streamload.storage.direct_io import LEAST_RECORD_NBYTES, RING_NBYTES
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileRanges(IndexedBytes, AddressableDefaults):
    """One ragged field of bytes or of text, each record of which is a stretch of a file: 16 bytes of index a record."""

    field: Field
    """As it is delivered."""
    column: str
    """Its name in the files."""
    starts: NDArray[np.int64]
    """The first record of each file, and the number of records: shape (files + 1,)."""
    numbers: NDArray[np.int32]
    """The file of each of these stretches of records: shape (files,)."""
    offsets: NDArray[np.int64]
    """The byte at which each record begins; -1 where it has no value: shape (records,)."""
    sizes: NDArray[np.int64]
    """Bytes of each record, 0 where it has no value: shape (records,)."""
    lengths: Lengths
    label: str
    """How it is stored, for people."""
    fill: bytes | None = None
    """What stands for records without a value; None: asking for one is an error."""

    @property
    def direct_nbytes(self) -> int:
        """The memory of one reader that reads past the page cache; 0 where records are mostly too small for that."""
        return RING_NBYTES if self.lengths.mean >= LEAST_RECORD_NBYTES else 0

    @property
    def mappable(self) -> bool:
        """Always: a mapped record is copied from where it is."""
        return True

    @property
    def file_nbytes(self) -> int:
        """Of the records alone."""
        return int(self.sizes.sum())

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """The stretch of each record, where every one has a value: shape (stop - start, 3)."""
        offsets = self.offsets[start:stop]
        if (offsets < 0).any():
            return None
        runs = np.searchsorted(self.starts, np.arange(start, stop), side="right") - 1
        return np.stack([self.numbers[runs], offsets, offsets + self.sizes[start:stop]], axis=1).astype(np.int64)

    def place_of(self, record: int) -> tuple[int, int]:
        """The number of the file that a record belongs to, and its own number there."""
        run = int(np.searchsorted(self.starts, record, side="right")) - 1
        return int(self.numbers[run]), record - int(self.starts[run])

    def reader(self, files: OpenFiles, meter: ReadStats) -> FileRangeReader:
        """A reader by offset."""
        return FileRangeReader(self, files, meter)


class FileRangeReader(IndexedBytesReader[FileRanges], ByteRangeReader):
    """Gathers records by their places in files."""

    def __init__(self, column: FileRanges, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column.field.name, files, meter, direct=column.direct_nbytes > 0)
        self._column = column

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the bytes of record `records[k]` into `values[starts[k]:]`. Raises as the system does, with file and field."""
        out = values.view(np.uint8)
        there = self._fill_missing(records, out, starts)
        if not there.all():
            records, starts = records[there], starts[there]
        if len(records):
            self._read(self._ranges(records), out, np.ascontiguousarray(starts))

    def _ranges(self, records: NDArray[np.int64]) -> Ranges:
        column = self._column
        numbers = column.numbers[np.searchsorted(column.starts, records, side="right") - 1]
        return numbers, column.offsets[records], column.sizes[records]

    def _likely(self, records: NDArray[np.int64]) -> Ranges | None:
        there = records[self._column.offsets[records] >= 0]
        return self._ranges(there) if len(there) else None

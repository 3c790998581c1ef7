"""Columns of ragged records that need no decoding: raw ones in files, by their offsets, and small ones held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.column_defaults import AddressableDefaults, ColumnDefaults, ReaderDefaults
from streamload.errors import damaged
from streamload.formats.columns.byte_ranges import ByteRangeReader, Ranges
from streamload.formats.columns.raw import RawRecords
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Lengths, ReadStats
from streamload.storage.direct_io import LEAST_RECORD_NBYTES, RING_NBYTES
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InMemoryRagged(AddressableDefaults):
    """A small ragged field, decoded once and held in memory: one copy that all workers share."""

    field: Field
    """As it is delivered."""
    values: NDArray[np.generic]
    """The elements of all records: shape (elements, *field.shape)."""
    offsets: NDArray[np.int64]
    """The element at which each record begins, and their number: shape (records + 1,)."""
    label: str
    """How it is stored, for people."""

    @property
    def lengths(self) -> Lengths:
        """Of all records."""
        return Lengths.of(np.diff(self.offsets))

    @property
    def held(self) -> Ragged:
        """The records."""
        return Ragged(self.values, self.offsets, self.field.ragged)

    @property
    def file_nbytes(self) -> int:
        """As many as the elements take in memory."""
        return self.values.nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> InMemoryRaggedReader:
        """A reader of the values."""
        return InMemoryRaggedReader(self)

    def describe(self) -> str:
        """How it is stored, and that it is held."""
        return f"{self.label}, held in memory"


class InMemoryRaggedReader(ReaderDefaults):
    """Gathers ragged records from values in memory."""

    def __init__(self, column: InMemoryRagged) -> None:
        self._offsets = column.offsets
        self._values = column.values
        self._nbytes = column.field.nbytes

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record."""
        return self._offsets[records + 1] - self._offsets[records]

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        if not self._nbytes:
            return
        first = self._offsets[records]
        sizes = (self._offsets[records + 1] - first) * self._nbytes
        addresses = first * self._nbytes + self._values.ctypes.data
        kernels.gather_kernels().copy_ragged(addresses, sizes, values.ctypes.data, starts * self._nbytes)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawRagged(ColumnDefaults):
    """Raw ragged records in runs: in each, a table of numbers says where records begin among elements that lie one after the other.

    So are strings, bytes and lists stored in Arrow's record batches.
    """

    field: Field
    """As it is delivered, in native byte order, which is the file's."""
    pairs: RawRecords
    """Where each record begins and ends, in elements of its run: a field of two numbers, the second of which is the next one's first."""
    bases: NDArray[np.int64]
    """The byte in its file at which the elements of each run begin: shape (runs,)."""
    limits: NDArray[np.int64]
    """How many elements each run has: shape (runs,)."""
    lengths: Lengths
    label: str
    """How it is stored, for people."""

    @property
    def addressable(self) -> bool:
        """Always: a record is read by its offset."""
        return True

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where runs begin."""
        return self.pairs.starts

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """Elements of each run."""
        return self.limits

    @property
    def scratch_nbytes(self) -> int:
        """None worth counting: records go straight to where they are wanted."""
        return 0

    @property
    def direct_nbytes(self) -> int:
        """The memory of one reader that reads past the page cache; 0 where records are mostly too small for that."""
        return RING_NBYTES if self.field.nbytes * self.lengths.mean >= LEAST_RECORD_NBYTES else 0

    @property
    def mappable(self) -> bool:
        """Always: a mapped record is copied from where it is."""
        return True

    @property
    def file_nbytes(self) -> int:
        """Of elements and of the table that says where they are."""
        return self.field.nbytes * int(self.limits.sum()) + self.pairs.field.nbytes // 2 * int(self.pairs.starts[-1])

    def reader(self, files: OpenFiles, meter: ReadStats) -> RawRaggedReader:
        """A reader by offset, without the library of the format."""
        return RawRaggedReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class RawRaggedReader(ByteRangeReader):
    """Gathers raw ragged records by offset: their places first, then their elements."""

    def __init__(self, column: RawRagged, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column.field.name, files, meter, direct=column.direct_nbytes > 0)
        self._column = column
        self._nbytes = column.field.nbytes
        self._pairs = column.pairs.reader(files, meter)
        self._measured: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None
        """Records, the runs that they lie in, and where in them they begin and end."""

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record. Raises CorruptDataError, with file and record, for places that cannot be."""
        runs, firsts, lasts = self._places(records)
        wrong = (firsts < 0) | (lasts < firsts) | (lasts > self._column.limits[runs])
        if wrong.any():
            self._files.verify()
            k = int(wrong.argmax())
            path = self._files.fingerprints[int(self._column.pairs.numbers[runs[k]])].path
            raise damaged(
                f"{path}: record {int(records[k]):,} of '{self._column.field.name}' claims elements {int(firsts[k]):,} to "
                f"{int(lasts[k]):,}, of {int(self._column.limits[runs[k]]):,} that are there.",
                path=path,
                dataset=self._column.field.name,
                records=(int(records[k]), int(records[k]) + 1),
            )
        self._measured = records, runs, firsts, lasts
        return lasts - firsts

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        if self._measured is None or (self._measured[0] is not records and not np.array_equal(self._measured[0], records)):
            self.lengths(records)
        assert self._measured is not None
        _, runs, firsts, lasts = self._measured
        self._measured = None
        if self._nbytes and len(records):
            self._read(self._ranges(runs, firsts, lasts), values.reshape(-1).view(np.uint8), starts * self._nbytes)

    def close(self) -> None:
        """Let go of what was measured, and of the memory of direct reads."""
        self._measured = None
        self._pairs.close()
        super().close()

    def _runs(self, records: NDArray[np.int64]) -> NDArray[np.intp]:
        return np.searchsorted(self._column.pairs.starts, records, side="right") - 1

    def _places(self, records: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
        pairs = self._column.pairs
        table = np.empty((len(records), 2), pairs.field.dtype)
        self._pairs.gather(records, table, np.arange(len(records), dtype=np.int64))
        firsts, lasts = np.ascontiguousarray(table.T).astype(np.int64)
        return self._runs(records), firsts, lasts

    def _ranges(self, runs: NDArray[np.intp], firsts: NDArray[np.int64], lasts: NDArray[np.int64]) -> Ranges:
        column = self._column
        return column.pairs.numbers[runs], column.bases[runs] + firsts * self._nbytes, (lasts - firsts) * self._nbytes

    def _likely(self, records: NDArray[np.int64]) -> Ranges | None:
        """As the tables say, which are read for that, unless all files are at hand."""
        numbers = np.unique(self._column.pairs.numbers[self._runs(records)]).tolist()
        if not self._nbytes or all(self._is_at_hand(number) for number in numbers):
            return None
        self._pairs.advise(records)
        runs, firsts, lasts = self._places(records)
        return self._ranges(runs, np.maximum(firsts, 0), np.clip(lasts, 0, self._column.limits[runs]))

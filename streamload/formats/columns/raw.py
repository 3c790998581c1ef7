"""Columns whose records need no decoding: raw records at a fixed stride in files, and values held in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.column_defaults import AddressableDefaults, ColumnDefaults, ReaderDefaults
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.direct_io import LEAST_RECORD_NBYTES, RING_NBYTES, DirectReads, direct_reads
from streamload.storage.files import OpenFiles, is_cached, short_read, unreadable

PROBES = 8
"""Records looked up in the page cache before advice is given for all of them."""
FEW_RUNS = 65_536
"""Runs of one file up to which a reader keeps a table of its own that makes them quicker to find."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawRecords(ColumnDefaults):
    """Raw records in runs: within a run, record r lies `stride` bytes after record r - 1.

    A contiguous dataset is one run a file; chunks without filters, Parquet pages and Arrow batches are a run each.
    """

    field: Field
    """As it is delivered, in native byte order."""
    stored: np.dtype
    """The dtype as it lies in the file: the field's, perhaps in the other byte order."""
    starts: NDArray[np.int64]
    """Record numbers at which runs begin, the number of records last: shape (runs + 1,)."""
    numbers: NDArray[np.int32]
    """The file that holds each run: shape (runs,)."""
    offsets: NDArray[np.int64]
    """The byte in that file at which each run's first record begins: shape (runs,)."""
    strides: NDArray[np.int64]
    """Bytes from one record to the next in each run: shape (runs,)."""
    blocks: bool
    """Whether runs are storage blocks (chunks, pages): cuts then fall on their borders."""
    label: str
    """How it is stored, for people: "contiguous"."""

    @property
    def addressable(self) -> bool:
        """Always: a record is read by its offset."""
        return True

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where runs begin, if they are blocks."""
        return self.starts if self.blocks else None

    @property
    def scratch_nbytes(self) -> int:
        """None worth counting: records go straight to where they are wanted."""
        return 0

    @property
    def direct_nbytes(self) -> int:
        """The memory of one reader that reads past the page cache; 0 where records are too small for that."""
        return RING_NBYTES if self.field.nbytes >= LEAST_RECORD_NBYTES else 0

    @property
    def mappable(self) -> bool:
        """Always: a mapped record is copied from where it is."""
        return True

    @property
    def file_nbytes(self) -> int:
        """Of the records alone."""
        return self.field.nbytes * int(self.starts[-1])

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """The runs, where records lie in them side by side and in native byte order: shape (runs, 3)."""
        nbytes = self.field.nbytes
        if not self.stored.isnative or not nbytes or (self.strides != nbytes).any():
            return None
        runs = slice(max(0, int(np.searchsorted(self.starts, start, side="right")) - 1), int(np.searchsorted(self.starts, stop)))
        begins = self.starts[runs]
        firsts = np.maximum(begins, start)
        counts = np.minimum(self.starts[runs.start + 1 : runs.stop + 1], stop) - firsts
        offsets = self.offsets[runs] + (firsts - begins) * nbytes
        return np.stack([self.numbers[runs], offsets, offsets + counts * nbytes], axis=1).astype(np.int64)[counts > 0]

    def file_of(self, record: int) -> int | None:
        """That of its run."""
        return int(self.numbers[int(np.searchsorted(self.starts, record, side="right")) - 1])

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset, without the library of the format."""
        return RawReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class RunTable:
    """Finds records in runs of one file and one stride: numbers of records lead to the run, or to the few that it may be."""

    def __init__(self, starts: NDArray[np.int64], offsets: NDArray[np.int64], stride: int) -> None:
        records, runs = int(starts[-1]), len(offsets)
        self._starts = np.array(starts, np.int64)  # A copy: in workers it is read-only, which no kernel is compiled for.
        self._stride = stride
        self._origins = np.ascontiguousarray(offsets - starts[:-1] * stride, np.int64)
        """Where record 0 would lie if it were in the run."""
        self._shift = max(0, (records // (2 * runs)).bit_length() - 1)
        firsts = np.arange(max(0, records - 1 >> self._shift) + 2, dtype=np.int64) << self._shift
        self._guesses = np.clip(self._starts.searchsorted(firsts, "right") - 1, 0, runs - 1).astype(np.int64)

    def offsets(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes at which valid records begin."""
        found = np.empty(len(records), np.int64)
        records = np.require(records, requirements=("C", "W"))
        kernels.gather_kernels().locate(records, self._starts, self._guesses, self._shift, self._origins, self._stride, found)
        return found


class RawReader(ReaderDefaults):
    """Gathers raw records by offset: a copy from a mapping where the file is mapped and present, else `pread`."""

    def __init__(self, column: RawRecords, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._nbytes = column.field.nbytes
        self._large = self._nbytes >= LEAST_RECORD_NBYTES
        self._swap = column.stored.newbyteorder("=") == column.field.dtype and not column.stored.isnative
        self._only = int(column.numbers[0]) if len(column.numbers) and bool((column.numbers == column.numbers[0]).all()) else None
        self._alone = (int(column.numbers[0]), int(column.offsets[0]), int(column.strides[0])) if len(column.numbers) == 1 else None
        self._past_cache: DirectReads | None = None
        self._table: RunTable | None = None
        if self._only is not None and 1 < len(column.numbers) <= FEW_RUNS and bool((column.strides == column.strides[0]).all()):
            self._table = RunTable(column.starts, column.offsets, int(column.strides[0]))

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        if self._nbytes == 0 or not len(records):
            return
        began = time.perf_counter_ns()
        out_address = out.__array_interface__["data"][0]
        if self._alone is not None and not self._large:
            number, offset, stride = self._alone
            address = self._files.address(number)
            if address is not None:
                copy_rows = kernels.gather_kernels().copy_rows
                copy_rows(address + offset, np.ascontiguousarray(records), stride, self._nbytes, out_address, rows)
            else:
                self._fetch(number, records * stride + offset, out_address, rows)
        else:
            for number, offsets, chosen in self._by_file(records):
                where = rows if chosen is None else rows[chosen]
                if not self._fetch_direct(number, offsets, out, where):
                    self._fetch(number, offsets, out_address, where)
        if self._swap:
            flat = out.reshape(len(out), -1)
            flat[rows] = flat[rows].byteswap()
        self._meter.read_ns += time.perf_counter_ns() - began
        self._meter.read_nbytes += self._nbytes * len(records)

    def addresses(self, records: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Where records lie in memory, of files that are mapped and hold them as they are delivered: shape (len(records),)."""
        if self._swap or not len(records):
            return None
        found = np.empty(len(records), np.int64)
        for number, offsets, chosen in self._by_file(records):
            address = self._files.address(number)
            if address is None:
                return None
            found[slice(None) if chosen is None else chosen] = offsets + address
        self._meter.read_nbytes += self._nbytes * len(records)
        return found

    def advise(self, records: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading these records, unless it seems to hold them already."""
        if self._nbytes == 0 or not len(records) or not hasattr(os, "posix_fadvise"):
            return
        if self._only is not None and self._files.address(self._only) is not None:
            return
        for number, offsets, _ in self._by_file(records):
            if self._files.address(number) is not None or (self._large and self._files.direct(number) is not None):
                continue
            fd = self._files.descriptor(number)
            spread = offsets[:: max(1, len(offsets) // PROBES)] + self._nbytes // 2
            if all(is_cached(fd, offset) for offset in spread.tolist()):
                continue
            for offset, nbytes in _merged(offsets, self._nbytes):
                os.posix_fadvise(fd, offset, nbytes, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Let go of the memory of direct reads."""
        if self._past_cache is not None:
            self._past_cache.close()
            self._past_cache = None

    def _by_file(self, records: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.intp] | None]]:
        """For each file that holds some of the records: its number, their offsets in it, and which they are (None: all)."""
        column = self._column
        if self._alone is not None:
            number, offset, stride = self._alone
            offsets = records * stride
            offsets += offset
            yield number, offsets, None
            return
        if self._table is not None and self._only is not None:
            yield self._only, self._table.offsets(records), None
            return
        runs = np.searchsorted(column.starts, records, side="right") - 1
        offsets = column.offsets[runs] + (records - column.starts[runs]) * column.strides[runs]
        if self._only is not None:
            yield self._only, offsets, None
            return
        numbers = column.numbers[runs]
        first = int(numbers[0])
        if (numbers == first).all():
            yield first, offsets, None
            return
        order = np.argsort(numbers, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            yield int(numbers[chosen[0]]), offsets[chosen], chosen

    def _fetch_direct(self, number: int, offsets: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> bool:
        """Read large records past the page cache, where that is wanted; False where it is not."""
        fd = self._files.direct(number) if self._large else None
        if fd is not None and self._past_cache is None:
            self._past_cache = direct_reads()
        if fd is None or self._past_cache is None:
            self._large = False
            return False
        flat = out.reshape(-1).view(np.uint8)
        for k in self._past_cache.read(fd, offsets, np.full(len(offsets), self._nbytes), flat, rows * self._nbytes):
            self._fetch(number, offsets[k : k + 1], flat.ctypes.data, rows[k : k + 1])
        return True

    def _fetch(self, number: int, offsets: NDArray[np.int64], out_address: int, rows: NDArray[np.int64]) -> None:
        address = self._files.address(number)
        if address is not None:
            kernels.gather_kernels().copy_rows(address, offsets, 1, self._nbytes, out_address, rows)
            return
        fd = self._files.descriptor(number)
        first = 0
        while True:
            failed = kernels.gather_kernels().read_rows(fd, offsets[first:], self._nbytes, out_address, rows[first:])
            if failed < 0:
                return
            first += failed
            explain_read(self._files, number, int(offsets[first]), self._nbytes, self._column.field.name)


def explain_read(files: OpenFiles, number: int, offset: int, nbytes: int, name: str) -> None:
    """Read a record that a kernel could not, so that the system says why; returns if it can be read after all."""
    was = files.fingerprints[number]
    try:
        got = os.pread(files.descriptor(number), nbytes, offset)
    except OSError as error:
        raise unreadable(was, name, offset, nbytes, error) from error
    if len(got) < nbytes:
        raise short_read(was, offset, nbytes)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InMemory(AddressableDefaults):
    """A small field, decoded once and held in memory: one copy that all workers share."""

    field: Field
    """As it is delivered."""
    values: NDArray[np.generic]
    """All of it: shape (records, *field.shape)."""
    label: str
    """How it is stored, for people."""

    @property
    def held(self) -> NDArray[np.generic]:
        """The values."""
        return self.values

    @property
    def file_nbytes(self) -> int:
        """As many as it takes in memory."""
        return self.values.nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader of the values."""
        return InMemoryReader(self.values)

    def describe(self) -> str:
        """How it is stored, and that it is held."""
        return f"{self.label}, held in memory"


class InMemoryReader(ReaderDefaults):
    """Gathers from values in memory."""

    def __init__(self, values: NDArray[np.generic]) -> None:
        self._values = values

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        out[rows] = self._values[records]

    def addresses(self, records: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Where records lie in memory: shape (len(records),)."""
        if not self._values.flags.c_contiguous or not self._values.dtype.isnative:
            return None
        return self._values.__array_interface__["data"][0] + records * self._values.strides[0]


def _merged(offsets: NDArray[np.int64], nbytes: int) -> Iterator[tuple[int, int]]:
    """Stretches that cover records of `nbytes` at `offsets`, neighbours joined: (offset, length)."""
    edges = np.flatnonzero(np.diff(offsets) != nbytes) + 1
    firsts = np.concatenate([[0], edges])
    counts = np.diff(np.concatenate([firsts, [len(offsets)]]))
    return zip(offsets[firsts].tolist(), (counts * nbytes).tolist(), strict=True)

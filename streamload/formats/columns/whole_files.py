"""Records that are files of their own, such as images in a folder: opened, proven to be what they were, read and closed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import AddressableDefaults, ReaderDefaults
from streamload.errors import SourceChangedError, SourceError
from streamload.formats.columns.files_together import FilesTogether
from streamload.formats.columns.optional_values import OptionalValues
from streamload.nulls import null_error
from streamload.schema import Field
from streamload.source import Fault, Lengths, ReadStats
from streamload.storage.file_table import forget_kept, sizes_of
from streamload.storage.files import Fingerprint, OpenFiles, changed, identity_of, is_cached, open_unchanged, short_read, unreadable

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

PROBES = 8
"""Files looked up in the page cache before the others are opened ahead."""
PROBE_CALLS = 16
"""What is told so often after a look that found a file missing is taken to be missing too: a look waits for the disk by itself."""
OPENING_THREADS = 16
"""Threads that open files ahead: each open waits for a disk by itself, and the kernel has no call for many."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WholeFiles(OptionalValues, AddressableDefaults):
    """One field of bytes, each record of which is all that a file holds."""

    field: Field
    """As it is delivered: ragged bytes."""
    numbers: NDArray[np.int32]
    """The file of each record among the source's, -1 where it has none: shape (records,)."""
    title: str
    """The folder, for people."""
    lengths: Lengths
    stored_nbytes: int
    """Of all of them."""
    label: str
    """How it is stored, for people."""
    fill: bytes | None = None
    """What stands for records without a file; None: asking for one is an error."""

    @property
    def file_nbytes(self) -> int:
        """Of the files."""
        return self.stored_nbytes

    def file_of(self, record: int) -> int | None:
        """Its own; None where it has none."""
        number = int(self.numbers[record])
        return number if number >= 0 else None

    def missing(self, records: NDArray[np.int64] | slice) -> NDArray[np.bool_]:
        """Which of some records have no file."""
        return self.numbers[records] < 0

    def reader(self, files: OpenFiles, meter: ReadStats) -> WholeFileReader:
        """A reader of files."""
        return WholeFileReader(self, files, meter)


class WholeFileReader(ReaderDefaults):
    """Reads files one after the other; at most one of them is open, and those that threads open ahead."""

    def __init__(self, column: WholeFiles, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._fill = np.frombuffer(column.fill or b"", np.uint8)
        self._faults: list[Fault] | None = None
        self._ahead: ThreadPoolExecutor | None = None
        self._cold_calls = 0
        self._together = FilesTogether.of(files.fingerprints)

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of each record. Raises NullValueError for one without a file, where nothing stands for it."""
        column = self._column
        numbers = column.numbers[records]
        missing = numbers < 0
        if not missing.any():
            return sizes_of(self._files.fingerprints, numbers)
        if column.fill is None:
            raise null_error(column.title, column.field.name, int(records[int(missing.argmax())]), column.field)
        found = np.full(len(records), len(self._fill), np.int64)
        found[~missing] = sizes_of(self._files.fingerprints, numbers[~missing])
        return found

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the bytes of record `records[k]` into `values[starts[k]:]`.

        Raises SourceChangedError for a file that is gone or is not what it was when the source was opened, and SourceError for
        one that cannot be read; or notes it where `collect_faults` said, with k for its row, and leaves zeros in its place.
        """
        began, out = time.perf_counter_ns(), values.view(np.uint8).data
        numbers = self._column.numbers[records]
        if (numbers < 0).any():
            self.lengths(records)
            for start in starts[numbers < 0].tolist():
                out[start : start + len(self._fill)] = self._fill.data
        rows = np.flatnonzero(numbers >= 0)
        compiled = self._together
        first, together = 0, len(rows) if compiled is not None else 0
        while first < len(rows):
            some = rows[first : first + together]
            done = compiled.read(numbers[some], values.view(np.uint8), starts[some], self._meter) if compiled is not None else 0
            first += done
            if done < len(some) or not together:
                row = int(rows[first])
                self._read_one(row, int(numbers[row]), int(records[row]), out[int(starts[row]) :])
                first += 1
            # Where files are bad, fewer are looked up at once: each of them a few times at most, however many are bad.
            together = max(1, 2 * done) if compiled is not None else 0
        self._meter.read_ns += time.perf_counter_ns() - began

    def _read_one(self, row: int, number: int, record: int, out: memoryview) -> None:
        """Read a file, or say what is wrong with it."""
        was = self._files.fingerprints[number]
        room = out[: was.nbytes]
        try:
            read_whole(was, room, self._column.field.name)
        except SourceError as error:
            if isinstance(error, SourceChangedError):
                forget_kept(self._files.fingerprints)
            if self._faults is None:
                raise
            room[:] = bytes(len(room))
            self._faults.append(Fault(row, record, error.with_traceback(None)))
        self._meter.read_nbytes += was.nbytes

    def advise(self, records: NDArray[np.int64]) -> None:
        """Open these files ahead and ask the kernel to begin reading them, unless it seems to hold them already."""
        if not hasattr(os, "posix_fadvise"):
            return
        numbers = self._column.numbers[records]
        numbers = numbers[numbers >= 0]
        if not len(numbers):
            return
        if not self._cold_calls:
            if self._are_cached(numbers[:: max(1, len(numbers) // PROBES)]):
                return
            self._cold_calls = PROBE_CALLS
        self._cold_calls -= 1
        if self._ahead is None:
            from concurrent.futures import ThreadPoolExecutor

            self._ahead = ThreadPoolExecutor(OPENING_THREADS, thread_name_prefix="streamload-open-ahead")
        share = -(-len(numbers) // OPENING_THREADS)
        for first in range(0, len(numbers), share):
            some = numbers[first : first + share]
            if self._together is not None:
                self._ahead.submit(self._together.begin_reading, some)
            else:
                self._ahead.submit(_begin_reading, self._files.fingerprints, some.tolist())

    def _are_cached(self, numbers: NDArray[np.int32]) -> bool:
        """Whether the page cache holds the middle of these files."""
        files = self._files.fingerprints
        if self._together is not None:
            return self._together.are_cached(numbers, sizes_of(files, numbers) // 2)
        return all(_holds(files[number]) for number in numbers.tolist())

    def collect_faults(self, faults: list[Fault] | None) -> None:
        """Note files that cannot be read, or raise."""
        self._faults = faults

    def close(self) -> None:
        """End the threads that open files ahead."""
        if self._ahead is not None:
            self._ahead.shutdown(cancel_futures=True)
            self._ahead = None


def read_whole(was: Fingerprint, room: memoryview, name: str | None = None) -> None:
    """Read all of a file, which is as long as `room`. Raises SourceChangedError unless it is, before and after, what it was."""
    fd = open_unchanged(was)
    try:
        done = 0
        while done < was.nbytes:
            try:
                got = os.preadv(fd, [room[done:]], done)
            except OSError as error:
                raise unreadable(was, name, done, was.nbytes - done, error) from error
            if not got:
                raise short_read(was, done, was.nbytes - done)
            done += got
        status = os.fstat(fd)
        if identity_of(status) != was.identity:
            raise changed(was, status)
    finally:
        os.close(fd)


def _holds(was: Fingerprint) -> bool:
    """Whether the page cache holds the middle of a file; True for one that cannot be opened: whoever reads it will say why."""
    try:
        fd = os.open(was.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        return not was.nbytes or is_cached(fd, was.nbytes // 2)
    finally:
        os.close(fd)


def _begin_reading(fingerprints: Sequence[Fingerprint], numbers: Sequence[int]) -> None:
    for number in numbers:
        try:
            fd = os.open(fingerprints[number].path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue  # Whoever reads it will say why.
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(fd)

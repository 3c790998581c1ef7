"""Raw pages that carry checksums: read by offset, each page verified when a process first touches it."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import ChecksumError, damaged
from streamload.formats.columns.raw import RawRecords
from streamload.formats.tables.table import read_exactly
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChecksummedPages(ColumnDefaults):
    """Raw records in pages whose bodies have a CRC-32."""

    raw: RawRecords
    """Where the records lie: a run a page."""
    bodies: NDArray[np.int64]
    """The byte at which the body of each page begins."""
    nbytes: NDArray[np.int64]
    """Of each body."""
    checksums: NDArray[np.int64]
    """Of each body; -1 where there is none."""

    @property
    def field(self) -> Field:
        """As it is delivered."""
        return self.raw.field

    @property
    def addressable(self) -> bool:
        """Always: once a page is verified, its records are read by offset."""
        return True

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where pages begin."""
        return self.raw.cuts

    @property
    def scratch_nbytes(self) -> int:
        """A page, and which of them were verified."""
        return int(self.nbytes.max(initial=0)) + len(self.nbytes)

    @property
    def mappable(self) -> bool:
        """Always, but what verifies a page reads it first. (Past the page cache, a page would be read twice.)"""
        return True

    @property
    def file_nbytes(self) -> int:
        """Of the records alone."""
        return self.raw.file_nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset that verifies pages."""
        return ChecksummedPageReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return f"{self.raw.label}, checksums verified"


class ChecksummedPageReader(ReaderDefaults):
    """Verifies each page once, then gathers from it by offset."""

    def __init__(self, column: ChecksummedPages, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._inner = column.raw.reader(files, meter)
        self._verified = column.checksums < 0

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`. Raises ChecksumError, with file and records."""
        if not self._verified.all():
            pages = np.searchsorted(self._column.raw.starts, records, side="right") - 1
            for page in np.unique(pages[~self._verified[pages]]).tolist():
                self._verify(page)
        self._inner.gather(records, out, rows)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading these records."""
        self._inner.advise(records)

    def close(self) -> None:
        """Let go of the inner reader; pages stay verified."""
        self._inner.close()

    def _verify(self, page: int) -> None:
        column = self._column
        raw, number = column.raw, int(column.raw.numbers[page])
        began = time.perf_counter_ns()
        body = read_exactly(self._files, number, int(column.bodies[page]), int(column.nbytes[page]), column.field.name)
        read = time.perf_counter_ns()
        found = zlib.crc32(body)
        self._meter.read_ns += read - began
        self._meter.read_nbytes += len(body)
        self._meter.decode_ns += time.perf_counter_ns() - read
        if found != int(column.checksums[page]):
            self._files.verify()
            path, first = self._files.fingerprints[number].path, int(raw.starts[page])
            raise damaged(
                f"{path}: the page of '{column.field.name}' at byte {int(column.bodies[page]):,} has the checksum {found:08x}, "
                f"and its header says {int(column.checksums[page]):08x}.",
                path=path,
                dataset=column.field.name,
                records=(first, int(raw.starts[page + 1])),
                kind=ChecksumError,
            )
        self._verified[page] = True

"""Records of any length by (file, offset, length): read straight to where they are wanted, mapped, past the page cache, or told ahead."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.column_defaults import ReaderDefaults
from streamload.formats.columns.raw import PROBES, explain_read
from streamload.source import ReadStats
from streamload.storage.direct_io import DirectReads, direct_reads
from streamload.storage.files import OpenFiles, is_cached

Ranges = tuple[NDArray[np.integer], NDArray[np.int64], NDArray[np.int64]]
"""Of some records: the number of the file of each, where its bytes begin there, and how many there are."""


class ByteRangeReader(ReaderDefaults, ABC):
    """Reads records whose places are known; `_ranges` and `_likely` are what a column adds."""

    def __init__(self, name: str, files: OpenFiles, meter: ReadStats, *, direct: bool) -> None:
        """`name` is the field's, for errors; `direct` says whether records are large enough to be read past the page cache."""
        self._name = name
        self._files = files
        self._meter = meter
        self._large = direct
        self._past_cache: DirectReads | None = None

    @abstractmethod
    def _likely(self, records: NDArray[np.int64]) -> Ranges | None:
        """Where records probably lie, to be told ahead; None where nothing is worth telling. Never an error."""

    def _read(self, ranges: Ranges, out: NDArray[np.uint8], places: NDArray[np.int64]) -> None:
        """Put the bytes of range k into `out[places[k]:]`, for every k; `out` is of bytes, and C-contiguous."""
        began = time.perf_counter_ns()
        numbers, offsets, sizes = ranges
        for number in np.unique(numbers).tolist():
            chosen = np.flatnonzero(numbers == number)
            there = offsets[chosen], sizes[chosen], places[chosen]
            if not self._fetch_direct(number, there[0], there[1], out, there[2]):
                fetch_ranges(self._files, number, self._name, there[0], there[1], out.ctypes.data, there[2])
        self._meter.read_ns += time.perf_counter_ns() - began
        self._meter.read_nbytes += int(sizes.sum())

    def advise(self, records: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading these records, unless it seems to hold them already."""
        if not len(records) or not hasattr(os, "posix_fadvise"):
            return
        ranges = self._likely(records)
        if ranges is None:
            return
        numbers, offsets, sizes = ranges
        for number in np.unique(numbers).tolist():
            if self._is_at_hand(number):
                continue
            chosen = np.flatnonzero((numbers == number) & (sizes > 0))
            begins, lengths = offsets[chosen], sizes[chosen]
            fd = self._files.descriptor(number)
            spread = (begins + lengths // 2)[:: max(1, len(begins) // PROBES)]
            if all(is_cached(fd, offset) for offset in spread.tolist()):
                continue
            for offset, nbytes in zip(begins.tolist(), lengths.tolist(), strict=True):
                os.posix_fadvise(fd, offset, nbytes, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Let go of the memory of direct reads."""
        if self._past_cache is not None:
            self._past_cache.close()
            self._past_cache = None

    def _is_at_hand(self, number: int) -> bool:
        """Whether a file is mapped, or read past the page cache: nothing is told of it ahead."""
        return self._files.address(number) is not None or (self._large and self._files.direct(number) is not None)

    def _fetch_direct(
        self, number: int, offsets: NDArray[np.int64], sizes: NDArray[np.int64], out: NDArray[np.uint8], places: NDArray[np.int64]
    ) -> bool:
        """Read records past the page cache, where they are large and that is wanted; False where it is not."""
        fd = self._files.direct(number) if self._large else None
        if fd is not None and self._past_cache is None:
            self._past_cache = direct_reads()
        if fd is None or self._past_cache is None:
            self._large = False
            return False
        for k in self._past_cache.read(fd, offsets, sizes, out, places):
            fetch_ranges(self._files, number, self._name, offsets[k : k + 1], sizes[k : k + 1], out.ctypes.data, places[k : k + 1])
        return True


def fetch_ranges(
    files: OpenFiles, number: int, name: str, offsets: NDArray[np.int64], sizes: NDArray[np.int64], address: int, places: NDArray[np.int64]
) -> None:
    """Read ranges of bytes of a file to `address + places`, from its mapping where it has one.

    Raises a SourceError that names the file, the place and the field where one cannot be read.
    """
    mapped = files.address(number)
    if mapped is not None:
        kernels.gather_kernels().copy_ragged(offsets + mapped, sizes, address, places)
        return
    fd, first = files.descriptor(number), 0
    while True:
        failed = kernels.gather_kernels().read_ragged(fd, offsets[first:], sizes[first:], address, places[first:])
        if failed < 0:
            return
        first += failed
        explain_read(files, number, int(offsets[first]), int(sizes[first]), name)

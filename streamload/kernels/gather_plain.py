"""The gathers in Python and the standard library alone: same results, for a few records or where numba is missing."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def read_rows(fd: int, offsets: NDArray[np.int64], nbytes: int, out_address: int, rows: NDArray[np.int64]) -> int:
    """Read `nbytes` at `offsets[k]` into row `rows[k]` of a table at `out_address`; -1, or the first k that failed.

    Neighbours in the file that are neighbours in the table are read with one call.
    """
    for k, offset, row, wanted in _runs(offsets, nbytes, rows):
        target = memoryview((ctypes.c_char * wanted).from_address(out_address + row * nbytes)).cast("B")
        done = 0
        while done < wanted:
            try:
                got = _read_into(fd, target[done:], offset + done)
            except OSError:
                got = 0
            if got == 0:
                return k + done // nbytes
            done += got
    return -1


def _read_into(fd: int, target: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [target], offset)
    os.lseek(fd, offset, os.SEEK_SET)
    read = os.read(fd, len(target))
    target[: len(read)] = read
    return len(read)


def copy_rows(address: int, numbers: NDArray[np.int64], stride: int, nbytes: int, out_address: int, rows: NDArray[np.int64]) -> None:
    """Copy `nbytes` at `address + numbers[k] * stride` into row `rows[k]` of a table at `out_address`."""
    for _, offset, row, wanted in _runs(numbers * stride, nbytes, rows):
        ctypes.memmove(out_address + row * nbytes, address + offset, wanted)


def _runs(offsets: NDArray[np.int64], nbytes: int, rows: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Neighbours that are neighbours in the table, too: which is the first, its offset and row, and the bytes of all."""
    if not len(rows):
        return
    apart = (offsets[1:] - offsets[:-1] != nbytes) | (rows[1:] - rows[:-1] != 1)
    firsts = np.concatenate(([0], np.flatnonzero(apart) + 1))
    counts = np.diff(firsts, append=len(rows))
    yield from zip(firsts.tolist(), offsets[firsts].tolist(), rows[firsts].tolist(), (counts * nbytes).tolist(), strict=True)


def locate(
    records: NDArray[np.int64],
    starts: NDArray[np.int64],
    guesses: NDArray[np.int64],
    shift: int,
    origins: NDArray[np.int64],
    stride: int,
    offsets: NDArray[np.int64],
) -> None:
    """Put `origins[run] + stride * records[k]` into `offsets[k]`, where `run` is the last that starts at or before the record."""
    np.multiply(records, stride, out=offsets)
    offsets += origins[starts.searchsorted(records, "right") - 1]


def read_ragged(fd: int, offsets: NDArray[np.int64], nbytes: NDArray[np.int64], out_address: int, starts: NDArray[np.int64]) -> int:
    """Read `nbytes[k]` at `offsets[k]` to `out_address + starts[k]`; -1, or the first k that failed."""
    for k, (offset, wanted, start) in enumerate(zip(offsets.tolist(), nbytes.tolist(), starts.tolist(), strict=True)):
        if wanted and read_rows(fd, np.array([offset]), wanted, out_address + start, np.zeros(1, np.int64)) >= 0:
            return k
    return -1


def copy_ragged(addresses: NDArray[np.int64], nbytes: NDArray[np.int64], out_address: int, starts: NDArray[np.int64]) -> None:
    """Copy `nbytes[k]` from `addresses[k]` to `out_address + starts[k]`; an address of 0 leaves its record out."""
    for address, wanted, start in zip(addresses.tolist(), nbytes.tolist(), starts.tolist(), strict=True):
        if address and wanted:
            ctypes.memmove(out_address + start, address, wanted)

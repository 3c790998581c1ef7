"""The gathers in Python and the standard library alone: same results, for a few records or where numba is missing."""

from __future__ import annotations

import ctypes
import os

import numpy as np
from numpy.typing import NDArray


def read_rows(fd: int, offsets: NDArray[np.int64], nbytes: int, out_address: int, rows: NDArray[np.int64]) -> int:
    """Read `nbytes` at `offsets[k]` into row `rows[k]` of a table at `out_address`; -1, or the first k that failed."""
    for k, (offset, row) in enumerate(zip(offsets.tolist(), rows.tolist(), strict=True)):
        target = memoryview((ctypes.c_char * nbytes).from_address(out_address + row * nbytes)).cast("B")
        done = 0
        while done < nbytes:
            try:
                got = _read_into(fd, target[done:], offset + done)
            except OSError:
                return k
            if got == 0:
                return k
            done += got
    return -1


def _read_into(fd: int, target: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [target], offset)
    os.lseek(fd, offset, os.SEEK_SET)
    read = os.read(fd, len(target))
    target[: len(read)] = read
    return len(read)


def copy_rows(address: int, offsets: NDArray[np.int64], nbytes: int, out_address: int, rows: NDArray[np.int64]) -> None:
    """Copy `nbytes` at `address + offsets[k]` into row `rows[k]` of a table at `out_address`."""
    for offset, row in zip(offsets.tolist(), rows.tolist(), strict=True):
        ctypes.memmove(out_address + row * nbytes, address + offset, nbytes)


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

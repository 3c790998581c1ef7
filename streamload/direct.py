"""Direct reads: large records past the page cache, several at a time, for data that memory cannot hold.

What random order reads of a file much larger than memory is evicted before it is wanted again: keeping it costs the
kernel a third of the rate, and everybody else their own pages.
"""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 4096
"""Places, lengths and addresses of direct reads are multiples of this; no device in use asks for more."""
LEAST_RECORD_NBYTES = 64 * 1024
"""Smaller records are read through the page cache, whose pages then hold several of them."""
PIECE_NBYTES = 1024**2
"""The most that one read brings in."""
DEPTH = 8
"""Reads under way in one process: with two workers the device has as many as give its best rate."""
SCRATCH_NBYTES = DEPTH * (PIECE_NBYTES + 2 * ALIGNMENT)
"""What the buffers of one process take."""


class DirectReads:
    """A few threads with an aligned buffer each, which read records and copy them to their rows."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(DEPTH, thread_name_prefix="streamload-direct")
        self._buffers = [mmap.mmap(-1, PIECE_NBYTES + 2 * ALIGNMENT) for _ in range(DEPTH)]

    def read(self, fd: int, offsets: NDArray[np.int64], nbytes: int, out: NDArray[np.uint8], rows: NDArray[np.int64]) -> list[int]:
        """Read `nbytes` at `offsets[k]` into row `rows[k]` of `out`, shape (rows, nbytes); returns every k that could not be read."""
        lanes = min(DEPTH, len(offsets))
        buffers = (np.frombuffer(buffer, np.uint8) for buffer in self._buffers[:lanes])
        parts = (range(lane, len(offsets), lanes) for lane in range(lanes))
        failed = self._threads.map(_read_lane, parts, buffers, repeat(fd), repeat(offsets), repeat(nbytes), repeat(out), repeat(rows))
        return [k for lane in failed for k in lane]

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
        self._buffers.clear()


def _read_lane(
    part: range,
    buffer: NDArray[np.uint8],
    fd: int,
    offsets: NDArray[np.int64],
    nbytes: int,
    out: NDArray[np.uint8],
    rows: NDArray[np.int64],
) -> list[int]:
    """Read the records of one thread; returns those that failed, on whatever ground: who asked finds out the reason."""
    failed: list[int] = []
    for k in part:
        offset, target, done = int(offsets[k]), out[rows[k]], 0
        while done < nbytes:
            first = (offset + done) // ALIGNMENT * ALIGNMENT
            skipped = offset + done - first
            wanted = min(nbytes - done, PIECE_NBYTES)
            room = buffer[: -(-(skipped + wanted) // ALIGNMENT) * ALIGNMENT]
            try:
                got = os.preadv(fd, [room.data], first) - skipped
            except OSError:
                got = 0
            if got <= 0:
                failed.append(k)
                break
            got = min(got, wanted)
            target[done : done + got] = room[skipped : skipped + got]
            done += got
    return failed

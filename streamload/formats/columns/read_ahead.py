"""Stored chunks that will be wanted next, read past the page cache while others are decoded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from streamload.storage.direct_io import LEAST_RECORD_NBYTES, RING_NBYTES, TOGETHER, DirectReads, direct_reads

MOST_SHARE = 4
"""The ring holds at least so many chunks, whatever their size."""

Chunk = tuple[int, int]
"""A file, as a place among those of a column, and a chunk in it."""
ByteRange = tuple[int, int, int]
"""Where a chunk lies: the number of its file, an offset, a length in bytes."""


def ring_nbytes(chunks: Iterable[NDArray[np.int64]]) -> int:
    """The memory for reading chunks of these stored sizes ahead, one array a file; 0 where that does not pay."""
    sizes = [nbytes for nbytes in chunks if len(nbytes)]
    count, total = sum(map(len, sizes)), sum(int(nbytes.sum()) for nbytes in sizes)
    if not count or total < LEAST_RECORD_NBYTES * count or total < RING_NBYTES:
        return 0
    largest = max(int(nbytes.max()) for nbytes in sizes) + 2 * 4096
    return max(RING_NBYTES, -(-MOST_SHARE * largest // 4096) * 4096)


class ReadAhead:
    """Chunks in the order in which they will be wanted: some wait, some are being read, some are there."""

    def __init__(self, reads: DirectReads, descriptor: Callable[[int], int | None]) -> None:
        self._reads = reads
        self._descriptor = descriptor
        self._waiting: OrderedDict[Chunk, ByteRange] = OrderedDict()
        self._let_go = 0

    @classmethod
    def create(cls, nbytes: int, descriptor: Callable[[int], int | None]) -> ReadAhead | None:
        """With memory of so many bytes, and what gives a file's descriptor; None where the system has no such reads."""
        reads = direct_reads(nbytes)
        return cls(reads, descriptor) if reads is not None else None

    def __contains__(self, chunk: Chunk) -> bool:
        return chunk in self._reads or chunk in self._waiting

    def expect(self, chunks: Iterable[tuple[Chunk, ByteRange]]) -> None:
        """Say that these will be wanted, after those that were said before."""
        for chunk, place in chunks:
            if chunk not in self._reads:
                self._waiting.setdefault(chunk, place)
        self._begin()

    def take(self, chunk: Chunk) -> NDArray[np.uint8] | None:
        """A chunk's stored bytes, until `done`; None if they could not be read, or nobody expected them."""
        if chunk in self._waiting:
            # Something else was expected first, and is not wanted after all.
            while self._waiting and next(iter(self._waiting)) != chunk:
                self._waiting.popitem(last=False)
            self._reads.clear()
            self._begin()
        return self._reads.take(chunk)

    def done(self, chunk: Chunk) -> None:
        """Let go of a chunk, and begin to read others in its place."""
        self._reads.done(chunk)
        self._waiting.pop(chunk, None)
        self._let_go += 1
        if self._let_go >= TOGETHER or len(self._reads) < TOGETHER:
            self._begin()

    def close(self) -> None:
        """Let go of everything."""
        self._waiting.clear()
        self._reads.close()

    def _begin(self) -> None:
        """Begin to read as many as there is room for."""
        last, self._let_go = None, 0
        while self._waiting:
            chunk, (number, offset, nbytes) = next(iter(self._waiting.items()))
            if number != last:
                # Opening another file may close one: the system has to know by then which file was meant.
                self._reads.send()
            fd, last = self._descriptor(number), number
            if fd is None or not self._reads.begin(chunk, fd, offset, nbytes):
                break
            del self._waiting[chunk]
        self._reads.send()

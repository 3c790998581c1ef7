"""What a writer has finished of its file, read again behind it while it writes the rest: a device does both at a time.

The bytes of a file are cut at the borders of blocks and of writes; each cut has its CRC-32, and that of any stretch which ends
at cuts follows from theirs, without its bytes. What ends elsewhere is read once more, up to the next cut.
"""

from __future__ import annotations

import errno
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

from streamload.storage.files import is_cached
from streamload.tools.files.checksums import crc32, joined_crc32
from streamload.tools.files.direct_io import ALIGNMENT, LEAST_NBYTES, direct_descriptor

READERS = 16
"""Threads that read and compute: a device that is written to gives 0.8 GB/s to four of them, and 1.2 to sixteen."""
READ_NBYTES = 4 * 1024**2
"""Read at a time, and what each thread has for it."""
PROBES = 16
"""Places at which the page cache is asked whether it holds a file."""
Span = tuple[int, int]
"""Bytes [start, stop) of a file."""
Cut = tuple[int, int, int]
"""Bytes [start, stop) of a file, and their checksum."""


class ReadBehind:
    """The checksums of one file, read from its device; a context manager, used by one thread.

    `settled` says what is in the file to stay, `finish` reads the rest.
    """

    def __init__(self, path: str, block_nbytes: int) -> None:
        self._path, self._block_nbytes = path, block_nbytes
        self._checksum = crc32()
        self._room = READ_NBYTES + block_nbytes + 2 * ALIGNMENT
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._direct: int | None = None
        self._memory: list[memoryview] = []
        """Not in use; threads that never were at work at a time share it."""
        self._pool = ThreadPoolExecutor(READERS)
        self._reading: list[Future[list[Cut]]] = []
        self._next: list[int] = []
        """Borders of cuts that follow each other, to be read together."""
        self._sent: list[Span] = []
        self._cuts: dict[int, tuple[int, int]] = {}
        """By where they start: where they stop, and their checksums."""
        self._starts: list[int] = []

    def __enter__(self) -> ReadBehind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for fd in (self._fd, self._direct):
            if fd is not None:
                os.close(fd)

    def settled(self, spans: Iterable[Span]) -> None:
        """These bytes were written past the page cache and stay as they are: read them beside whatever is done next."""
        for start, stop in spans:
            if self._direct is None:
                self._direct = direct_descriptor(self._path, os.O_RDONLY)
            self._add(start, stop)

    def finish(self) -> None:
        """Read what was not read behind the writer, which has closed the file, and wait for all. Raises OSError."""
        self._send()
        nbytes = os.fstat(self._fd).st_size
        if self._direct is None and nbytes >= LEAST_NBYTES and not self._is_cached(nbytes):
            self._direct = direct_descriptor(self._path, os.O_RDONLY)
        at = 0
        for start, stop in (*sorted(self._sent), (nbytes, nbytes)):
            if at < start:
                self._add(at, start)
            at = max(at, stop)
        self._send()
        for future in self._reading:
            self._cuts.update({start: (stop, checksum) for start, stop, checksum in future.result()})
        self._starts = sorted(self._cuts)

    def _is_cached(self, nbytes: int) -> bool:
        """Whether the page cache seems to hold the file: asked at some places."""
        return all(is_cached(self._fd, place) for place in range(0, nbytes, max(1, nbytes // PROBES)))

    def _add(self, start: int, stop: int) -> None:
        """Cut a stretch, and have it read once there is enough of it."""
        size = self._block_nbytes
        for end in (*range((start // size + 1) * size, stop, size), stop):
            if self._next and (self._next[-1] != start or self._next[-1] - self._next[0] >= READ_NBYTES):
                self._send()
            self._next = self._next or [start]
            self._next.append(end)
            start = end

    def _send(self) -> None:
        if self._next:
            self._reading.append(self._pool.submit(self._read, self._next))
            self._sent.append((self._next[0], self._next[-1]))
            self._next = []

    def _read(self, borders: Sequence[int]) -> list[Cut]:
        """Read what lies between the first border and the last: every cut, and its checksum; fewer where the file ends before."""
        try:
            memory = self._memory.pop()
        except IndexError:
            memory = memoryview(mmap.mmap(-1, self._room))
        try:
            first = borders[0] // ALIGNMENT * ALIGNMENT
            stop = first + self._filled(memory, first, borders[-1] - first)
            cuts = [(start, end) for start, end in pairwise(borders) if start < end <= stop]
            return [(start, end, self._checksum(memory[start - first : end - first], 0)) for start, end in cuts]
        finally:
            self._memory.append(memory)

    def _filled(self, memory: memoryview, at: int, wanted: int) -> int:
        """Read so many bytes from a place on; how many came."""
        came = 0
        while came < wanted:
            direct = self._direct if not came % ALIGNMENT else None
            length = -(-(wanted - came) // ALIGNMENT) * ALIGNMENT if direct is not None else wanted - came
            try:
                done = os.preadv(self._fd if direct is None else direct, [memory[came : came + length]], at + came)
            except OSError as error:
                if direct is None or error.errno != errno.EINVAL:
                    raise
                done = os.preadv(self._fd, [memory[came : came + length]], at + came)
            if not done:
                break
            came += done
        return min(came, wanted)

    def blocks(self) -> list[int]:
        """The checksum of every block of the file, in order."""
        size, nbytes = self._block_nbytes, os.fstat(self._fd).st_size
        return [self.checksum(at, min(at + size, nbytes)) for at in range(0, nbytes, size)]

    def checksum(self, start: int, stop: int, before: int = 0) -> int:
        """The CRC-32 of bytes [start, stop), or of others whose checksum is `before` and these behind them."""
        while start < stop:
            end, found = self._cuts.get(start, (0, 0))
            if not start < end <= stop:
                # No cut begins here, or it ends elsewhere: the bytes themselves, up to the next one.
                at = bisect_right(self._starts, start)
                end = min(stop, self._starts[at] if at < len(self._starts) else stop, start + READ_NBYTES)
                (_, _, found), *_ = self._read([start, end]) or [(start, end, 0)]
            before = joined_crc32(before, found, end - start)
            start = end
        return before

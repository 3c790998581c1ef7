"""Writes past the page cache, in order: a device takes them several times as fast as the kernel writes its cached pages back."""

from __future__ import annotations

import errno
import mmap
import os
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.storage.owned_files import create_file

ALIGNMENT = 4096
"""Places, lengths and addresses of direct writes are multiples of this; no device in use asks for more."""
STAGED_NBYTES = 4 * 1024**2
"""What is not aligned is gathered in memory that is, so much at a time."""
LEAST_NBYTES = 1024**2
"""Less is written through the page cache."""


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array that a direct write can take as it is: its memory begins at a multiple of ALIGNMENT."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if nbytes < LEAST_NBYTES:
        return np.empty(shape, dtype)
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    skipped = -memory.ctypes.data % ALIGNMENT
    return memory[skipped : skipped + nbytes].view(dtype).reshape(shape)


def aligned_records(most: int, record_nbytes: int) -> int:
    """At most so many records, whose bytes together are a multiple of ALIGNMENT where few enough are."""
    step = ALIGNMENT // np.gcd(ALIGNMENT, max(1, record_nbytes))
    return int(most // step * step) or most


def direct_descriptor(path: str, flags: int) -> int | None:
    """A file opened past the page cache; None where its file system has no such thing, as those in memory."""
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return None
        raise


class DirectStream:
    """Bytes that follow each other in a file: whole blocks past the page cache, what is left at both ends through it.

    `fd` and `direct` are the owner's; without `direct`, all goes through the page cache. Nothing is certain to be in the
    file before `flush`, and nothing to last before the owner's fsync.
    """

    def __init__(self, fd: int, direct: int | None, at: int) -> None:
        self._fd, self._direct = fd, direct
        self._at = at
        """The byte at which the staged ones begin."""
        self._staged = 0
        self._stage: memoryview | None = None
        self._told = at
        self._begun: deque[int] = deque()
        """Where writes began that are not told yet."""

    def tell(self) -> int:
        """The byte that comes next."""
        return self._at + self._staged

    def write(self, data: Any) -> int:
        """Write bytes behind those before them; how many. Raises OSError."""
        view = memoryview(data).cast("B")
        nbytes = len(view)
        self._begun.append(self.tell())
        while view:
            view = view[self._taken(view) :]
        return nbytes

    def _taken(self, view: memoryview) -> int:
        """Write or stage some of the bytes; how many."""
        if self._direct is None:
            return self._wrote(view)
        if not self._staged:
            if self._at % ALIGNMENT:
                return self._wrote(view[: ALIGNMENT - self._at % ALIGNMENT])
            if len(view) >= ALIGNMENT and np.frombuffer(view, np.uint8).ctypes.data % ALIGNMENT == 0:
                return self._wrote_directly(view[: len(view) // ALIGNMENT * ALIGNMENT])
        if self._stage is None:
            self._stage = memoryview(mmap.mmap(-1, STAGED_NBYTES))
        count = min(len(view), STAGED_NBYTES - self._staged)
        self._stage[self._staged : self._staged + count] = view[:count]
        self._staged += count
        if self._staged == STAGED_NBYTES:
            self._send(self._stage)
        return count

    def _send(self, staged: memoryview) -> None:
        """Write what is staged."""
        while staged:
            whole = len(staged) // ALIGNMENT * ALIGNMENT
            aligned = whole and not self._at % ALIGNMENT
            done = self._wrote_directly(staged[:whole]) if aligned else self._wrote(staged)
            staged = staged[done:]
        self._staged = 0

    def _wrote_directly(self, view: memoryview) -> int:
        assert self._direct is not None
        try:
            done = os.pwrite(self._direct, view, self._at)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # The device asks for more than the alignment here: all the rest goes through the page cache.
            self._direct = None
            return self._wrote(view)
        self._at += done
        if done % ALIGNMENT:
            self._direct = None  # Never of a device; whoever does such things is not trusted with blocks.
        return done

    def _wrote(self, view: memoryview) -> int:
        done = os.pwrite(self._fd, view, self._at)
        self._at += done
        return done

    def settled(self) -> list[tuple[int, int]]:
        """Bytes [start, stop) that went to the file since this was last asked, and will stay; those of two writes are two.

        None without `direct`: reading them again would show what the page cache holds.
        """
        spans: list[tuple[int, int]] = []
        while self._told < self._at:
            while self._begun and self._begun[0] <= self._told:
                self._begun.popleft()
            stop = min(self._at, self._begun[0]) if self._begun else self._at
            spans.append((self._told, stop))
            self._told = stop
        return spans if self._direct is not None else []

    def flush(self) -> None:
        """Write what is still staged."""
        if self._stage is not None and self._staged:
            self._send(self._stage[: self._staged])


class DirectFile:
    """A new file that is written from its beginning to its end, for libraries that want an open file."""

    closed = True

    def __init__(self, path: str) -> None:
        self._direct: int | None = None
        self._fd = create_file(path)
        self.closed = False
        self._direct = direct_descriptor(path, os.O_WRONLY)
        self._stream = DirectStream(self._fd, self._direct, 0)

    def write(self, data: Any) -> int:
        """Write bytes behind those before them; how many."""
        return self._stream.write(data)

    def tell(self) -> int:
        """How many bytes were written."""
        return self._stream.tell()

    def settled(self) -> list[tuple[int, int]]:
        """Bytes [start, stop) that went to the file since this was last asked, and will stay."""
        return self._stream.settled()

    def flush(self) -> None:
        """Nothing: blocks go when they are full, and all of it with `close`."""

    def close(self) -> None:
        """Write what is staged, and make the file last."""
        if self.closed:
            return
        self.closed = True
        try:
            self._stream.flush()
            os.fsync(self._fd)
        finally:
            for fd in (self._fd, self._direct):
                if fd is not None:
                    os.close(fd)

    def __del__(self) -> None:
        """Close what was left open by an error: nothing more is written."""
        if not self.closed:
            self.closed = True
            for fd in (self._fd, self._direct):
                if fd is not None:
                    os.close(fd)

    def readable(self) -> bool:
        """Never."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Never."""
        return False

"""Memory that is taken, zeroed and mapped ahead of its use, beside the program."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import weakref

PIECE_NBYTES = 4 << 20
"""What is taken or mapped at a time: a few milliseconds, which is what ending it may wait for."""
LISTEN_S = 0.5
"""The longest single wait."""
_POPULATE_WRITE = 23


class AheadMapping:
    """A thread that takes a stretch of a file in memory, then maps one, from beginning to end, and then is gone.

    What is mapped could be left undone; what is taken must be waited for before it is touched. The thread holds no lock of the
    interpreter while it works.
    """

    def __init__(self, fd: int, mapped: mmap.mmap, address: int, nbytes: int, *, taken: int, populated: int) -> None:
        """`taken` and `populated`: bytes from the beginning of which that has been done. `mapped` is kept until the thread has ended;
        `address` is where it lies.
        """
        self._over = threading.Event()
        self._progress = MappingProgress(taken, nbytes)
        self._fd = fd
        work = (self._over, self._progress, fd, mapped, address, populated)
        self._thread = threading.Thread(target=_work, args=work, name="streamload memory", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._over.set)

    def await_taken(self, stop: int) -> None:
        """Wait until the first `stop` bytes are there. Raises OSError where the system does not give them."""
        progress = self._progress
        while progress.taken < stop and progress.error is None and self._thread.is_alive():
            with progress.changed:
                if progress.taken < stop and progress.error is None:
                    progress.changed.wait(LISTEN_S)
        if progress.taken < stop and progress.error is not None:
            raise OSError(progress.error.errno, progress.error.strerror)

    def close(self) -> None:
        """End it, and wait until it has ended. Safe to call again, and in a fork, where it never ran."""
        self._over.set()
        self._thread.join()

    def leave_descriptor(self) -> None:
        """End it without waiting, which a finalizer must not: the descriptor is closed once the thread has no use for it."""
        progress = self._progress
        progress.left.append(self._fd)
        self._over.set()
        if progress.ended or not self._thread.is_alive():  # Not alive either in a fork, where it never ran.
            progress.close_left()


class MappingProgress:
    """How much has been taken, as the thread says."""

    def __init__(self, taken: int, nbytes: int) -> None:
        self.taken = taken
        self.nbytes = nbytes
        self.error: OSError | None = None
        """Why there is no more."""
        self.changed = threading.Condition()
        self.left: list[int] = []
        """Descriptors that nobody else will close."""
        self.ended = False
        """Whether the thread has no more use for its descriptor; set before it looks at `left`, so that no lock is needed."""

    def close_left(self) -> None:
        """Close what was left; of two threads that do so at once, one does."""
        try:
            fd = self.left.pop()
        except IndexError:
            return
        os.close(fd)


def _work(over: threading.Event, progress: MappingProgress, fd: int, mapped: mmap.mmap, address: int, populated: int) -> None:
    try:
        _take(over, progress, fd)
    finally:
        progress.ended = True
        progress.close_left()
    if progress.taken == progress.nbytes:
        _populate(over, mapped, address, populated, progress.nbytes)


def _take(over: threading.Event, progress: MappingProgress, fd: int) -> None:
    for start in range(progress.taken, progress.nbytes, PIECE_NBYTES):
        if over.is_set():
            return
        error: OSError | None = None
        try:
            os.posix_fallocate(fd, start, min(PIECE_NBYTES, progress.nbytes - start))
        except OSError as refused:
            error = refused
        with progress.changed:
            progress.error = error
            progress.taken = start if error is not None else min(start + PIECE_NBYTES, progress.nbytes)
            progress.changed.notify_all()
        if error is not None:
            return


def _populate(over: threading.Event, mapped: mmap.mmap, address: int, start: int, stop: int) -> None:
    """`mapped` is only held: unmapping waits for it."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begin in range(start, stop, PIECE_NBYTES):
        if over.is_set() or advise(address + begin, min(PIECE_NBYTES, stop - begin), _POPULATE_WRITE):
            return  # A kernel that does not know it: pages are mapped as they are touched.

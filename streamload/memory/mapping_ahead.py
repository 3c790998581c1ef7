"""Pages of memory that is taken already, zeroed and mapped ahead of their use, beside the program."""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref

PIECE_NBYTES = 4 << 20
"""What is mapped at a time: a few milliseconds, which is what ending it may wait for."""
_POPULATE_WRITE = 23


class AheadMapping:
    """A thread that maps a stretch of memory from its beginning to its end, and then is gone. All of it could be left undone.

    `mapped` is kept until it has ended; `address` is where it lies. The thread holds no lock of the interpreter while it works.
    """

    def __init__(self, mapped: mmap.mmap, address: int, nbytes: int) -> None:
        self._over = threading.Event()
        work = (self._over, mapped, address, nbytes)
        self._thread = threading.Thread(target=_map, args=work, name="streamload memory", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._over.set)

    def close(self) -> None:
        """End it, and wait until it has ended. Safe to call again, and in a fork, where it never ran."""
        self._over.set()
        self._thread.join()


def _map(over: threading.Event, mapped: mmap.mmap, address: int, nbytes: int) -> None:
    """`mapped` is only held: unmapping waits for it."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start in range(0, nbytes, PIECE_NBYTES):
        if over.is_set() or advise(address + start, min(PIECE_NBYTES, nbytes - start), _POPULATE_WRITE):
            return  # A kernel that does not know it: pages are mapped as they are touched.

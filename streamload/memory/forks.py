"""What a forked child sees of shared memory that arrays of the user's look at: a copy of its own, as it was at the fork.

Rules:

1. Memory that several processes write to is never what a child reads: it would watch batches change under its arrays.
2. What is lent when the program forks is copied before the fork, while nobody can be given more. The child puts the copies,
   private to it, where its arrays look; what was not lent is zeros there, and no array leads to it.
3. It costs what copying into fresh memory costs, once in the parent and once in the child (about 100 ms each for a batch of
   38 MB on two busy cores), and as much memory meanwhile. A fork while nothing is lent costs next to nothing, and so do
   batches while nobody forks.

Only forks that Python makes are noticed (os.fork, multiprocessing); a program that is started by subprocess shares no memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

Piece = tuple[int, int]
"""Bytes from a mapping's begin, and how many."""
LENDING = threading.RLock()
"""Held while something is lent, and from before a fork until after it."""
_FIXED = 0x10
"""MAP_FIXED, which Python does not name: put a mapping exactly there, in place of what there is."""


@dataclass(frozen=True, slots=True)
class _Mapping:
    """A mapping that may be lent, in whole or in pieces."""

    address: int
    nbytes: int
    lent: Callable[[], Iterable[Piece]]


_mappings: WeakKeyDictionary[mmap.mmap, _Mapping] = WeakKeyDictionary()
_copies: list[tuple[_Mapping, list[tuple[int, bytes]]]] = []
"""While the program forks: of each mapping, the pieces that are lent, as byte of their begin and content."""


def keep_for_children(mapping: mmap.mmap, address: int, nbytes: int, lent: Callable[[], Iterable[Piece]]) -> None:
    """Have forked children find copies of what is lent of a shared mapping, for as long as the mapping lives.

    `lent` says which pieces are, and must not refer to the mapping.
    """
    _mappings[mapping] = _Mapping(address, nbytes, lent)


def _before() -> None:
    LENDING.acquire()
    for mapping in list(_mappings.values()):
        _copies.append((mapping, [(start, ctypes.string_at(mapping.address + start, nbytes)) for start, nbytes in mapping.lent()]))


def _after_in_parent() -> None:
    _copies.clear()
    LENDING.release()


def _after_in_child() -> None:
    try:
        for mapping, pieces in _copies:
            _replace(mapping)
            for start, content in pieces:
                ctypes.memmove(mapping.address + start, content, len(content))
    finally:
        _copies.clear()
        _mappings.clear()  # What is private now needs nothing at the child's own forks.
        LENDING.release()


def _replace(mapping: _Mapping) -> None:
    """Put private zeros in the place of a shared mapping; where that cannot be, nothing at all: wrong bytes would be worse."""
    system = ctypes.CDLL(None, use_errno=True)
    system.mmap.restype = ctypes.c_void_p
    system.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED | getattr(mmap, "MAP_NORESERVE", 0)
    if system.mmap(mapping.address, mapping.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != mapping.address:
        system.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        system.munmap(mapping.address, mapping.nbytes)
        raise MemoryError(f"no room for the batches of the parent: errno {ctypes.get_errno()}")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

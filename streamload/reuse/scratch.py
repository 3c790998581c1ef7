"""Memory that serves one call of a reader after the other, and can be overwritten between two of them.

Rules, which every reader keeps:

1. What is delivered is copied to where the caller wants it: no reader gives away a view of memory of its own.
2. What a reader keeps from one call to the next owns its memory; only what replaces it is ever written there.
3. Everything else that it uses again is a `Scratch`: nobody's between two calls, and no view of it is kept.

`testing.check_source` holds readers to the third: it overwrites all scratch memory after each call of a reader.
"""

from __future__ import annotations

import weakref
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PATTERN = 0xA5
"""What scratch memory is overwritten with: neither zeros, nor ones, nor a likely value of anything."""


class Reused(Protocol):
    """Memory, some of which is nobody's between two calls of the reader that uses it."""

    def overwrite(self, value: int) -> None:
        """Fill the memory that nobody may still look at with a byte."""
        ...


_all: weakref.WeakSet[Reused] = weakref.WeakSet()


def watch(memory: Reused) -> None:
    """Have `overwrite_all` reach memory, as long as it lives."""
    _all.add(memory)


def overwrite_all(value: int = PATTERN) -> int:
    """Fill all scratch memory of this process with a byte, while no reader is at work; returns how many pieces of it there are."""
    pieces = list(_all)
    for memory in pieces:
        memory.overwrite(value)
    return len(pieces)


class Scratch:
    """A buffer that grows as it has to. What lies in it is nobody's once the call that asked for it is over."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        watch(self)

    def room(self, nbytes: int) -> NDArray[np.uint8]:
        """The first `nbytes` of it, whatever they hold."""
        if len(self._memory) < nbytes:
            self._memory = np.empty(nbytes, np.uint8)
        return self._memory[:nbytes]

    def overwrite(self, value: int) -> None:
        """Fill it with a byte."""
        self._memory[:] = value

    def close(self) -> None:
        """Let go of the memory."""
        self._memory = np.empty(0, np.uint8)

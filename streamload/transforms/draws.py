"""Randomness of augmentation: a hash of seed, epoch, record, view, operation and number of the draw, whoever asks and when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.kernels import draw_kernel
from streamload.order import key

AUGMENTATION = 4
"""The purpose, in `order.key`, of randomness that changes records."""
RECORDS, BATCHES = -(2**62), -(2**61)
"""Indices, in `order.key`, for the draws of records, and (less the position of a batch's first record) for those of batches.

Functions of the user's have those of their records, from 0 up, and -1 less a position.
"""
MOST_OPERATIONS, MOST_DRAWS = 1 << 16, 1 << 12
"""Of a chain; of an operation."""


def record_words(seed: int, epoch: int) -> NDArray[np.uint32]:
    """The key of all draws of an epoch's records: shape (8,)."""
    return key(seed, epoch, AUGMENTATION, RECORDS)


def batch_words(seed: int, epoch: int, position: int) -> NDArray[np.uint32]:
    """The key of what is drawn for a whole batch, by the position of its first record: shape (8,)."""
    return key(seed, epoch, AUGMENTATION, BATCHES - position)


class Draws:
    """Draws for some records of an epoch, each in one of its views: an array at a time, of one operation after the other.

    A draw depends on its number within the operation, and on the operation's within the chain, never on which records are
    asked for together.
    """

    def __init__(self, words: NDArray[np.uint32], records: NDArray[np.int64], *, view: int = 0, first_operation: int = 0) -> None:
        self._words = words
        self._records = np.ascontiguousarray(records, np.int64)
        self._first = view << 28
        self._operation, self._next = first_operation, 0

    def begin_operation(self) -> int:
        """From here on draws are the next operation's; its number, from 1."""
        self._operation += 1
        self._next = 0
        assert self._operation < MOST_OPERATIONS
        return self._operation

    def fractions(self, count: int) -> NDArray[np.float64]:
        """Numbers in [0, 1), shape (count, records): the operation's next `count` draws."""
        first, self._next = self._next, self._next + count
        assert self._next <= MOST_DRAWS
        bits = np.empty((len(self._records), count), np.uint32)
        draw_kernel()(self._words, self._records, self._first | self._operation << 12 | first, 1, bits)
        return bits.T * np.float64(2.0**-32)

    def uniform(self, low: float, high: float) -> NDArray[np.float64]:
        """A number in [low, high) for each record."""
        return low + (high - low) * self.fractions(1)[0]

    def below(self, size: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """A whole number in [0, size) for each record."""
        return self.places(size)[0]

    def places(self, *sizes: NDArray[np.int64] | int) -> list[NDArray[np.int64]]:
        """For each of `sizes`, a whole number in [0, size) for each record: draws one after the other, in one call."""
        parts = self.fractions(len(sizes))
        return [(part * size).astype(np.int64) for part, size in zip(parts, sizes, strict=True)]

    def permutations(self, count: int) -> NDArray[np.int64]:
        """The numbers 0 to count - 1 in some order, for each record: shape (records, count)."""
        return self.fractions(count).argsort(axis=0, kind="stable").T

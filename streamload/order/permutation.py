"""A bijection of range(n) from eight words: no memory to speak of, and an inverse."""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
from numpy.typing import NDArray

from streamload.kernels import permute_kernels

ORDER_VERSION = 1
"""What stands in saved states; another number means another order of records for the same seed."""

TABLE_LIMIT = 65_536
"""At or below this many numbers a Feistel network is too weak, and a table is cheap."""

EXACT, BLOCKS, WINDOW, LANES, AUGMENTATION, WEIGHTS, MIXING, LABELS = range(8)
"""The purpose of a key: the whole epoch, the blocks of a stratum, the records of a window, lanes, randomness in functions of a
record, draws, parts of a mixture, and the records of each label where data is split.
"""

_KEY_NBYTES = 32


def key(seed: int, epoch: int, purpose: int, index: int) -> NDArray[np.uint32]:
    """Eight words, shape (8,), hashed so that (seed, epoch + 1) and (seed + 1, epoch) have nothing in common.

    `seed` counts modulo 2**64; the others fit in 64 signed bits.
    """
    digest = hashlib.blake2b(struct.pack("<Q3q", seed % 2**64, epoch, purpose, index), digest_size=_KEY_NBYTES).digest()
    return np.frombuffer(digest, "<u4").astype(np.uint32)


def keys(seed: int, epoch: int, purpose: int, count: int, *, first: int = 0) -> NDArray[np.uint32]:
    """The keys of `count` indices from `first` on, shape (count, 8). One costs about a microsecond."""
    head, index = struct.pack("<Q2q", seed % 2**64, epoch, purpose), struct.Struct("<q")
    begun = hashlib.blake2b(head, digest_size=_KEY_NBYTES)
    digests = bytearray()
    for number in range(first, first + count):
        one = begun.copy()
        one.update(index.pack(number))
        digests += one.digest()
    return np.frombuffer(bytes(digests), "<u4").astype(np.uint32).reshape(count, 8)


def radix(n: int) -> tuple[int, int]:
    """The mixed radix (a, b) of the network over range(n): a * b >= n, with a = ceil(sqrt(n)); n > 0."""
    a = math.isqrt(n - 1) + 1
    return a, -(-n // a)


class Permutation:
    """A bijection of range(n), n < 2**63, fixed by the eight words of a key.

    Above TABLE_LIMIT a number is written (left, right) in the radix a * b >= n; eight Feistel rounds add to one half a
    hash of the other; results at n or above go on until they fall inside. At the limit or below it is a shuffled table.
    """

    def __init__(self, n: int, words: NDArray[np.uint32]) -> None:
        self.n = n
        self._words = words
        self._table: NDArray[np.int64] | None = None
        self._inverse: NDArray[np.int64] | None = None
        self._a, self._b = radix(n) if n > TABLE_LIMIT else (0, 0)
        if n <= TABLE_LIMIT:
            self._table = np.empty(n, np.int64)
            permute_kernels().shuffled_table(n, words, self._table)

    def forward(self, start: int, stop: int) -> NDArray[np.int64]:
        """The images of start, start + 1, ..., stop - 1; needs 0 <= start <= stop <= n."""
        if self._table is not None:
            return self._table[start:stop].copy()
        out = np.empty(stop - start, np.int64)
        permute_kernels().feistel_records(self.n, self._a, self._b, self._words, start, stop, out)
        return out

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The images of positions in any order, each in [0, n)."""
        return self._table[positions] if self._table is not None else self._through(positions, backward=False)

    def inverse(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """What is mapped to each of `records`, each in [0, n)."""
        if self._table is None:
            return self._through(records, backward=True)
        if self._inverse is None:
            inverse = np.empty_like(self._table)
            inverse[self._table] = np.arange(self.n)
            self._inverse = inverse
        return self._inverse[records]

    def _through(self, numbers: NDArray[np.int64], *, backward: bool) -> NDArray[np.int64]:
        numbers = np.ascontiguousarray(numbers, np.int64)
        out = np.empty(len(numbers), np.int64)
        permute_kernels().feistel_at(self.n, self._a, self._b, self._words, numbers, out, backward)
        return out

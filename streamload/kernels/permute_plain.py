"""The permutations in NumPy alone: same results, for a few positions or where numba is missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STRETCH = 1 << 14
"""Positions that go through the network together, so that intermediate arrays stay in the second-level cache."""


def feistel_records(n: int, a: int, b: int, words: NDArray[np.uint32], start: int, stop: int, out: NDArray[np.int64]) -> None:
    """out[t] = the record at position start + t, for positions [start, stop)."""
    for first in range(start, stop, STRETCH):
        numbers = np.arange(first, min(first + STRETCH, stop), dtype=np.uint64)
        out[first - start : first - start + len(numbers)] = _walked(numbers, n, a, b, words, False)


def feistel_at(
    n: int, a: int, b: int, words: NDArray[np.uint32], numbers: NDArray[np.int64], out: NDArray[np.int64], backward: bool
) -> None:
    """out[t] = the record at position numbers[t], or, backward, the position of record numbers[t]."""
    for first in range(0, len(numbers), STRETCH):
        out[first : first + STRETCH] = _walked(numbers[first : first + STRETCH].astype(np.uint64), n, a, b, words, backward)


def shuffled_table(n: int, words: NDArray[np.uint32], out: NDArray[np.int64]) -> None:
    """Fisher-Yates over range(n), driven by splitmix64 from words[0] + words[1] * 2**32; n <= 2**32."""
    state = np.uint64(int(words[0]) | int(words[1]) << 32)
    steps = np.arange(1, max(n, 1), dtype=np.uint64)
    z = state + steps * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    partners = ((z >> np.uint64(32)) * (np.uint64(n) - steps + np.uint64(1))) >> np.uint64(32)
    table = list(range(n))
    for i, j in zip(range(n - 1, 0, -1), partners.tolist(), strict=True):
        table[i], table[j] = table[j], table[i]
    out[:] = table


def window_blocks(
    windows: int,
    table_limit: int,
    a: int,
    b: int,
    low: NDArray[np.int64],
    keys: NDArray[np.uint32],
    block_starts: NDArray[np.int64],
    blocks: NDArray[np.int64],
) -> None:
    """Fill in which blocks each window holds: `blocks[block_starts[w]:block_starts[w + 1]]`, in stratum order.

    Stratum s is the blocks [low[s], low[s + 1]); its permutation of range(windows) has key keys[s] and, above
    `table_limit` windows, the radix (a, b).
    """
    pick = np.empty(windows, np.int64)
    window_of = np.empty(len(blocks), np.int64)
    for s in range(len(low) - 1):
        if windows <= table_limit:
            shuffled_table(windows, keys[s], pick)
        else:
            feistel_records(windows, a, b, keys[s], 0, windows, pick)
        holders = np.flatnonzero(pick < low[s + 1] - low[s])
        window_of[low[s] + pick[holders]] = holders
    # Blocks of one window in stratum order are blocks in rising order: strata are stretches, with one block each.
    blocks[:] = np.argsort(window_of, kind="stable")
    block_starts[0] = 0
    np.cumsum(np.bincount(window_of, minlength=windows), out=block_starts[1:])


def _walked(numbers: NDArray[np.uint64], n: int, a: int, b: int, words: NDArray[np.uint32], backward: bool) -> NDArray[np.uint64]:
    """The network over an array of numbers; those that come out at n or above go through again."""
    radix_a, radix_b = np.uint64(a), np.uint64(b)
    values = _once(numbers, radix_a, radix_b, words, backward)
    outside = np.flatnonzero(values >= np.uint64(n))
    while outside.size:
        values[outside] = _once(values[outside], radix_a, radix_b, words, backward)
        outside = outside[values[outside] >= np.uint64(n)]
    return values


def _once(numbers: NDArray[np.uint64], a: np.uint64, b: np.uint64, words: NDArray[np.uint32], backward: bool) -> NDArray[np.uint64]:
    left, right = np.divmod(numbers, b)
    for j in (6, 4, 2, 0) if backward else (0, 2, 4, 6):
        k0, k1 = words[j], words[j + 1]
        if backward:
            right = _folded(right + (b - _share(left, k1, b)), b)
            left = _folded(left + (a - _share(right, k0, a)), a)
        else:
            left = _folded(left + _share(right, k0, a), a)
            right = _folded(right + _share(left, k1, b), b)
    return left * b + right


def _folded(values: NDArray[np.uint64], size: np.uint64) -> NDArray[np.uint64]:
    """Values below 2 * size, modulo size: what is too small to subtract from wraps round to something larger."""
    return np.minimum(values, values - size)


def _share(numbers: NDArray[np.uint64], word: np.uint32, size: np.uint64) -> NDArray[np.uint64]:
    """A hash of each number below `size`."""
    x = numbers.astype(np.uint32) ^ word
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x21F0AAAD)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0xD35A2D97)
    x ^= x >> np.uint32(15)
    return (x.astype(np.uint64) * size) >> np.uint64(32)

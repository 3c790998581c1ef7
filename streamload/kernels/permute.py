"""Compiled permutations: the Feistel network over runs of positions, its inverse, the small tables, and the blocks of windows.

Every sum and product of uint32 is wrapped, since numba promotes it to uint64: the loops over a run then work on 32-bit lanes,
which LLVM makes into vector instructions. `permute_plain` holds the same functions for NumPy alone, equal to the bit.
"""

# pyright: basic
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

import numpy as np
from numba import njit

RUN = 512
"""Positions that go through the network together, one round after the other: two runs of halves stay in the first-level cache."""


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _mix(x):
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x21F0AAAD))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0xD35A2D97))
    return np.uint32(x ^ np.uint32(x >> np.uint32(15)))


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _share(x, size):
    """A hash of x below `size`."""
    return np.uint32((np.uint64(_mix(x)) * np.uint64(size)) >> np.uint64(32))


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _plus(x, y, size):
    """(x + y) % size without a sum that could pass 2**32: x and y are below `size`."""
    rest = np.uint32(size - y)
    return np.uint32(x - rest) if x >= rest else np.uint32(x + y)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _minus(x, y, size):
    """(x - y) % size."""
    return np.uint32(x - y) if x >= y else np.uint32(x + np.uint32(size - y))


@njit(nogil=True, cache=True, error_model="numpy")
def _forward_rounds(left, right, count, a, b, words):
    for j in range(0, 8, 2):
        k0, k1 = words[j], words[j + 1]
        for t in range(count):
            left[t] = _plus(left[t], _share(np.uint32(right[t] ^ k0), a), a)
        for t in range(count):
            right[t] = _plus(right[t], _share(np.uint32(left[t] ^ k1), b), b)


@njit(nogil=True, cache=True, error_model="numpy")
def _backward_rounds(left, right, count, a, b, words):
    for j in range(6, -1, -2):
        k0, k1 = words[j], words[j + 1]
        for t in range(count):
            right[t] = _minus(right[t], _share(np.uint32(left[t] ^ k1), b), b)
        for t in range(count):
            left[t] = _minus(left[t], _share(np.uint32(right[t] ^ k0), a), a)


@njit(nogil=True, cache=True, error_model="numpy")
def _walk(value, n, a, b, words, left, right, backward):
    """Cycle walking: go through the network again until the value falls below n. One in sqrt(n) values, at most, needs it."""
    while value >= n:
        left[0] = np.uint32(value // b)
        right[0] = np.uint32(value % b)
        if backward:
            _backward_rounds(left, right, 1, np.uint32(a), np.uint32(b), words)
        else:
            _forward_rounds(left, right, 1, np.uint32(a), np.uint32(b), words)
        value = np.uint64(left[0]) * b + np.uint64(right[0])
    return value


@njit(nogil=True, cache=True, error_model="numpy")
def _joined(left, right, count, n, a, b, words, out, backward):
    """Write left * b + right, each walked on until it falls below n."""
    outside = False
    for t in range(count):
        value = np.uint64(left[t]) * b + np.uint64(right[t])
        out[t] = np.int64(value)
        outside |= value >= n
    if outside:
        for t in range(count):
            value = np.uint64(out[t])
            if value >= n:
                out[t] = np.int64(_walk(value, n, a, b, words, left, right, backward))


@njit("void(int64, int64, int64, uint32[::1], int64, int64, int64[::1])", nogil=True, cache=True, error_model="numpy")
def feistel_records(n, a, b, words, start, stop, out):
    """out[t] = the record at position start + t, for positions [start, stop)."""
    left, right = np.empty(RUN, np.uint32), np.empty(RUN, np.uint32)
    high, low = start // b, start % b
    for first in range(start, stop, RUN):
        count = min(RUN, stop - first)
        for t in range(count):
            left[t] = np.uint32(high)
            right[t] = np.uint32(low)
            low += 1
            if low == b:
                low = 0
                high += 1
        _forward_rounds(left, right, count, np.uint32(a), np.uint32(b), words)
        at = first - start
        _joined(left, right, count, np.uint64(n), np.uint64(a), np.uint64(b), words, out[at : at + count], False)


@njit("void(int64, int64, int64, uint32[::1], int64[::1], int64[::1], boolean)", nogil=True, cache=True, error_model="numpy")
def feistel_at(n, a, b, words, numbers, out, backward):
    """out[t] = the record at position numbers[t], or, backward, the position of record numbers[t]."""
    left, right = np.empty(RUN, np.uint32), np.empty(RUN, np.uint32)
    for first in range(0, len(numbers), RUN):
        count = min(RUN, len(numbers) - first)
        for t in range(count):
            number = np.uint64(numbers[first + t])
            left[t] = np.uint32(number // np.uint64(b))
            right[t] = np.uint32(number % np.uint64(b))
        if backward:
            _backward_rounds(left, right, count, np.uint32(a), np.uint32(b), words)
        else:
            _forward_rounds(left, right, count, np.uint32(a), np.uint32(b), words)
        _joined(left, right, count, np.uint64(n), np.uint64(a), np.uint64(b), words, out[first : first + count], backward)


@njit("void(int64, uint32[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def shuffled_table(n, words, out):
    """Fisher-Yates over range(n), driven by splitmix64 from words[0] + words[1] * 2**32; n <= 2**32."""
    state = np.uint64(words[0]) | (np.uint64(words[1]) << np.uint64(32))
    for i in range(n):
        out[i] = i
    for i in range(n - 1, 0, -1):
        state = np.uint64(state + np.uint64(0x9E3779B97F4A7C15))
        z = np.uint64((state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9))
        z = np.uint64((z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB))
        z = np.uint64(z ^ (z >> np.uint64(31)))
        j = np.int64(((z >> np.uint64(32)) * np.uint64(i + 1)) >> np.uint64(32))
        out[i], out[j] = out[j], out[i]


@njit("void(int64, int64, int64, int64, int64[::1], uint32[:,::1], int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def window_blocks(windows, table_limit, a, b, low, keys, block_starts, blocks):
    """Fill in which blocks each window holds: `blocks[block_starts[w]:block_starts[w + 1]]`, in stratum order.

    Stratum s is the blocks [low[s], low[s + 1]); its permutation of range(windows) has key keys[s] and, above
    `table_limit` windows, the radix (a, b). The permutations are made twice, first to count and then to place:
    that is cheaper than to keep them.
    """
    strata = len(low) - 1
    pick = np.empty(windows, np.int64)
    block_starts[:] = 0
    for placing in range(2):
        for s in range(strata):
            if windows <= table_limit:
                shuffled_table(windows, keys[s], pick)
            else:
                feistel_records(windows, a, b, keys[s], 0, windows, pick)
            first, size = low[s], low[s + 1] - low[s]
            if placing:
                for w in range(windows):
                    if pick[w] < size:
                        blocks[block_starts[w]] = first + pick[w]
                        block_starts[w] += 1
            else:
                for w in range(windows):
                    if pick[w] < size:
                        block_starts[w + 1] += 1
        # After counting, starts; after placing, each start has moved to its stop, which is the next window's start.
        if placing:
            for w in range(windows, 0, -1):
                block_starts[w] = block_starts[w - 1]
            block_starts[0] = 0
        else:
            for w in range(windows):
                block_starts[w + 1] += block_starts[w]

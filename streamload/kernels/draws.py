"""Compiled draws: which rank each draw of a weighted epoch is, found in the cumulated weights.

The search goes level by level over a run of draws: the memory that one of them waits for is then fetched beside that of all others.
`draws_plain` holds the same function for NumPy alone, equal to the bit.
"""

# pyright: basic
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

import numpy as np
from numba import njit

RUN = 512
"""Draws that are searched for together."""


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _mix(x):
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x21F0AAAD))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0xD35A2D97))
    return np.uint32(x ^ np.uint32(x >> np.uint32(15)))


@njit("void(int64[::1], int64[::1], int64, uint32[::1], int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def drawn_ranks(edges, guide, stride, words, draws, out):
    """out[t] = the rank of draw draws[t]: the last one whose edge is not above the place that is drawn in its stretch of 2**20.

    `guide` is every `stride`-th edge, the first among them: it stays in cache where the edges do not.
    """
    places, low = np.empty(RUN, np.int64), np.empty(RUN, np.int64)
    last = len(edges) - 1
    for first in range(0, len(draws), RUN):
        count = min(RUN, len(draws) - first)
        for t in range(count):
            draw = np.uint64(draws[first + t])
            inner = _mix(np.uint32(np.uint32(draw) ^ words[0]))
            jitter = _mix(np.uint32(np.uint32(inner ^ np.uint32(draw >> np.uint64(32))) ^ words[1]))
            places[t] = np.int64((draw << np.uint64(20)) | np.uint64(jitter >> np.uint32(12)))
            low[t] = 0
        length = len(guide)
        while length > 1:
            half = length >> 1
            for t in range(count):
                low[t] += half if guide[low[t] + half] <= places[t] else 0
            length -= half
        for t in range(count):
            low[t] *= stride
        length = stride
        while length > 1:
            half = length >> 1
            for t in range(count):
                low[t] += half if edges[min(low[t] + half, last)] <= places[t] else 0
            length -= half
        for t in range(count):
            out[first + t] = low[t]

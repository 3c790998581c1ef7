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
def drawn_ranks(edges, guide, shift, words, draws, out):
    """out[t] = the rank of draw draws[t]: the last one whose edge is not above the place that is drawn in its stretch of 2**20.

    Draws [g << shift, g + 1 << shift) have ranks from guide[g] to guide[g + 1]. Numbers without a sign spare the look at whether
    an index counts from the end.
    """
    none, one, by = np.uint64(0), np.uint64(1), np.uint64(shift)
    places, low, length = np.empty(RUN, np.int64), np.empty(RUN, np.uint64), np.empty(RUN, np.uint64)
    for first in range(0, len(draws), RUN):
        count = min(RUN, len(draws) - first)
        longest = one
        for t in range(count):
            draw = np.uint64(draws[first + t])
            inner = _mix(np.uint32(np.uint32(draw) ^ words[0]))
            jitter = _mix(np.uint32(np.uint32(inner ^ np.uint32(draw >> np.uint64(32))) ^ words[1]))
            places[t] = np.int64((draw << np.uint64(20)) | np.uint64(jitter >> np.uint32(12)))
            low[t] = np.uint64(guide[draw >> by])
            length[t] = np.uint64(guide[(draw >> by) + one]) - low[t] + one
            longest = max(longest, length[t])
        while longest > one:
            for t in range(count):
                half = length[t] >> one
                low[t] += half if edges[low[t] + half] <= places[t] else none
                length[t] -= half
            longest -= longest >> one
        for t in range(count):
            out[first + t] = np.int64(low[t])

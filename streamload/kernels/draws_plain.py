"""The draws in NumPy alone: same results, where numba is missing, or in a process that has loaded no kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def drawn_ranks(
    edges: NDArray[np.int64],
    guide: NDArray[np.int64],
    shift: int,
    words: NDArray[np.uint32],
    draws: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """out[t] = the rank of draw draws[t]: the last one whose edge is not above the place that is drawn in its stretch of 2**20."""
    out[:] = edges.searchsorted(drawn_places(words, draws), "right") - 1


def drawn_places(words: NDArray[np.uint32], draws: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each draw falls among the cumulated weights: in its own stretch of 2**20."""
    numbers = draws.astype(np.uint64)
    inner = _mixed(numbers.astype(np.uint32) ^ words[0])
    jitter = _mixed(inner ^ (numbers >> np.uint64(32)).astype(np.uint32) ^ words[1])
    return (draws << np.int64(20)) + (jitter >> np.uint32(12)).astype(np.int64)


def _mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = x ^ (x >> np.uint32(16))
    x *= np.uint32(0x21F0AAAD)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0xD35A2D97)
    return x ^ (x >> np.uint32(15))

"""The compiled loop over the records of a batch, and the hash that all randomness of augmentation comes from."""

# pyright: basic, reportCallIssue=false
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streamload.kernels.augment.frame import CHANNELS, OUT, PENDING, PLANAR, RECORD, SOURCE, SOURCE_HEIGHT, SOURCE_WIDTH
from streamload.kernels.augment.vectors import INNER, call, fence, u32, u64

OUTER = {"nogil": True, "cache": True, "error_model": "numpy"}


@njit(**INNER)
def mix(x):
    """A bijection of 32 bits without visible structure."""
    x = u32(x ^ u32(x >> u32(16)))
    x = u32(x * u32(0x21F0AAAD))
    x = u32(x ^ u32(x >> u32(15)))
    x = u32(x * u32(0xD35A2D97))
    return u32(x ^ u32(x >> u32(15)))


@njit("void(uint32[::1], int64[::1], int64, int64, uint32[:, ::1])", **OUTER)
def draw(words, records, first, step, out):
    """Put into out[k, j] the draw of number `first + step * j` for record `records[k]`; shape (records, draws).

    A draw is a hash of four words of the key, the record and the number of the draw: whoever asks, and whenever.
    """
    for j in range(out.shape[1]):
        number = u32(first + step * j)
        other = u32(mix(u32(number ^ words[2])) + words[3])
        for k in range(out.shape[0]):
            record = u64(records[k])
            low, high = u32(record), u32(record >> u64(32))
            out[k, j] = mix(u32(mix(u32(mix(u32(low ^ words[0])) ^ u32(high + words[1]))) ^ other))


@njit(
    "void(int64[::1], int64[::1], int64[::1], float64[:, ::1], int64[:, ::1], int64[:, ::1], int64, int64, int64, int64)",
    **OUTER,
)
def run(frame, kernels, columns, values, order, records, channels, planar, start, stop):
    """Do the steps of records [start, stop).

    `kernels[i]` is the address of step i's kernel and `columns[i]` where in a row of `values` its parameters begin; `order[k]`
    lists the steps of record k, those below 0 left out; a row of `records` is the address of a record, its height and width,
    the address of where it goes, and its number.
    """
    at = frame.ctypes.data
    for k in range(start, stop):
        frame[SOURCE], frame[SOURCE_HEIGHT], frame[SOURCE_WIDTH] = records[k, 0], records[k, 1], records[k, 2]
        frame[OUT], frame[RECORD] = records[k, 3], records[k, 4]
        frame[CHANNELS], frame[PLANAR], frame[PENDING] = channels, planar, 0
        row = values.ctypes.data + k * values.shape[1] * 8
        for s in range(order.shape[1]):
            step = order[k, s]
            if step >= 0:
                call(kernels[step], at, row + columns[step] * 8)
    fence()


def kernel_addresses(kernels: Sequence[Any]) -> NDArray[np.int64]:
    """The addresses of compiled kernels, as `run` takes them."""
    return np.array([kernel.address for kernel in kernels], np.int64)

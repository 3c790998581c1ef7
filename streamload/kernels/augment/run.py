"""The compiled loop over the records of a batch, and the hash that all randomness of augmentation comes from."""

# pyright: basic, reportCallIssue=false
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.frame import (
    CHANNELS,
    FRAME_WORDS,
    OUT,
    PENDING,
    PLANAR,
    RECORD,
    RECORD_WORDS,
    SOURCE,
    SOURCE_HEIGHT,
    SOURCE_WIDTH,
    UNFINISHED,
)
from streamload.kernels.augment.vectors import INNER, call, fence, pointer, u32, u64


@njit(**INNER)
def mix(x):
    """A bijection of 32 bits without visible structure."""
    x = u32(x ^ u32(x >> u32(16)))
    x = u32(x * u32(0x21F0AAAD))
    x = u32(x ^ u32(x >> u32(15)))
    x = u32(x * u32(0xD35A2D97))
    return u32(x ^ u32(x >> u32(15)))


def draw(nothing: int, arguments: int) -> None:
    """Put into out[k, j] the draw of number `first + step * j` for record `records[k]`.

    A draw is a hash of four words of the key, the record and the number of the draw: whoever asks, and whenever. The arguments:
    addresses of words, records and out, shape (records, draws); first and step; how many records, and draws.
    """
    a = carray(pointer(arguments), 7, np.int64)
    words, records = carray(pointer(a[0]), 4, np.uint32), carray(pointer(a[1]), a[5], np.int64)
    out, first, step = carray(pointer(a[2]), (a[5], a[6]), np.uint32), a[3], a[4]
    for j in range(out.shape[1]):
        number = u32(first + step * j)
        other = u32(mix(u32(number ^ words[2])) + words[3])
        for k in range(out.shape[0]):
            record = u64(records[k])
            low, high = u32(record), u32(record >> u64(32))
            out[k, j] = mix(u32(mix(u32(mix(u32(low ^ words[0])) ^ u32(high + words[1]))) ^ other))


def run(frame: int, arguments: int) -> None:
    """Do the steps of records [start, stop), up to a kernel that was left UNFINISHED.

    The arguments: addresses of kernels, columns, values, order and records; how many parameters and how many places a record
    has; channels, whether they are planes, start, stop. `kernels[i]` is the address of step i's kernel and `columns[i]` where
    in a row of `values` its parameters begin; `order[k]` lists the steps of record k, those below 0 left out; a row of
    `records` is the address of a record, its height and width, the address of where it goes, and its number.
    """
    a, f = carray(pointer(arguments), 11, np.int64), carray(pointer(frame), FRAME_WORDS, np.int64)
    places, stop = a[6], a[10]
    kernels, columns = carray(pointer(a[0]), places, np.int64), carray(pointer(a[1]), places, np.int64)
    order, records = carray(pointer(a[3]), (stop, places), np.int64), carray(pointer(a[4]), (stop, RECORD_WORDS), np.int64)
    for k in range(a[9], stop):
        f[SOURCE], f[SOURCE_HEIGHT], f[SOURCE_WIDTH] = records[k, 0], records[k, 1], records[k, 2]
        f[OUT], f[RECORD] = records[k, 3], records[k, 4]
        f[CHANNELS], f[PLANAR], f[PENDING] = a[7], a[8], 0
        row = a[2] + k * a[5] * 8
        for s in range(places):
            step = order[k, s]
            if step >= 0:
                call(kernels[step], frame, row + columns[step] * 8)
                if f[UNFINISHED]:
                    return
    fence()


KERNELS = {"draw": draw, "run": run}

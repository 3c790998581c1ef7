"""Compiled crop, pad and flip of volumes, straight from the stored record to the slot: in floats, or elements as they are."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.crop import inside
from streamload.kernels.augment.floats import FLOAT16, FLOAT32, floats_of, to_half, write_element
from streamload.kernels.augment.frame import (
    CHANNELS,
    FRAME_WORDS,
    HORIZONTAL,
    ITEM_NBYTES,
    OUT,
    OUT_KIND,
    PLANAR,
    SOURCE,
    SOURCE_HEIGHT,
    SOURCE_KIND,
    SOURCE_WIDTH,
    TURNED_OVER,
    UNFINISHED,
    VERTICAL,
)
from streamload.kernels.augment.nearest import gather_items
from streamload.kernels.augment.vectors import INNER, f32, pointer, u64


@njit(**INNER)
def along(begin, count, size, mode, flip):
    """The places along an axis that `count` places from `begin` on come from, last first where it is flipped; -1 for none."""
    found = np.empty(count, np.int64)
    for i in range(count):
        found[count - 1 - i if flip else i] = inside(begin + i, size, mode)
    return found


@njit(**INNER)
def write_row(to, kind, stride, row):
    """Floats as elements of a kind, `stride` of them apart from each other."""
    if kind == FLOAT32:
        a = carray(pointer(to), (row.size - 1) * stride + 1, np.float32)
        for x in range(u64(row.size)):
            a[x * u64(stride)] = row[x]
    elif kind == FLOAT16:
        b = carray(pointer(to), (row.size - 1) * stride + 1, np.uint16)
        for x in range(u64(row.size)):
            b[x * u64(stride)] = to_half(row[x])
    else:
        nbytes = 1 if kind == 0 else 2
        for x in range(row.size):
            write_element(to + x * stride * nbytes, kind, row[x])


def volume(frame: int, parameters: int) -> None:
    """Depth of the source; z0, y0, x0 and d, h, w of the region; flips; what stands outside; whether channels come out last; and of
    each channel the fill, then the scale, then the shift.
    """
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    f[UNFINISHED] = 1
    n, kind, out_kind = f[CHANNELS], f[SOURCE_KIND], f[OUT_KIND]
    p = carray(pointer(parameters), 10 + 3 * n, np.float64)
    depth, d, h, w, flips, mode = np.int64(p[0]), np.int64(p[4]), np.int64(p[5]), np.int64(p[6]), np.int64(p[7]), np.int64(p[8])
    height, width, woven = f[SOURCE_HEIGHT] // depth, f[SOURCE_WIDTH], p[9] != 0.0
    planes = along(np.int64(p[1]), d, depth, mode, flips & TURNED_OVER != 0)
    rows, columns = (
        along(np.int64(p[2]), h, height, mode, flips & VERTICAL != 0),
        along(np.int64(p[3]), w, width, mode, flips & HORIZONTAL != 0),
    )
    line, out = np.empty(width, np.float32), np.empty(w, np.float32)
    nbytes = 4 if out_kind == FLOAT32 else 1 if out_kind == 0 else 2
    for c in range(n):
        first, stride = (c * depth * height * width, 1) if f[PLANAR] else (c, n)
        fill, scale, shift = f32(p[10 + c]), f32(p[10 + n + c]), f32(p[10 + 2 * n + c])
        for z in range(d):
            for y in range(h):
                there = planes[z] >= 0 and rows[y] >= 0
                if there:
                    floats_of(f[SOURCE], kind, first + (planes[z] * height + rows[y]) * width * stride, stride, line)
                for x in range(u64(w)):
                    value = line[columns[x]] if there and columns[x] >= 0 else fill
                    out[x] = value * scale + shift
                at = (z * h + y) * w
                write_row(f[OUT] + (at * n + c if woven else c * d * h * w + at) * nbytes, out_kind, n if woven else 1, out)
    f[UNFINISHED] = 0


def volume_elements(frame: int, parameters: int) -> None:
    """Depth of the source; z0, y0, x0 and d, h, w of the region; flips; what stands outside; whether channels are the last axis; and
    bits of the fill of each channel, in halves of 32 bits, the lower first.
    """
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    f[UNFINISHED] = 1
    n, nbytes = f[CHANNELS], f[ITEM_NBYTES]
    p = carray(pointer(parameters), 10 + 2 * n, np.float64)
    depth, d, h, w, flips, mode = np.int64(p[0]), np.int64(p[4]), np.int64(p[5]), np.int64(p[6]), np.int64(p[7]), np.int64(p[8])
    height, width = f[SOURCE_HEIGHT] // depth, f[SOURCE_WIDTH]
    planes = along(np.int64(p[1]), d, depth, mode, flips & TURNED_OVER != 0)
    rows, columns = (
        along(np.int64(p[2]), h, height, mode, flips & VERTICAL != 0),
        along(np.int64(p[3]), w, width, mode, flips & HORIZONTAL != 0),
    )
    woven = 1 if f[PLANAR] else n
    across = np.where(columns < 0, -1, columns * woven)
    down, plane = np.empty(h, np.int64), np.empty((h, w), np.uint64)
    size = depth * height * width
    for c in range(n):
        first = c * size if f[PLANAR] else c
        fill = u64(p[10 + 2 * c]) | u64(p[11 + 2 * c]) << u64(32)
        for z in range(d):
            for y in range(h):
                down[y] = (planes[z] * height + rows[y]) * width * woven if planes[z] >= 0 and rows[y] >= 0 else -1
            count = size * woven - (0 if f[PLANAR] else c)
            at = (c * d + z) * h * w if f[PLANAR] else z * h * w * n + c
            to = f[OUT] + at * nbytes if woven == 1 else plane.ctypes.data
            gather_items(nbytes, f[SOURCE] + first * nbytes, count, to, down, across, fill)
            if woven > 1:
                weave(plane.ctypes.data, f[OUT] + at * nbytes, h * w, n, nbytes)
    f[UNFINISHED] = 0


@njit(**INNER)
def weave(source, to, size, n, nbytes):
    """Elements of so many bytes into every n-th place."""
    a, b = carray(pointer(source), size * nbytes, np.uint8), carray(pointer(to), (size - 1) * n * nbytes + nbytes, np.uint8)
    for i in range(u64(size)):
        for k in range(u64(nbytes)):
            b[i * u64(n * nbytes) + k] = a[i * u64(nbytes) + k]


KERNELS = {"volume": volume, "volume_elements": volume_elements}

"""Compiled resampling with Pillow's filters and Pillow's own rounding: one pass to whole levels, then the other."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.crop import settle, unwoven
from streamload.kernels.augment.frame import (
    CHANNELS,
    FRAME_WORDS,
    HORIZONTAL,
    PLANAR,
    SOURCE,
    SOURCE_HEIGHT,
    SOURCE_WIDTH,
    SPARE,
    TRANSPOSED,
    UNFINISHED,
    VERTICAL,
)
from streamload.kernels.augment.vectors import INNER, i32, pointer, u8, u64

BOX, TRIANGLE, CUBIC = 0, 1, 2
"""Filters: the mean of an area, bilinear, and bicubic."""
BITS = 22
"""Of a weight's fraction."""


@njit(**INNER)
def weight_of(kind, x, a):
    """The filter's value at x pixels from the centre; `a` is the slope of the bicubic one."""
    if kind == BOX:
        return 1.0 if -0.5 < x <= 0.5 else 0.0
    x = abs(x)
    if kind == TRIANGLE:
        return 1.0 - x if x < 1.0 else 0.0
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a if x < 2.0 else 0.0


@njit(**INNER)
def taps(begin, end, size, count, kind, antialias):
    """The first source pixel of each output pixel, how many count, and their weights, in 22 bits.

    Without antialiasing the filter is as wide as if nothing were made smaller, and what is outside counts to the edge's pixel.
    """
    scale = (end - begin) / count
    wide = max(scale, 1.0) if antialias else 1.0
    a = -0.5 if antialias else -0.75
    reach = (0.5 if kind == BOX else 1.0 if kind == TRIANGLE else 2.0) * wide
    room = int(np.ceil(reach)) * 2 + 2
    first, counts = np.empty(count, np.int64), np.empty(count, np.int64)
    weights, parts = np.zeros((count, room), np.int32), np.empty(room, np.float64)
    for i in range(count):
        center = begin + (i + 0.5) * scale
        low, high = int(np.floor(center - reach + 0.5)), int(np.floor(center + reach + 0.5))
        inner, outer = max(low, 0), min(high, size)
        outer = max(outer, inner + 1)
        if outer > size:
            inner, outer = size - 1, size
        parts[:] = 0.0
        total = 0.0
        for k in range(low if not antialias else inner, high if not antialias else outer):
            part = weight_of(kind, (k - center + 0.5) * (1.0 / wide), a)
            parts[min(max(k, inner), outer - 1) - inner] += part
            total += part
        for k in range(outer - inner):
            part = parts[k] / total if total != 0.0 else parts[k]
            weights[i, k] = i32(int(part * (1 << BITS) + (0.5 if part >= 0 else -0.5)))
        first[i], counts[i] = inner, outer - inner
    return first, counts, weights


@njit(**INNER)
def across(row, first, counts, weights, to):
    """One row of whole levels from a row of one channel."""
    for x in range(u64(to.size)):
        total, begin, some = i32(1 << (BITS - 1)), u64(first[x]), weights[x]
        for k in range(u64(counts[x])):
            total += i32(row[begin + k]) * some[k]
        to[x] = u8(min(max(total >> i32(BITS), i32(0)), i32(255)))


@njit(**INNER)
def add_row(row, weight, total):
    """total += weight * row."""
    for x in range(u64(total.size)):
        total[x] += i32(row[x]) * weight


@njit(**INNER)
def levels_of(total, to):
    """Whole levels of sums."""
    for x in range(u64(to.size)):
        to[x] = u8(min(max(total[x] >> i32(BITS), i32(0)), i32(255)))


@njit(**INNER)
def reversed_levels(total, to):
    """The same, last first."""
    last = u64(to.size - 1)
    for x in range(u64(to.size)):
        to[x] = u8(min(max(total[last - x] >> i32(BITS), i32(0)), i32(255)))


@njit(**INNER)
def written(total, to, w, y, h, flips):
    """Whole levels of sums, as row y of a plane."""
    out = carray(pointer(to + (h - 1 - y if flips & VERTICAL else y) * w), w, np.uint8)
    if flips & HORIZONTAL:
        reversed_levels(total, out)
    else:
        levels_of(total, out)


@njit(**INNER)
def columns_first(source, height, width, n, x_taps, y_taps, h, w, flips, to, apart):
    """A woven source to n planes of h x w, flipped as the bits say: made narrower or wider first."""
    first_x, count_x, weights_x = x_taps
    first_y, count_y, weights_y = y_taps
    top, bottom = first_y.min(), (first_y + count_y).max()
    middle, pixels, total = np.empty((n, bottom - top, w), np.uint8), np.empty((n, width), np.uint8), np.empty(w, np.int32)
    for y in range(top, bottom):
        unwoven(source + y * width * n, n, width, pixels.ctypes.data, width)
        for c in range(n):
            across(pixels[c], first_x, count_x, weights_x, middle[c, y - top])
    for c in range(n):
        for y in range(h):
            total[:] = i32(1 << (BITS - 1))
            for k in range(count_y[y]):
                add_row(middle[c, first_y[y] - top + k], weights_y[y, k], total)
            written(total, to + c * apart, w, y, h, flips)


@njit(**INNER)
def rows_first(source, width, n, x_taps, y_taps, h, w, flips, to, apart):
    """The same, made shorter first."""
    first_x, count_x, weights_x = x_taps
    first_y, count_y, weights_y = y_taps
    total, row, pixels = np.empty(width * n, np.int32), np.empty(width * n, np.uint8), np.empty((n, width), np.uint8)
    line = np.empty(w, np.uint8)
    for y in range(h):
        total[:] = i32(1 << (BITS - 1))
        for k in range(count_y[y]):
            add_row(carray(pointer(source + (first_y[y] + k) * width * n), width * n, np.uint8), weights_y[y, k], total)
        levels_of(total, row)
        unwoven(row.ctypes.data, n, width, pixels.ctypes.data, width)
        for c in range(n):
            across(pixels[c], first_x, count_x, weights_x, line)
            out = carray(pointer(to + c * apart + (h - 1 - y if flips & VERTICAL else y) * w), w, np.uint8)
            for x in range(u64(w)):
                out[x] = line[u64(w - 1) - x if flips & HORIZONTAL else x]


@njit(**INNER)
def filtered_planes(source, height, width, n, x_taps, y_taps, h, w, flips, to, apart):
    """The passes in the order in which Pillow does them: rows first where an image becomes much shorter than it becomes narrower."""
    if h < height and height - h > 2 * (width - w):
        rows_first(source, width, n, x_taps, y_taps, h, w, flips, to, apart)
    else:
        columns_first(source, height, width, n, x_taps, y_taps, h, w, flips, to, apart)


def filtered(frame: int, parameters: int) -> None:
    """x0, y0, x1, y1 of the box; h, w of what it becomes; orientation; whether it antialiases; which filter."""
    f, p = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 9, np.float64)
    f[UNFINISHED] = 1
    h, w, orientation, antialias, kind = np.int64(p[4]), np.int64(p[5]), np.int64(p[6]), p[7] != 0.0, np.int64(p[8])
    flips = 0 if orientation & TRANSPOSED else orientation
    height, width, n = f[SOURCE_HEIGHT], f[SOURCE_WIDTH], f[CHANNELS]
    x_taps, y_taps = taps(p[0], p[2], width, w, kind, antialias), taps(p[1], p[3], height, h, kind, antialias)
    if f[PLANAR]:
        for c in range(n):
            source, to = f[SOURCE] + c * height * width, f[SPARE] + c * h * w
            filtered_planes(source, height, width, 1, x_taps, y_taps, h, w, flips, to, h * w)
    else:
        filtered_planes(f[SOURCE], height, width, n, x_taps, y_taps, h, w, flips, f[SPARE], h * w)
    settle(f, h, w, orientation)
    f[UNFINISHED] = 0


KERNELS = {"filtered": filtered}

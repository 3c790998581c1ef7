"""Compiled geometry and output in float32, for images whose elements are no levels of one byte: 16 bits, halves and floats."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from streamload.kernels.augment.affine import at
from streamload.kernels.augment.filtered import weight_of
from streamload.kernels.augment.frame import (
    CHANNELS,
    FRAME_WORDS,
    HEIGHT,
    HORIZONTAL,
    OUT,
    OUT_KIND,
    PLANAR,
    PLANES,
    SOURCE,
    SOURCE_HEIGHT,
    SOURCE_KIND,
    SOURCE_WIDTH,
    SPARE,
    TRANSPOSED,
    UNFINISHED,
    VERTICAL,
    WIDTH,
)
from streamload.kernels.augment.nearest import places, settle_items
from streamload.kernels.augment.vectors import FLOAT, HALF, INNER, SHORT, Intrinsic, NumbaType, f32, i32, pointer, u8, u16, u32, u64

UINT16, INT16, FLOAT16, BFLOAT16, FLOAT32 = 1, 2, 3, 4, 5
"""Places in `KINDS`."""
AS_THEY_ARE, NEAREST, NEAREST_EDGE = -1, 3, 4
"""Beside the filters of `filtered`: nothing is resampled; or the nearest pixel is taken, of the centre or of the edge."""


@intrinsic
def from_half(typing_context: Any, bits: NumbaType) -> Intrinsic:
    """The number that 16 bits are."""

    def generate(c, b, s, a):
        return b.fpext(b.bitcast(a[0], HALF), FLOAT)

    return types.float32(types.uint16), generate


@intrinsic
def to_half(typing_context: Any, number: NumbaType) -> Intrinsic:
    """The 16 bits of the half next to a number."""

    def generate(c, b, s, a):
        return b.bitcast(b.fptrunc(a[0], HALF), SHORT)

    return types.uint16(types.float32), generate


@intrinsic
def bits_of(typing_context: Any, number: NumbaType) -> Intrinsic:
    """The 32 bits of a number."""
    return types.uint32(types.float32), lambda c, b, s, a: b.bitcast(a[0], ir.IntType(32))


@njit(**INNER)
def floats_of(source, kind, first, stride, out):
    """Elements `first`, `first + stride` and so on of a source of a kind, as floats."""
    count = (out.size - 1) * stride + 1
    if kind == UINT16:
        a = carray(pointer(source + 2 * first), count, np.uint16)
        for x in range(u64(out.size)):
            out[x] = f32(a[x * u64(stride)])
    elif kind == INT16:
        b = carray(pointer(source + 2 * first), count, np.int16)
        for x in range(u64(out.size)):
            out[x] = f32(b[x * u64(stride)])
    elif kind == FLOAT16:
        c = carray(pointer(source + 2 * first), count, np.uint16)
        for x in range(u64(out.size)):
            out[x] = from_half(c[x * u64(stride)])
    elif kind == FLOAT32:
        d = carray(pointer(source + 4 * first), count, np.float32)
        for x in range(u64(out.size)):
            out[x] = d[x * u64(stride)]
    else:
        e = carray(pointer(source + first), count, np.uint8)
        for x in range(u64(out.size)):
            out[x] = f32(e[x * u64(stride)])


@njit(**INNER)
def source_kind(frame):
    """Of what geometry reads: the stored record, or planes of floats."""
    return FLOAT32 if frame[SOURCE] == frame[PLANES] else frame[SOURCE_KIND]


@njit(**INNER)
def float_taps(begin, end, size, count, kind, antialias):
    """The first source pixel of each output pixel, how many count, and their weights."""
    scale = (end - begin) / count
    wide = max(scale, 1.0) if antialias else 1.0
    a = -0.5 if antialias else -0.75
    reach = (0.5 if kind == 0 else 1.0 if kind == 1 else 2.0) * wide
    room = int(np.ceil(reach)) * 2 + 2
    first, counts, weights, parts = (
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.zeros((count, room), np.float32),
        np.empty(room),
    )
    for i in range(count):
        center = begin + (i + 0.5) * scale
        low, high = int(np.floor(center - reach + 0.5)), int(np.floor(center + reach + 0.5))
        inner, outer = max(low, 0), max(min(high, size), max(low, 0) + 1)
        if outer > size:
            inner, outer = size - 1, size
        parts[:] = 0.0
        total = 0.0
        for k in range(inner if antialias else low, outer if antialias else high):
            part = weight_of(kind, (k - center + 0.5) * (1.0 / wide), a)
            parts[min(max(k, inner), outer - 1) - inner] += part
            total += part
        for k in range(outer - inner):
            weights[i, k] = f32(parts[k] / total if total != 0.0 else parts[k])
        first[i], counts[i] = inner, outer - inner
    return first, counts, weights


@njit(**INNER)
def weighed(row, first, counts, weights, to):
    """A row of sums."""
    for x in range(to.size):
        total = f32(0)
        for k in range(counts[x]):
            total += row[first[x] + k] * weights[x, k]
        to[x] = total


@njit(**INNER)
def resampled_plane(source, kind, first, stride, height, width, x_taps, y_taps, middle, out):
    """One channel: columns first, then rows; not yet turned."""
    first_x, count_x, weights_x = x_taps
    first_y, count_y, weights_y = y_taps
    line = np.empty(width, np.float32)
    for y in range(height):
        floats_of(source, kind, first + y * width * stride, stride, line)
        weighed(line, first_x, count_x, weights_x, middle[y])
    for y in range(out.shape[0]):
        row = out[y]
        row[:] = f32(0)
        for k in range(count_y[y]):
            one, weight = middle[first_y[y] + k], weights_y[y, k]
            for x in range(u64(row.size)):
                row[x] += one[x] * weight


@njit(**INNER)
def picked_plane(source, kind, first, stride, height, width, rows, columns, fill, out):
    """One channel of pixels as they are; a fill where there is none."""
    line = np.empty(width, np.float32)
    for y in range(out.shape[0]):
        if rows[y] >= 0:
            floats_of(source, kind, first + rows[y] * width * stride, stride, line)
        for x in range(out.shape[1]):
            out[y, x] = fill if rows[y] < 0 or columns[x] < 0 else line[columns[x]]


@njit(**INNER)
def turned_plane(plane, to, orientation):
    """A plane transposed, then flipped upside down, then left to right, as the bits say."""
    h, w = plane.shape
    if orientation & TRANSPOSED:
        h, w = w, h
    out = carray(pointer(to), (h, w), np.float32)
    for y in range(h):
        for x in range(w):
            down = h - 1 - y if orientation & VERTICAL else y
            across = w - 1 - x if orientation & HORIZONTAL else x
            out[y, x] = plane[across, down] if orientation & TRANSPOSED else plane[down, across]


def float_box(frame: int, parameters: int) -> None:
    """x0, y0, x1, y1; h, w; orientation; whether it antialiases; which filter; what stands outside; the fill of each channel."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    f[UNFINISHED] = 1
    n, height, width, kind = f[CHANNELS], f[SOURCE_HEIGHT], f[SOURCE_WIDTH], source_kind(f)
    p = carray(pointer(parameters), 10 + n, np.float64)
    h, w, orientation, antialias = np.int64(p[4]), np.int64(p[5]), np.int64(p[6]), p[7] != 0.0
    which, mode = np.int64(p[8]), np.int64(p[9])
    plane, middle = np.empty((h, w), np.float32), np.empty((height if 0 <= which < 3 else 0, w), np.float32)
    centred = which != NEAREST_EDGE
    rows, columns = np.empty(h, np.int64), np.empty(w, np.int64)
    places(p[1], p[3], height, mode, centred, rows)
    places(p[0], p[2], width, mode, centred, columns)
    x_taps = float_taps(p[0], p[2], width, w if middle.size else 1, max(which, 0) % 3, antialias)
    y_taps = float_taps(p[1], p[3], height, h if middle.size else 1, max(which, 0) % 3, antialias)
    for c in range(n):
        first, stride = (c * height * width, 1) if f[PLANAR] else (c, n)
        if middle.size:
            resampled_plane(f[SOURCE], kind, first, stride, height, width, x_taps, y_taps, middle, plane)
        else:
            picked_plane(f[SOURCE], kind, first, stride, height, width, rows, columns, f32(p[10 + c]), plane)
        turned_plane(plane, f[SPARE] + 4 * c * h * w, orientation)
    settle_items(f, w if orientation & TRANSPOSED else h, h if orientation & TRANSPOSED else w)
    f[UNFINISHED] = 0


@njit(**INNER)
def element_at(line, x, width):
    """An element of a row, 0 outside, and whether it is inside."""
    if 0 <= x < width:
        return np.float64(line[x]), 1.0
    return 0.0, 0.0


def float_affine(frame: int, parameters: int) -> None:
    """The inverse map, 6 numbers between centres; h, w of what comes out; whether the nearest is taken; the fill of each channel."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    f[UNFINISHED] = 1
    n, height, width, kind = f[CHANNELS], f[SOURCE_HEIGHT], f[SOURCE_WIDTH], source_kind(f)
    p = carray(pointer(parameters), 9 + n, np.float64)
    h, w, whole = np.int64(p[6]), np.int64(p[7]), np.empty((height, width), np.float32)
    for c in range(n):
        first, stride = (c * height * width, 1) if f[PLANAR] else (c, n)
        for y in range(height):
            floats_of(f[SOURCE], kind, first + y * width * stride, stride, whole[y])
        out, fill = carray(pointer(f[SPARE] + 4 * c * h * w), (h, w), np.float32), p[9 + c]
        for y in range(h):
            for x in range(w):
                sx, sy = at(p, x, y, w, h, width, height)
                if p[8] != 0.0:
                    ix, iy = np.int64(np.rint(sx)), np.int64(np.rint(sy))
                    there = 0 <= ix < width and 0 <= iy < height
                    out[y, x] = whole[iy, ix] if there else f32(fill)
                    continue
                x0, y0 = np.int64(np.floor(sx)), np.int64(np.floor(sy))
                fx, fy, level, part = sx - x0, sy - y0, 0.0, 0.0
                for dy in range(2):
                    if 0 <= y0 + dy < height:
                        a, in_a = element_at(whole[y0 + dy], x0, width)
                        b, in_b = element_at(whole[y0 + dy], x0 + 1, width)
                        share = fy if dy else 1.0 - fy
                        level += (a * (1.0 - fx) + b * fx) * share
                        part += (in_a * (1.0 - fx) + in_b * fx) * share
                out[y, x] = f32((level - fill) * part + fill if part < 1.0 else level)
    settle_items(f, h, w)
    f[UNFINISHED] = 0


@njit(**INNER)
def write_element(to, kind, value):
    """A float as an element of a kind: whole numbers are the nearest that there are."""
    if kind == FLOAT32:
        carray(pointer(to), 1, np.float32)[0] = value
    elif kind == FLOAT16:
        carray(pointer(to), 1, np.uint16)[0] = to_half(value)
    elif kind == BFLOAT16:
        bits = bits_of(value)
        odd = u32((bits >> u32(16)) & u32(1))
        rounded = u32(u32(bits + u32(odd + u32(0x7FFF))) >> u32(16)) if value == value else u32(bits >> u32(16)) | u32(0x40)
        carray(pointer(to), 1, np.uint16)[0] = u16(rounded)
    elif kind == INT16:
        carray(pointer(to), 1, np.int16)[0] = np.int16(i32(np.rint(min(max(value, f32(-32768)), f32(32767)))))
    elif kind == UINT16:
        carray(pointer(to), 1, np.uint16)[0] = u16(i32(np.rint(min(max(value, f32(0)), f32(65535)))))
    else:
        carray(pointer(to), 1, np.uint8)[0] = u8(i32(np.rint(min(max(value, f32(0)), f32(255)))))


@njit(**INNER)
def write_floats(f, parameters, woven):
    """Planes of floats times the scale and plus the shift of each channel, in the dtype and layout of the slot."""
    n, size, kind = f[CHANNELS], f[HEIGHT] * f[WIDTH], f[OUT_KIND]
    p, nbytes = carray(pointer(parameters), 2 * n, np.float64), 4 if kind == FLOAT32 else 1 if kind == 0 else 2
    for c in range(n):
        plane, scale, shift = carray(pointer(f[PLANES] + 4 * c * size), size, np.float32), f32(p[c]), f32(p[n + c])
        first, stride = (c, n) if woven else (c * size, 1)
        for i in range(size):
            write_element(f[OUT] + (first + i * stride) * nbytes, kind, plane[i] * scale + shift)


def float_chw(frame: int, parameters: int) -> None:
    """A scale for each channel, then a shift for each."""
    write_floats(carray(pointer(frame), FRAME_WORDS, np.int64), parameters, False)


def float_hwc(frame: int, parameters: int) -> None:
    """A scale for each channel, then a shift for each."""
    write_floats(carray(pointer(frame), FRAME_WORDS, np.int64), parameters, True)


KERNELS = {"float_box": float_box, "float_affine": float_affine, "float_chw": float_chw, "float_hwc": float_hwc}

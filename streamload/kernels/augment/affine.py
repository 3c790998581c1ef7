"""Compiled free affine geometry: each output pixel from where the inverse map says, bilinear or nearest, as torchvision's."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.frame import CHANNELS, FRAME_WORDS, ITEM_NBYTES, PLANAR, SOURCE, SOURCE_HEIGHT, SOURCE_WIDTH, SPARE
from streamload.kernels.augment.nearest import settle_items
from streamload.kernels.augment.vectors import INNER, compiled_for, pointer, u8, u16, u32, u64


@njit(**INNER)
def at(matrix, x, y, w, h, width, height):
    """Where in the source the centre of output pixel (x, y) lies, counted from the centre of its first pixel."""
    dx, dy = x - (w - 1) * 0.5, y - (h - 1) * 0.5
    sx = matrix[0] * dx + matrix[1] * dy + matrix[2] + (width - 1) * 0.5
    sy = matrix[3] * dx + matrix[4] * dy + matrix[5] + (height - 1) * 0.5
    return sx, sy


@njit(**INNER)
def level_at(plane, x, y, width, height, stride):
    """The level at a pixel, 0 outside, and whether it is inside."""
    if 0 <= x < width and 0 <= y < height:
        return np.float64(plane[u64((y * width + x) * stride)]), 1.0
    return 0.0, 0.0


@njit(**INNER)
def bilinear_plane(plane, stride, width, height, matrix, out, fill):
    """One channel; what is outside is the fill, blended in at the edge."""
    h, w = out.shape
    for y in range(h):
        for x in range(w):
            sx, sy = at(matrix, x, y, w, h, width, height)
            if not (-1.0 < sx < width and -1.0 < sy < height):
                out[y, x] = fill
                continue
            x0, y0 = np.int64(np.floor(sx)), np.int64(np.floor(sy))
            fx, fy = sx - x0, sy - y0
            a, in_a = level_at(plane, x0, y0, width, height, stride)
            b, in_b = level_at(plane, x0 + 1, y0, width, height, stride)
            c, in_c = level_at(plane, x0, y0 + 1, width, height, stride)
            d, in_d = level_at(plane, x0 + 1, y0 + 1, width, height, stride)
            level = (a * (1.0 - fx) + b * fx) * (1.0 - fy) + (c * (1.0 - fx) + d * fx) * fy
            part = (in_a * (1.0 - fx) + in_b * fx) * (1.0 - fy) + (in_c * (1.0 - fx) + in_d * fx) * fy
            out[y, x] = u8(np.rint((level - fill) * part + fill) if part < 1.0 else np.rint(level))


def affine(frame: int, parameters: int) -> None:
    """The inverse map, 6 numbers between centres; h, w of what comes out; the level of each channel that stands outside."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    n, height, width = f[CHANNELS], f[SOURCE_HEIGHT], f[SOURCE_WIDTH]
    p = carray(pointer(parameters), 8 + n, np.float64)
    h, w = np.int64(p[6]), np.int64(p[7])
    for c in range(n):
        first, stride = (c * height * width, 1) if f[PLANAR] else (c, n)
        plane = carray(pointer(f[SOURCE] + first), (height * width - 1) * stride + 1, np.uint8)
        bilinear_plane(plane, stride, width, height, p, carray(pointer(f[SPARE] + c * h * w), (h, w), np.uint8), np.floor(p[8 + c]))
    settle_items(f, h, w)


def make_nearest_plane(kind: Any) -> Any:
    """A function for nearest elements of a kind."""

    @compiled_for(kind)
    def nearest_plane(source, first, stride, width, height, matrix, to, h, w, fill):
        plane = carray(pointer(source), first + (height * width - 1) * stride + 1, kind)
        out = carray(pointer(to), (h, w), kind)
        for y in range(h):
            for x in range(w):
                sx, sy = at(matrix, x, y, w, h, width, height)
                ix, iy = np.int64(np.rint(sx)), np.int64(np.rint(sy))
                inside = 0 <= ix < width and 0 <= iy < height
                out[y, x] = plane[u64(first + (iy * width + ix) * stride)] if inside else fill

    return nearest_plane


map1, map2, map4, map8 = make_nearest_plane(u8), make_nearest_plane(u16), make_nearest_plane(u32), make_nearest_plane(u64)


def affine_nearest(frame: int, parameters: int) -> None:
    """The inverse map, 6 numbers between centres; h, w of what comes out; bits of the fill of each channel, in halves of 32."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    n, nbytes, height, width = f[CHANNELS], f[ITEM_NBYTES], f[SOURCE_HEIGHT], f[SOURCE_WIDTH]
    p = carray(pointer(parameters), 8 + 2 * n, np.float64)
    h, w = np.int64(p[6]), np.int64(p[7])
    for c in range(n):
        first, stride = (c * height * width, 1) if f[PLANAR] else (c, n)
        fill = u64(p[8 + 2 * c]) | u64(p[9 + 2 * c]) << u64(32)
        to = f[SPARE] + c * h * w * nbytes
        if nbytes == 1:
            map1(f[SOURCE], first, stride, width, height, p, to, h, w, u8(fill))
        elif nbytes == 2:
            map2(f[SOURCE], first, stride, width, height, p, to, h, w, u16(fill))
        elif nbytes == 4:
            map4(f[SOURCE], first, stride, width, height, p, to, h, w, u32(fill))
        else:
            map8(f[SOURCE], first, stride, width, height, p, to, h, w, fill)
    settle_items(f, h, w)


KERNELS = {"affine": affine, "affine_nearest": affine_nearest}

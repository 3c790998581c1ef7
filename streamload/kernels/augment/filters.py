"""Compiled neighbourhoods on planes: Gaussian blur and sharpness, in float32 as torchvision has them."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.color import planes_of
from streamload.kernels.augment.crop import inside
from streamload.kernels.augment.frame import FRAME_WORDS, HEIGHT, PLANES, REFLECT, SPARE, UNFINISHED, WIDTH
from streamload.kernels.augment.vectors import INNER, f32, fma, i32, pointer, u8, u64


@njit(**INNER)
def add_scaled(source, weight, total):
    """total += weight * source."""
    for x in range(u64(total.size)):
        total[x] = fma(f32(source[x]), weight, total[x])


@njit(**INNER)
def rounded(source, to):
    """Levels next to floats, halves to the even one."""
    for x in range(u64(to.size)):
        to[x] = u8(i32(np.rint(min(max(source[x], f32(0)), f32(255)))))


@njit(**INNER)
def blur_plane(source, to, across, down, rows, columns, long, line):
    """A plane blurred with a row and a column of weights. `rows` and `columns` say what stands where the edge is crossed."""
    h, w = source.shape
    for y in range(h):
        middle = long[across.size // 2 : across.size // 2 + w]
        middle[:] = f32(0)
        for k in range(down.size):
            add_scaled(source[rows[y + k]], down[k], middle)
        for x in range(across.size // 2):
            long[x] = middle[columns[x]]
            long[w + across.size // 2 + x] = middle[columns[across.size // 2 + w + x]]
        line[:] = f32(0)
        for k in range(across.size):
            add_scaled(long[k : k + w], across[k], line)
        rounded(line, to[y])


def gaussian_blur(frame: int, parameters: int) -> None:
    """The number of weights across and down, both odd; the weights across; the weights down."""
    f, sizes = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 2, np.float64)
    f[UNFINISHED] = 1
    planes, h, w = planes_of(f), f[HEIGHT], f[WIDTH]
    wide, tall = np.int64(sizes[0]), np.int64(sizes[1])
    weights = carray(pointer(parameters + 16), wide + tall, np.float64).astype(np.float32)
    rows, columns = np.empty(h + tall - 1, np.int64), np.empty(w + wide - 1, np.int64)
    for y in range(rows.size):
        rows[y] = inside(y - tall // 2, h, REFLECT)
    for x in range(columns.size):
        columns[x] = inside(x - wide // 2, w, REFLECT)
    long, line = np.empty(columns.size, np.float32), np.empty(w, np.float32)
    for c in range(planes.shape[0]):
        to = carray(pointer(f[SPARE] + c * h * w), (h, w), np.uint8)
        blur_plane(planes[c].reshape(h, w), to, weights[:wide], weights[wide:], rows, columns, long, line)
    f[PLANES], f[SPARE] = f[SPARE], f[PLANES]
    f[UNFINISHED] = 0


@njit(**INNER)
def sharpen_row(above, row, below, to, rest):
    """Inner pixels of a row, each with the mean of its neighbours taken from it or given to it."""
    side, middle = f32(1.0 / 13.0), f32(5.0 / 13.0)
    for x in range(u64(1), u64(row.size - 1)):
        p, n = x - u64(1), x + u64(1)
        around = i32(above[p]) + i32(above[x]) + i32(above[n]) + i32(row[p]) + i32(row[n]) + i32(below[p]) + i32(below[x]) + i32(below[n])
        level = f32(row[x])
        soft = f32(np.rint(f32(around) * side + level * middle))
        to[x] = u8(i32(min(max(fma(f32(soft - level), rest, level), f32(0)), f32(255))))


def sharpness(frame: int, parameters: int) -> None:
    """A factor: 0 is blurred, 1 as it was, 2 sharper. The edge stays, and what has no more than it."""
    f, given = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 1, np.float64)[0]
    planes, h, w = planes_of(f), f[HEIGHT], f[WIDTH]
    if h <= 2 or w <= 2:
        return
    f[UNFINISHED] = 1
    for c in range(planes.shape[0]):
        plane, to = planes[c].reshape(h, w), carray(pointer(f[SPARE] + c * h * w), (h, w), np.uint8)
        to[:] = plane
        for y in range(1, h - 1):
            sharpen_row(plane[y - 1], plane[y], plane[y + 1], to[y], f32(1.0 - given))
    f[PLANES], f[SPARE] = f[SPARE], f[PLANES]
    f[UNFINISHED] = 0


KERNELS = {"gaussian_blur": gaussian_blur, "sharpness": sharpness}

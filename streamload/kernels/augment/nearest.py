"""Compiled geometry by nearest neighbour, for elements of 1, 2, 4 or 8 bytes: masks, and images of any dtype."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.crop import inside
from streamload.kernels.augment.frame import (
    CHANNELS,
    FRAME_WORDS,
    HEIGHT,
    HORIZONTAL,
    ITEM_NBYTES,
    OUT,
    PLANAR,
    PLANES,
    SOURCE,
    SOURCE_HEIGHT,
    SOURCE_WIDTH,
    SPARE,
    TRANSPOSED,
    UNFINISHED,
    VERTICAL,
    WIDTH,
)
from streamload.kernels.augment.vectors import INNER, compiled_for, copy, leave, pointer, room, u8, u16, u32, u64


def make_gather(kind: Any) -> Any:
    """A function that gathers elements of a kind by where their rows and columns begin; a fill where either is below 0."""

    @compiled_for(kind)
    def gather(source, count, to, rows, columns, fill):
        elements, out = carray(pointer(source), count, kind), carray(pointer(to), (rows.size, columns.size), kind)
        for y in range(rows.size):
            row, line = rows[y], out[y]
            if row < 0:
                for x in range(u64(line.size)):
                    line[x] = fill
                continue
            for x in range(u64(line.size)):
                column = columns[x]
                line[x] = fill if column < 0 else elements[u64(row + column)]

    return gather


gather1, gather2, gather4, gather8 = make_gather(u8), make_gather(u16), make_gather(u32), make_gather(u64)


@njit(**INNER)
def gather_items(nbytes, source, count, to, rows, columns, fill):
    """Elements of so many bytes; `fill` is their bits."""
    if nbytes == 1:
        gather1(source, count, to, rows, columns, u8(fill))
    elif nbytes == 2:
        gather2(source, count, to, rows, columns, u16(fill))
    elif nbytes == 4:
        gather4(source, count, to, rows, columns, u32(fill))
    else:
        gather8(source, count, to, rows, columns, u64(fill))


@njit(**INNER)
def places(begin, end, size, mode, centred, found):
    """The source pixel of each output pixel, of `found.size` that stretch from begin to end: the one that its centre falls into
    (added up step by step, as Pillow does), or, where it is not `centred`, its edge.
    """
    step = (end - begin) / found.size
    at = begin + step * 0.5
    for i in range(found.size):
        place = np.int64(np.floor(at)) if centred else np.int64(np.floor(begin + i * step))
        found[i] = inside(place, size, mode)
        at += step
    return found


@njit(**INNER)
def orient(found, flip, stride, out):
    """Where rows or columns begin, last first where that is asked for."""
    for i in range(found.size):
        place = found[found.size - 1 - i if flip else i]
        out[i] = place * stride if place >= 0 else -1


@njit(**INNER)
def settle_items(frame, h, w):
    """Planes of elements were written to SPARE, turned and flipped: they become the planes."""
    frame[PLANES], frame[SPARE] = frame[SPARE], frame[PLANES]
    frame[HEIGHT], frame[WIDTH] = h, w
    frame[SOURCE], frame[PLANAR] = frame[PLANES], 1
    frame[SOURCE_HEIGHT], frame[SOURCE_WIDTH] = h, w


def nearest(frame: int, parameters: int) -> None:
    """x0, y0, x1, y1 of the box; h, w of what it becomes; orientation; what stands outside; whether centres count; bits of the fill
    of each channel, in halves of 32 bits, the lower first.
    """
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    f[UNFINISHED] = 1
    n, nbytes, height, width = f[CHANNELS], f[ITEM_NBYTES], f[SOURCE_HEIGHT], f[SOURCE_WIDTH]
    p = carray(pointer(parameters), 9 + 2 * n, np.float64)
    h, w, orientation, mode = np.int64(p[4]), np.int64(p[5]), np.int64(p[6]), np.int64(p[7])
    at = room(16 * (h + w))
    down, across = carray(pointer(at), h, np.int64), carray(pointer(at + 8 * h), w, np.int64)
    places(p[1], p[3], height, mode, p[8] != 0.0, down)
    places(p[0], p[2], width, mode, p[8] != 0.0, across)
    woven = 1 if f[PLANAR] else n
    flip_rows, flip_columns = orientation & VERTICAL != 0, orientation & HORIZONTAL != 0
    if orientation & TRANSPOSED:
        h, w = w, h
    rows, columns = carray(pointer(at + 8 * (h + w)), h, np.int64), carray(pointer(at + 8 * (h + w) + 8 * h), w, np.int64)
    if orientation & TRANSPOSED:
        orient(across, flip_rows, woven, rows)
        orient(down, flip_columns, woven * width, columns)
    else:
        orient(down, flip_rows, woven * width, rows)
        orient(across, flip_columns, woven, columns)
    for c in range(n):
        first = c * height * width if f[PLANAR] else c
        fill = u64(p[9 + 2 * c]) | u64(p[10 + 2 * c]) << u64(32)
        count = height * width * woven - (0 if f[PLANAR] else c)
        gather_items(nbytes, f[SOURCE] + first * nbytes, count, f[SPARE] + c * h * w * nbytes, rows, columns, fill)
    leave(at)
    settle_items(f, h, w)
    f[UNFINISHED] = 0


def make_weave(kind: Any) -> Any:
    """A function that puts elements of a kind in every n-th place."""

    @compiled_for(kind)
    def weave(source, to, size, n):
        plane, out = carray(pointer(source), size, kind), carray(pointer(to), (size - 1) * n + 1, kind)
        for i in range(u64(size)):
            out[i * u64(n)] = plane[i]

    return weave


weave1, weave2, weave4, weave8 = make_weave(u8), make_weave(u16), make_weave(u32), make_weave(u64)


def elements_chw(frame: int, parameters: int) -> None:
    """The planes as they are to the slot: no parameters."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    copy(pointer(f[OUT]), pointer(f[PLANES]), np.uintp(f[CHANNELS] * f[HEIGHT] * f[WIDTH] * f[ITEM_NBYTES]))


def elements_hwc(frame: int, parameters: int) -> None:
    """The planes woven to the slot: no parameters."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    n, size, nbytes = f[CHANNELS], f[HEIGHT] * f[WIDTH], f[ITEM_NBYTES]
    for c in range(n):
        source, to = f[PLANES] + c * size * nbytes, f[OUT] + c * nbytes
        if nbytes == 1:
            weave1(source, to, size, n)
        elif nbytes == 2:
            weave2(source, to, size, n)
        elif nbytes == 4:
            weave4(source, to, size, n)
        else:
            weave8(source, to, size, n)


KERNELS = {"nearest": nearest, "elements_chw": elements_chw, "elements_hwc": elements_hwc}

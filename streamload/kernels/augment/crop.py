"""Compiled geometry that resamples nothing: crop, pad, flip and quarter-turn from bytes to planes, and how planes are reached."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from streamload.kernels.augment.frame import (
    CHANNELS,
    CONSTANT,
    EDGE,
    FRAME_WORDS,
    HEIGHT,
    HORIZONTAL,
    PLANAR,
    PLANES,
    REFLECT,
    SOURCE,
    SOURCE_HEIGHT,
    SOURCE_WIDTH,
    SPARE,
    TRANSPOSED,
    UNFINISHED,
    VERTICAL,
    WIDTH,
)
from streamload.kernels.augment.vectors import (
    BYTE,
    INNER,
    Intrinsic,
    NumbaType,
    copy,
    leave,
    load,
    pick,
    pointer,
    room,
    spread,
    store,
    u8,
    u64,
    vector,
)

PADDED_NBYTES = 4096
"""Of rows that are padded at a time."""


def make_unweave(*, flipped: bool) -> Any:
    """An intrinsic that takes 32 pixels of three channels apart, to three runs of 32 bytes; `flipped`: the last pixel first."""

    @intrinsic
    def unweave(typing_context, source, a, b, c):
        def generate(context, b, s, a):
            whole = load(b, a[0], vector(BYTE, 96))
            for k in range(3):
                lanes = range(93 + k, -1, -3) if flipped else range(k, 96, 3)
                store(b, pick(b, whole, whole, lanes), a[1 + k])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return unweave


unweave, unweave_flipped = make_unweave(flipped=False), make_unweave(flipped=True)


@intrinsic
def fill_32(typing_context: Any, level: NumbaType, to: NumbaType) -> Intrinsic:
    """32 bytes alike, to an address."""

    def generate(context, b, s, a):
        store(b, spread(b, a[0], 32), a[1])
        return context.get_dummy_value()

    return types.void(types.uint8, types.intp), generate


@njit(**INNER)
def reversed_bytes(source, to, count):
    """`count` bytes, last first."""
    a, b = carray(pointer(source), count, np.uint8), carray(pointer(to), count, np.uint8)
    for x in range(u64(count)):
        b[x] = a[u64(count - 1) - x]


@njit(**INNER)
def unwoven(row, n, w, to, apart):
    """One row of `w` pixels of n channels, to n runs of bytes that are `apart` from each other."""
    if n == 1:
        copy(pointer(to), pointer(row), np.uintp(w))
        return
    if n == 3 and w >= 32:
        for x in range(0, w, 32):
            x = min(x, w - 32)
            unweave(row + 3 * x, to + x, to + apart + x, to + 2 * apart + x)
        return
    pixels = carray(pointer(row), w * n, np.uint8)
    for c in range(n):
        out = carray(pointer(to + c * apart), w, np.uint8)
        for x in range(u64(w)):
            out[x] = pixels[x * u64(n) + u64(c)]


@njit(**INNER)
def inside(i, size, mode):
    """The pixel that stands at i, which may be outside of [0, size); -1 for none."""
    if 0 <= i < size:
        return i
    if mode == CONSTANT:
        return -1
    if mode == EDGE:
        return min(max(i, 0), size - 1)
    period = max(2 * (size - 1), 1) if mode == REFLECT else 2 * size
    i %= period
    if i < size:
        return i
    return period - i if mode == REFLECT else period - 1 - i


@njit(**INNER)
def pad_pixels(row, width, n, x0, first, last, mode, fills, to):
    """Pixels [first, last) of a row from x0 on, all of which stand outside of it."""
    if first >= last:
        return
    pixels, out = carray(pointer(row), width * n, np.uint8), carray(pointer(to), last * n, np.uint8)
    for x in range(first, last):
        at = inside(x0 + x, width, mode)
        for c in range(n):
            out[u64(x * n + c)] = u8(fills[c]) if at < 0 else pixels[u64(at * n + c)]


@njit(**INNER)
def padded_row(row, width, n, x0, w, mode, fills, to):
    """`w` pixels from x0 on of a row, to an address."""
    left, right = min(w, max(0, -x0)), max(0, min(w, width - x0))
    if left < right:
        copy(pointer(to + left * n), pointer(row + (x0 + left) * n), np.uintp((right - left) * n))
    else:
        left = right = 0
    pad_pixels(row, width, n, x0, 0, left, mode, fills, to)
    pad_pixels(row, width, n, x0, right, w, mode, fills, to)


@njit(**INNER)
def take_apart(source, count, flipped, to, apart):
    """`count` pixels of three channels, 32 or more, to three runs of bytes that are `apart` from each other."""
    last = count - 32
    if flipped:
        for x in range(0, count, 32):
            x = min(x, last)
            a = to + last - x
            unweave_flipped(source + 3 * x, a, a + apart, a + 2 * apart)
    else:
        for x in range(0, count, 32):
            x = min(x, last)
            a = to + x
            unweave(source + 3 * x, a, a + apart, a + 2 * apart)


@njit(**INNER)
def inner_region(source, stride, h, w, flipped, overturned, to, apart):
    """Rows of three channels of which nothing stands outside, `stride` bytes from each other."""
    target, step = (to + (h - 1) * w, -w) if overturned else (to, w)
    if flipped:
        for y in range(h):
            take_apart(source + y * stride, w, True, target + y * step, apart)
    else:
        for y in range(h):
            take_apart(source + y * stride, w, False, target + y * step, apart)


@njit(**INNER)
def fill_margins(to, apart, w, left, right, fills):
    """The first and the last bytes of three runs of `w`; what stands between may be overwritten."""
    for c in range(3):
        at, level = to + c * apart, u8(fills[c])
        if 0 < left <= 32:
            fill_32(level, at)
        elif left:
            carray(pointer(at), left, np.uint8)[:] = level
        if 0 < right <= 32:
            fill_32(level, at + w - 32)
        elif right:
            carray(pointer(at + w - right), right, np.uint8)[:] = level


@njit(**INNER)
def mirror_margins(row, width, x0, w, flipped, mode, left, right, to, apart):
    """The first and the last bytes of three runs of `w`, from pixels inside of a row."""
    for x in range(left + right):
        x = x if x < left else w - right + x - left
        at = inside(x0 + (w - 1 - x if flipped else x), width, mode)
        for c in range(3):
            carray(pointer(to + c * apart + x), 1, np.uint8)[0] = carray(pointer(row + 3 * at + c), 1, np.uint8)[0]


@njit(**INNER)
def colored_row(row, first, count, width, x0, w, flipped, mode, left, right, fills, to, apart):
    """`w` pixels from x0 on of a row of three channels to three runs of bytes, of which `left` and `right` stand outside.

    `count` pixels of the row are taken, from `first` on. Where these are more than stand inside, bytes before the runs are
    overwritten, or behind them, on the side where nothing stands outside.
    """
    if mode == CONSTANT and (left or right):
        fill_margins(to, apart, w, left, right, fills)
    take_apart(row + 3 * first, count, flipped, to + (w - right - count if right else left), apart)
    if mode != CONSTANT and (left or right):
        mirror_margins(row, width, x0, w, flipped, mode, left, right, to, apart)


@njit(**INNER)
def filled_rows(source, height, width, y0, first, count, h, w, flips, backward, margin, pixels, fills, to, apart):
    """All rows of a `colored_region` but the one that is written last, where one side of them, of 32 bytes at most, is filled.

    `margin` and `pixels` say where in a row 32 bytes of the level go, and the pixels after them.
    """
    red, green, blue, flipped = u8(fills[0]), u8(fills[1]), u8(fills[2]), flips & HORIZONTAL != 0
    for k in range(h - 1):
        out = h - 1 - k if backward else k
        target, at = to + out * w, y0 + (h - 1 - out if flips & VERTICAL else out)
        if 0 <= at < height:
            fill_32(red, target + margin)
            fill_32(green, target + apart + margin)
            fill_32(blue, target + 2 * apart + margin)
            take_apart(source + (at * width + first) * 3, count, flipped, target + pixels, apart)
        else:
            for x in range(0, w, 32):
                x = min(x, w - 32)
                fill_32(red, target + x)
                fill_32(green, target + apart + x)
                fill_32(blue, target + 2 * apart + x)


@njit(**INNER)
def colored_region(source, height, width, y0, x0, h, w, flips, mode, fills, to, apart):
    """As `region`, of three channels: rows straight to where they belong.

    Rows go from the first to the last, or the other way round, so that what one overwrites beside itself is written later; the
    last of them has no such neighbour, and is put together aside.
    """
    flipped = flips & HORIZONTAL != 0
    left, right = min(w, max(0, -x0)), min(w, max(0, x0 + w - width))
    first, count = max(x0, 0), w - left - right
    over = count < 32
    if over:
        first, count = 0 if left else width - 32, 32
    if flipped:
        left, right = right, left
    if not (left or right) and y0 >= 0 and y0 + h <= height:
        inner_region(source + (y0 * width + x0) * 3, width * 3, h, w, flipped, flips & VERTICAL != 0, to, apart)
        return
    aside, done = room(3 * (w + 64)) if over else 0, 0
    if mode == CONSTANT and 0 < left + right <= 32 and not (left and right):
        margin, pixels = (w - 32, w - right - count) if right else (0, left)
        filled_rows(source, height, width, y0, first, count, h, w, flips, right > 0, margin, pixels, fills, to, apart)
        done = h - 1
    for k in range(done, h):
        out = h - 1 - k if right else k
        target, at = to + out * w, y0 + (h - 1 - out if flips & VERTICAL else out)
        at = at if 0 <= at < height else inside(at, height, mode)
        if at < 0:
            for c in range(3):
                carray(pointer(target + c * apart), w, np.uint8)[:] = u8(fills[c])
        elif over and k == h - 1:
            place, row = aside + 32, source + at * width * 3
            colored_row(row, first, count, width, x0, w, flipped, mode, left, right, fills, place, w + 64)
            for c in range(3):
                copy(pointer(target + c * apart), pointer(place + c * (w + 64)), np.uintp(w))
        else:
            colored_row(source + at * width * 3, first, count, width, x0, w, flipped, mode, left, right, fills, target, apart)
    if over:
        leave(aside)


@njit(**INNER)
def region(source, height, width, n, y0, x0, h, w, flips, mode, fills, to, apart):
    """Rows [y0, y0 + h) and columns [x0, x0 + w) of a woven source into n planes, flipped as the bits say.

    Rows that reach outside are padded some at a time: what was just written in parts is slow to be read whole.
    """
    within = x0 >= 0 and x0 + w <= width
    some_inside = x0 < width and x0 + w > 0 and (x0 >= 0 or x0 + w <= width or width >= 32)
    if n == 3 and w >= 32 and width >= 32 and some_inside:
        colored_region(source, height, width, y0, x0, h, w, flips, mode, fills, to, apart)
        return
    some = h if within else max(1, PADDED_NBYTES // (w * n))
    scratch = room(n * w + (0 if within else some * w * n))
    padded = scratch + n * w
    for first in range(0, h, some):
        last = min(first + some, h)
        if not within:
            for y in range(first, last):
                at = inside(y0 + y, height, mode)
                if at >= 0:
                    padded_row(source + at * width * n, width, n, x0, w, mode, fills, padded + (y - first) * w * n)
        for y in range(first, last):
            at = inside(y0 + y, height, mode)
            target = to + (h - 1 - y if flips & VERTICAL else y) * w
            if at < 0:
                for c in range(n):
                    carray(pointer(target + c * apart), w, np.uint8)[:] = u8(fills[c])
                continue
            row = source + (at * width + x0) * n if within else padded + (y - first) * w * n
            if flips & HORIZONTAL:
                if n > 1:
                    unwoven(row, n, w, scratch, w)
                    row = scratch
                for c in range(n):
                    reversed_bytes(row + c * w, target + c * apart, w)
            else:
                unwoven(row, n, w, target, apart)
    leave(scratch)


@njit(**INNER)
def transposed_plane(source, to, h, w, flips):
    """A plane of w rows and h columns to one of h rows and w columns, then flipped as the bits say."""
    a, b = carray(pointer(source), w * h, np.uint8), carray(pointer(to), h * w, np.uint8)
    for y in range(h):
        row = u64((h - 1 - y if flips & VERTICAL else y) * w)
        if flips & HORIZONTAL:
            for x in range(u64(w)):
                b[row + u64(w - 1) - x] = a[x * u64(h) + u64(y)]
        else:
            for x in range(u64(w)):
                b[row + x] = a[x * u64(h) + u64(y)]


@njit(**INNER)
def settle(frame, h, w, orientation):
    """Planes of a region, h x w each and flipped already unless they are to be transposed, were written to SPARE: they become
    the planes, turned where that is asked for.
    """
    if orientation & TRANSPOSED:
        for c in range(frame[CHANNELS]):
            transposed_plane(frame[SPARE] + c * h * w, frame[PLANES] + c * h * w, w, h, orientation)
        h, w = w, h
    else:
        frame[PLANES], frame[SPARE] = frame[SPARE], frame[PLANES]
    frame[HEIGHT], frame[WIDTH] = h, w
    frame[SOURCE], frame[PLANAR] = frame[PLANES], 1
    frame[SOURCE_HEIGHT], frame[SOURCE_WIDTH] = h, w


def crop(frame: int, parameters: int) -> None:
    """y0, x0, h, w of the region; orientation; what stands outside, and the level of each channel that does if it is CONSTANT."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    f[UNFINISHED] = 1
    n = f[CHANNELS]
    p = carray(pointer(parameters), 6 + n, np.float64)
    y0, x0, h, w = np.int64(p[0]), np.int64(p[1]), np.int64(p[2]), np.int64(p[3])
    orientation, mode, fills = np.int64(p[4]), np.int64(p[5]), p[6:]
    flips = 0 if orientation & TRANSPOSED else orientation
    if f[PLANAR]:
        nbytes = f[SOURCE_HEIGHT] * f[SOURCE_WIDTH]
        for c in range(n):
            source, to = f[SOURCE] + c * nbytes, f[SPARE] + c * h * w
            region(source, f[SOURCE_HEIGHT], f[SOURCE_WIDTH], 1, y0, x0, h, w, flips, mode, fills[c:], to, h * w)
    else:
        region(f[SOURCE], f[SOURCE_HEIGHT], f[SOURCE_WIDTH], n, y0, x0, h, w, flips, mode, fills, f[SPARE], h * w)
    settle(f, h, w, orientation)
    f[UNFINISHED] = 0


KERNELS = {"crop": crop}

"""Compiled bilinear resampling of bytes: rows first, into 16 bits, then columns; an output row never leaves the first-level cache.

What made it fast: numbers of taps that the compiler knows (1.25 times), small functions around inner loops (1.4 times), and
products of 16 bits in vectors of their own, since left to itself LLVM widens them.
"""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from streamload.kernels.augment.crop import settle
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
from streamload.kernels.augment.vectors import (
    BYTE,
    INNER,
    INT,
    LONG,
    SHORT,
    Intrinsic,
    NumbaType,
    accumulate,
    copy,
    fill,
    leave,
    literal,
    load,
    pick,
    pointer,
    room,
    spread,
    store,
    u8,
    u16,
    u32,
    u64,
    vector,
)

LEAST = 32
"""Bytes that the vertical pass takes at a time; shorter rows are copied to longer ones first."""


@intrinsic(prefer_literal=True)
def blend_rows(
    typing_context: Any, source: NumbaType, stride: NumbaType, weights: NumbaType, count: NumbaType, start: NumbaType, to: NumbaType
) -> Intrinsic:
    """32 columns of a vertical pass: levels * 128 in int16; weights of 16 bits; every product is cut to 16 bits.

    The 64 stands in so that LLVM does not fold the 128 into the weight, which would need 32-bit products.
    """

    def generate(c, b, s, a):
        source, stride, weights, turns, start, to = a
        short, wide = vector(SHORT, 32), vector(INT, 32)

        def add(turn, total):
            pixels = b.shl(b.zext(load(b, b.add(source, b.mul(turn, stride)), vector(BYTE, 32)), short), fill(short, 7))
            weight = spread(b, load(b, b.add(weights, b.shl(turn, LONG(1))), SHORT), 32)
            product = b.mul(b.zext(b.or_(pixels, fill(short, 64)), wide), b.zext(weight, wide))
            return b.add(total, b.trunc(b.lshr(product, fill(wide, 16)), short))

        store(b, accumulate(b, turns, literal(count), spread(b, start, 32), add), to)
        return c.get_dummy_value()

    known = count if literal(count) is not None else types.intp
    return types.void(types.intp, types.intp, types.intp, known, types.uint16, types.intp), generate


@intrinsic(prefer_literal=True)
def blend_columns(
    typing_context: Any, first: NumbaType, second: NumbaType, stride: NumbaType, weights: NumbaType, pairs: NumbaType
) -> Intrinsic:
    """Two pixels of a horizontal pass, up to four channels each, as eight bytes: sums over pairs of taps.

    A literal stride of 6 bytes (three channels) needs one load for two taps.
    """
    packed = literal(stride) == 6

    def generate(c, b, s, a):
        first, second, step, weights, turns = a
        wide, sums = vector(INT, 16), vector(INT, 8)

        def pair(at):
            if packed:
                whole = load(b, at, vector(SHORT, 8))
                return pick(b, whole, whole, [0, 3, 1, 4, 2, 5, 3, 6])
            four = vector(SHORT, 4)
            return pick(b, load(b, at, four), load(b, b.add(at, step), four), [0, 4, 1, 5, 2, 6, 3, 7])

        def add(turn, total):
            far = b.mul(b.shl(turn, LONG(1)), step)
            both = pick(b, pair(b.add(first, far)), pair(b.add(second, far)), range(16))
            weight = load(b, b.add(weights, b.shl(turn, LONG(5))), vector(SHORT, 16))
            product = b.mul(b.sext(both, wide), b.sext(weight, wide))
            even, odd = pick(b, product, product, range(0, 16, 2)), pick(b, product, product, range(1, 16, 2))
            return b.add(total, b.add(even, odd))

        total = accumulate(b, turns, literal(pairs), fill(sums, 1 << 21), add)
        return b.bitcast(b.trunc(b.ashr(total, fill(sums, 22)), vector(BYTE, 8)), LONG)

    known = [kind if literal(kind) is not None else types.intp for kind in (stride, weights, pairs)]
    return types.uint64(types.intp, types.intp, *known), generate


@njit(**INNER)
def weigh(begin, end, size, antialias, one, most, first, count, weights, parts):
    """Which pixels each output pixel is made of, and how much of each: a triangle, as wide as the scale where it antialiases.

    `parts` has room for the weights of one.
    """
    scale = (end - begin) / first.size
    reach = max(scale, 1.0) if antialias else 1.0
    longest = 0
    for i in range(first.size):
        center = begin + (i + 0.5) * scale
        low, high = max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), size)
        total = 0.0
        for k in range(high - low):
            parts[k] = max(0.0, 1.0 - abs(low + k - center + 0.5) / reach)
            total += parts[k]
        for k in range(high - low):
            weights[i, k] = min(most, int(parts[k] / total * one + 0.5))
        weights[i, high - low :] = 0
        first[i], count[i] = low, high - low
        longest = max(longest, high - low)
    return longest


@njit(**INNER)
def vertical(source, stride, weights, count, columns, to):
    """One row of levels * 128 from `count` rows; at least 32 columns, of which some at the end may be done twice."""
    start, last = u16((count >> 1) - 64), columns - LEAST
    if count == 2:
        for x in range(0, columns, LEAST):
            blend_rows(source + min(x, last), stride, weights, 2, start, to + 2 * min(x, last))
    elif count == 3:
        for x in range(0, columns, LEAST):
            blend_rows(source + min(x, last), stride, weights, 3, start, to + 2 * min(x, last))
    elif count == 4:
        for x in range(0, columns, LEAST):
            blend_rows(source + min(x, last), stride, weights, 4, start, to + 2 * min(x, last))
    elif count == 5:
        for x in range(0, columns, LEAST):
            blend_rows(source + min(x, last), stride, weights, 5, start, to + 2 * min(x, last))
    else:
        for x in range(0, columns, LEAST):
            blend_rows(source + min(x, last), stride, weights, count, start, to + 2 * min(x, last))


@njit(**INNER)
def horizontal(row, at, weights, pairs, channels, line):
    """Up to four channels of one row, as four bytes a pixel. In a large function these loops spill registers: half the speed."""
    if channels == 3 and pairs == 1:
        for j in range(u64(line.size)):
            line[j] = blend_columns(row + at[j, 0], row + at[j, 1], 6, weights + np.int64(j) * 32, 1)
    elif channels == 3 and pairs == 2:
        for j in range(u64(line.size)):
            line[j] = blend_columns(row + at[j, 0], row + at[j, 1], 6, weights + np.int64(j) * 64, 2)
    elif channels == 3 and pairs == 3:
        for j in range(u64(line.size)):
            line[j] = blend_columns(row + at[j, 0], row + at[j, 1], 6, weights + np.int64(j) * 96, 3)
    elif channels == 3:
        for j in range(u64(line.size)):
            line[j] = blend_columns(row + at[j, 0], row + at[j, 1], 6, weights + np.int64(j) * pairs * 32, pairs)
    else:
        for j in range(u64(line.size)):
            line[j] = blend_columns(row + at[j, 0], row + at[j, 1], 2 * channels, weights + np.int64(j) * pairs * 32, pairs)


@njit(**INNER)
def split(line, w, c, channels, to, apart, three):
    """Pixels of up to four bytes into planes from `c` on, whose rows are `apart` from each other and begin at `to`."""
    if three:
        r, g, b = (
            carray(pointer(to), w, np.uint8),
            carray(pointer(to + apart), w, np.uint8),
            carray(pointer(to + 2 * apart), w, np.uint8),
        )
        for x in range(u64(w)):
            r[x], g[x], b[x] = u8(line[x]), u8(line[x] >> u32(8)), u8(line[x] >> u32(16))
        return
    for d in range(c, min(c + 4, channels)):
        out, bits = carray(pointer(to + d * apart), w, np.uint8), u32(8 * (d - c))
        for x in range(u64(w)):
            out[x] = u8(line[x] >> bits)


@njit(**INNER)
def taps(begin, end, size, count, antialias, one, most, widest, at):
    """`weigh` into memory at an address: first pixels, how many, weights, the longest of all, and where the memory ends."""
    first, counts = carray(pointer(at), count, np.int64), carray(pointer(at + 8 * count), count, np.int64)
    parts = carray(pointer(at + 16 * count), widest, np.float64)
    weights = carray(pointer(at + 16 * count + 8 * widest), (count, widest), u16)
    longest = weigh(begin, end, size, antialias, one, most, first, counts, weights, parts)
    return first, counts, weights, longest, at + (16 * count + 8 * widest + 2 * count * widest + 63) // 64 * 64


@njit(**INNER)
def resampled(source, height, width, n, box, antialias, h, w, flips, to, apart):
    """The box of a woven source to n planes of h x w, flipped as the bits say."""
    stride = width * n
    widest = 2 * int(max((box[2] - box[0]) / w, (box[3] - box[1]) / h, 1.0) + 1) + 2
    half = (w + 1) >> 1
    tables = (16 + 2 * widest) * (w + h) + 16 * widest + 128
    lines = 2 * (width * n + LEAST) + 2 * (widest + 2) * n + 4 * LEAST
    whole = room(tables + half * (24 + 16 * (widest + 2)) + lines + (height * LEAST if stride < LEAST else 0) + 256)
    first_x, count_x, weights_x, longest, at_y = taps(box[0], box[2], width, w, antialias, 32768.0, 32767, widest, whole)
    first_y, count_y, weights_y, _, free = taps(box[1], box[3], height, h, antialias, 65536.0, 65535, widest, at_y)
    pairs = (longest + 1) >> 1
    end = min(max(first_x[w - 1] + count_x[w - 1], -(-LEAST // n)), width)
    begin = max(0, min(first_x[0], end + -LEAST // n))  # At least 32 columns, where there are so many.
    weights, line = carray(pointer(free), (half, pairs, 2, 4, 2), np.int16), carray(pointer(free + 32 * half * pairs), half, u64)
    at = carray(pointer(free + (32 * pairs + 8) * half), (half, 2), np.int64)
    if w & 1:
        at[half - 1], weights[half - 1] = 0, 0
    for x in range(w):
        z = w - 1 - x if flips & HORIZONTAL else x
        at[x >> 1, x & 1] = (first_x[z] - begin) * n * 2
        for p in range(pairs):
            for c in range(8):
                weights[x >> 1, p, x & 1, c >> 1, c & 1] = weights_x[z, 2 * p + (c & 1)]
    sums = (free + (32 * pairs + 24) * half + 63) // 64 * 64  # Vectors that lie across lines of the cache are stored twice.
    columns = max((end - begin) * n, LEAST)
    padded = columns + 2 * pairs * n + LEAST
    carray(pointer(sums + 2 * columns), padded - columns, u16)[:] = 0
    if stride < LEAST:  # Rows so short are laid out anew, with room behind each.
        for y in range(height):
            copy(pointer(sums + 2 * padded + y * LEAST), pointer(source + y * stride), np.uintp(stride))
        source, stride = sums + 2 * padded, LEAST
    base = source + begin * n
    for y in range(h):
        by = weights_y.ctypes.data + y * widest * 2
        vertical(base + first_y[y] * stride, stride, by, count_y[y], columns, sums)
        out = to + (h - 1 - y if flips & VERTICAL else y) * w
        for c in range(0, n, 4):
            horizontal(sums + 2 * c, at, weights.ctypes.data, pairs, n, line)
            split(carray(pointer(line.ctypes.data), 2 * half, u32), w, c, n, out, apart, n == 3)
    leave(whole)


def bilinear(frame: int, parameters: int) -> None:
    """x0, y0, x1, y1 of the box; h, w of what it becomes; orientation; whether it antialiases."""
    f, p = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 8, np.float64)
    f[UNFINISHED] = 1
    h, w, orientation, antialias = np.int64(p[4]), np.int64(p[5]), np.int64(p[6]), p[7] != 0.0
    flips = 0 if orientation & TRANSPOSED else orientation
    height, width, n = f[SOURCE_HEIGHT], f[SOURCE_WIDTH], f[CHANNELS]
    if f[PLANAR]:
        for c in range(n):
            resampled(f[SOURCE] + c * height * width, height, width, 1, p, antialias, h, w, flips, f[SPARE] + c * h * w, h * w)
    else:
        resampled(f[SOURCE], height, width, n, p, antialias, h, w, flips, f[SPARE], h * w)
    settle(f, h, w, orientation)
    f[UNFINISHED] = 0


KERNELS = {"bilinear": bilinear}

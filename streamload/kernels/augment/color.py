"""Compiled colour on planes, each operation with the rounding of torchvision's on uint8 tensors."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.curves import FAST_TABLES, flush, tables
from streamload.kernels.augment.frame import CHANNELS, FRAME_WORDS, HEIGHT, PENDING, PLANES, SPARE, WIDTH
from streamload.kernels.augment.vectors import INNER, copy, f32, fma, i32, pointer, u8, u64

RED, GREEN, BLUE = f32(0.2989), f32(0.587), f32(0.114)
"""Shares of the grey of torchvision."""
PIECE = 4096
"""Pixels whose greys are added in 32 bits."""


@njit(**INNER)
def planes_of(frame):
    """What the planes stand for, made so: shape (channels, pixels)."""
    flush(frame)
    return carray(pointer(frame[PLANES]), (frame[CHANNELS], frame[HEIGHT] * frame[WIDTH]), np.uint8)


@njit(**INNER)
def flat(levels):
    """Levels of all channels in a row: shape (levels.size,)."""
    return carray(pointer(levels.ctypes.data), levels.size, np.uint8)


@njit(inline="always", **INNER)
def grey(r, g, b):
    """Whole levels of grey, as a float."""
    return f32(i32(fma(f32(b), BLUE, fma(f32(g), GREEN, f32(r) * RED))))


@njit(inline="always", **INNER)
def blend(level, factor, other, rest):
    """The level times the factor, plus another times the rest."""
    return u8(i32(min(max(fma(other, rest, f32(level) * factor), f32(0)), f32(255))))


@njit(**INNER)
def brighten(levels, factor):
    """Levels times a factor, cut at 255."""
    for i in range(u64(levels.size)):
        levels[i] = u8(i32(min(f32(levels[i]) * factor, f32(255))))


def brightness(frame: int, parameters: int) -> None:
    """A factor. Where levels have to go through a table all the same, or tables are fast, it goes in there."""
    f, factor = carray(pointer(frame), FRAME_WORDS, np.int64), f32(carray(pointer(parameters), 1, np.float64)[0])
    if FAST_TABLES or f[PENDING]:
        brighten(flat(tables(f)), factor)
    else:
        brighten(flat(planes_of(f)), factor)


@njit(**INNER)
def grey_total(r, g, b):
    """The greys of all pixels together."""
    total = 0
    for begin in range(0, r.size, PIECE):
        part = i32(0)
        for i in range(u64(begin), u64(min(begin + PIECE, r.size))):
            part = i32(part + i32(grey(r[i], g[i], b[i])))
        total += part
    return total


@njit(**INNER)
def level_total(plane):
    """All levels together."""
    total = np.int64(0)
    for i in range(u64(plane.size)):
        total += np.int64(plane[i])
    return total


@njit(**INNER)
def blend_all(levels, factor, other, rest):
    """Every level blended with one other."""
    for i in range(u64(levels.size)):
        levels[i] = blend(levels[i], factor, other, rest)


def contrast(frame: int, parameters: int) -> None:
    """A factor: away from the mean grey, of one or three channels."""
    f, given = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 1, np.float64)[0]
    planes = planes_of(f)
    total = grey_total(planes[0], planes[1], planes[2]) if planes.shape[0] == 3 else level_total(planes[0])
    levels = flat(tables(f)) if FAST_TABLES else flat(planes)
    blend_all(levels, f32(given), f32(total / planes.shape[1]), f32(1.0 - given))


@njit(**INNER)
def saturate(r, g, b, factor, rest):
    """Every pixel blended with its grey."""
    for i in range(u64(r.size)):
        other = grey(r[i], g[i], b[i])
        r[i], g[i], b[i] = (blend(r[i], factor, other, rest), blend(g[i], factor, other, rest), blend(b[i], factor, other, rest))


def saturation(frame: int, parameters: int) -> None:
    """A factor: away from the grey of each pixel, of three channels."""
    f, given = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 1, np.float64)[0]
    planes = planes_of(f)
    saturate(planes[0], planes[1], planes[2], f32(given), f32(1.0 - given))


@njit(inline="always", **INNER)
def hue_level(share, most, spread, up):
    """A colour's level, less by a share of the spread, which is cut to [0, 1]."""
    return u8(i32((most - spread * min(max(share, f32(0)), f32(1))) * up))


@njit(**INNER)
def turn_hue(r, g, b, turned, up):
    """Through hue, saturation, value: no branch, one division.

    At an angle t, in sixths of a turn, a colour lacks min(t, 4 - t) of the spread. With what is added to the angle, t lies in
    [5, 11), [3, 9) and [1, 7): there the shares below are the same to the bit, as t - 6 is exact, and t need not be brought below 6.
    """
    for i in range(u64(r.size)):
        x, y, z = f32(r[i]), f32(g[i]), f32(b[i])
        most, least = max(max(x, y), z), min(min(x, y), z)
        spread = most - least
        over = f32(1) / max(spread, f32(1))
        apart, sixth = (z - x if y == most else x - y), (f32(2) if y == most else f32(4))
        apart, sixth = (y - z if x == most else apart), (f32(6) if x == most else sixth)
        angle = apart * over + sixth + turned
        angle = angle - f32(6) if angle >= f32(6) else angle
        angle = angle - f32(6) if angle >= f32(6) else angle
        red, green, blue = angle + f32(5), angle + f32(3), angle + f32(1)
        r[i] = hue_level(min(red - f32(6), f32(10) - red), most, spread, up)
        g[i] = hue_level(max(f32(4) - green, green - f32(6)), most, spread, up)
        b[i] = hue_level(max(f32(4) - blue, blue - f32(6)), most, spread, up)


def hue(frame: int, parameters: int) -> None:
    """A part of a turn, from -0.5 to 0.5, of three channels."""
    f, given = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 1, np.float64)[0]
    planes = planes_of(f)
    turn_hue(planes[0], planes[1], planes[2], f32(6 * (given if given >= 0 else given + 1)), f32(255.999 / 255))


@njit(**INNER)
def grey_plane(r, g, b, out):
    """The grey of every pixel."""
    for i in range(u64(r.size)):
        out[i] = u8(i32(grey(r[i], g[i], b[i])))


def grayscale(frame: int, parameters: int) -> None:
    """The number of channels that come out: one, or three alike. Three or one go in."""
    f, count = carray(pointer(frame), FRAME_WORDS, np.int64), np.int64(carray(pointer(parameters), 1, np.float64)[0])
    planes = planes_of(f)
    if planes.shape[0] == 3:
        grey_plane(planes[0], planes[1], planes[2], planes[0])
    f[CHANNELS] = count
    size = f[HEIGHT] * f[WIDTH]
    for c in range(1, count):
        copy(pointer(f[PLANES] + c * size), pointer(f[PLANES]), np.uintp(size))


def permute_channels(frame: int, parameters: int) -> None:
    """For each channel, the one that takes its place."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    flush(f)
    n, size = f[CHANNELS], f[HEIGHT] * f[WIDTH]
    order = carray(pointer(parameters), n, np.float64)
    copy(pointer(f[SPARE]), pointer(f[PLANES]), np.uintp(n * size))
    for c in range(n):
        copy(pointer(f[PLANES] + c * size), pointer(f[SPARE] + np.int64(order[c]) * size), np.uintp(size))


KERNELS = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
    "grayscale": grayscale,
    "permute_channels": permute_channels,
}

"""Compiled curves: functions of a level, which compose into one table a channel and are looked up once."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

import numpy as np
from numba import carray, njit

from streamload.kernels.augment.frame import CHANNELS, FRAME_WORDS, HEIGHT, PENDING, PLANES, TABLE, WIDTH
from streamload.kernels.augment.vectors import INNER, f32, i32, pointer, u8, u64


@njit(**INNER)
def tables(frame):
    """The pending table, which is made one that changes nothing where there is none: shape (channels, 256)."""
    made = carray(pointer(frame[TABLE]), (frame[CHANNELS], 256), np.uint8)
    if not frame[PENDING]:
        for c in range(made.shape[0]):
            for level in range(256):
                made[c, level] = u8(level)
        frame[PENDING] = 1
    return made


@njit(**INNER)
def look_up(plane, table):
    """A plane of what the table makes of its levels."""
    for i in range(u64(plane.size)):
        plane[i] = table[plane[i]]


@njit(**INNER)
def flush(frame):
    """Let the planes hold what they stand for."""
    if not frame[PENDING]:
        return
    size, made = frame[HEIGHT] * frame[WIDTH], tables(frame)
    for c in range(made.shape[0]):
        look_up(carray(pointer(frame[PLANES] + c * size), size, np.uint8), made[c])
    frame[PENDING] = 0


@njit(**INNER)
def compose(table, curve):
    """A table after which a curve is drawn."""
    for level in range(256):
        table[level] = curve[table[level]]


@njit(**INNER)
def histogram(frame, c, table):
    """How often each level stands in a channel, once it has gone through the table."""
    size = frame[HEIGHT] * frame[WIDTH]
    plane = carray(pointer(frame[PLANES] + c * size), size, np.uint8)
    four, counts = np.zeros((4, 256), np.int32), np.zeros(256, np.int64)
    whole = u64(size) & ~u64(3)
    for i in range(u64(0), whole, u64(4)):  # Four, since the same counter twice in a row waits for itself.
        four[0, plane[i]] += i32(1)
        four[1, plane[i + u64(1)]] += i32(1)
        four[2, plane[i + u64(2)]] += i32(1)
        four[3, plane[i + u64(3)]] += i32(1)
    for i in range(whole, u64(size)):
        four[0, plane[i]] += i32(1)
    for level in range(256):
        counts[table[level]] += four[0, level] + four[1, level] + four[2, level] + four[3, level]
    return counts


def curve(frame, parameters):
    """256 levels, packed into 32 numbers: what each level becomes, in every channel."""
    f, levels = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 256, np.uint8)
    made = tables(f)
    for c in range(made.shape[0]):
        compose(made[c], levels)


def equalize(frame, parameters):
    """Spread the levels of each channel so that each is as frequent as any: no parameters."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    made, levels = tables(f), np.empty(256, np.uint8)
    for c in range(made.shape[0]):
        counts = histogram(f, c, made[c])
        highest = 255
        while highest > 0 and counts[highest] == 0:
            highest -= 1
        step = (f[HEIGHT] * f[WIDTH] - counts[highest]) // 255
        if step == 0:
            continue
        total = step // 2
        for level in range(256):
            levels[level] = u8(min(total // step, 255))
            total += counts[level]
        compose(made[c], levels)


def autocontrast(frame, parameters):
    """Stretch the levels of each channel so that they reach from 0 to 255: no parameters."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    made, levels = tables(f), np.empty(256, np.uint8)
    for c in range(made.shape[0]):
        counts = histogram(f, c, made[c])
        low, high = 0, 255
        while low < 255 and counts[low] == 0:
            low += 1
        while high > 0 and counts[high] == 0:
            high -= 1
        if low >= high:
            continue
        scale = f32(f32(high - low) * f32(1.0 / 255.0))
        for level in range(256):
            levels[level] = u8(i32(min(max(f32(f32(level) - f32(low)) / scale, f32(0)), f32(255))))
        compose(made[c], levels)


KERNELS = {"curve": curve, "equalize": equalize, "autocontrast": autocontrast}

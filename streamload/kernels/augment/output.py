"""The compiled last step: from planes to the slot, in its dtype and layout; level * scale + shift where floats are wanted."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from streamload.kernels.augment.curves import flush
from streamload.kernels.augment.frame import CHANNELS, FRAME_WORDS, HEIGHT, OUT, PLANES, STREAM, UNFINISHED, WIDTH
from streamload.kernels.augment.vectors import (
    BYTE,
    FLOAT,
    HALF,
    INNER,
    INT,
    SHORT,
    Builder,
    Value,
    compiled_for,
    copy,
    f32,
    fill,
    leave,
    load,
    pick,
    pointer,
    room,
    spread,
    store,
    u64,
    vector,
)

LANES = 32


def convert_levels(b: Builder, dtype: str, levels: Value, scale: Value, shift: Value) -> Value:
    """32 levels of 8 bits, times a number and plus another, as values of a dtype."""
    if dtype == "uint8":
        return levels
    x = b.uitofp(levels, vector(FLOAT, LANES))
    return round_to(b, dtype, b.fadd(b.fmul(x, spread(b, scale, LANES)), spread(b, shift, LANES)))


def round_to(b: Builder, dtype: str, x: Value) -> Value:
    """32 floats as values of a dtype."""
    if dtype == "float16":
        return b.fptrunc(x, vector(HALF, LANES))
    if dtype == "bfloat16":
        bits = b.bitcast(x, vector(INT, LANES))
        odd = b.and_(b.lshr(bits, fill(bits.type, 16)), fill(bits.type, 1))
        return b.trunc(b.lshr(b.add(bits, b.add(odd, fill(bits.type, 0x7FFF))), fill(bits.type, 16)), vector(SHORT, LANES))
    return x


def make_convert(dtype: str, *, past_caches: bool = False) -> Any:
    """An intrinsic that puts 32 levels of one channel where they go; `past_caches`: to a multiple of 32, without the caches."""

    @intrinsic
    def convert(typing_context, source, scale, shift, to):
        def generate(c, b, s, a):
            x = convert_levels(b, dtype, load(b, a[0], vector(BYTE, LANES)), a[1], a[2])
            stored = store(b, x, a[3], 32 if past_caches else 1)
            if past_caches:
                stored.set_metadata("nontemporal", b.module.add_metadata([INT(1)]))
            return c.get_dummy_value()

        return types.void(types.intp, types.float32, types.float32, types.intp), generate

    return convert


def make_weave(dtype: str) -> Any:
    """An intrinsic that puts 32 pixels of three channels where they go, woven."""

    @intrinsic
    def weave(typing_context, a, b, c, scale, shift, to):
        def generate(context, b, s, a):
            scales, shifts = (b.inttoptr(address, FLOAT.as_pointer()) for address in a[3:5])
            planes = []
            for k in range(3):
                scale, shift = (b.load(b.gep(numbers, [INT(k)])) for numbers in (scales, shifts))
                planes.append(convert_levels(b, dtype, load(b, a[k], vector(BYTE, LANES)), scale, shift))
            two = pick(b, planes[0], planes[1], range(2 * LANES))
            third = pick(b, planes[2], planes[2], range(2 * LANES))
            whole = [k // 3 + (0, LANES, 2 * LANES)[k % 3] for k in range(3 * LANES)]
            store(b, pick(b, two, third, whole), a[5])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6), generate

    return weave


@njit(**INNER)
def numbers_of(frame, parameters):
    """The scale and the shift of each channel, shape (2, channels), to be given back; and their address."""
    n = frame[CHANNELS]
    given, at = carray(pointer(parameters), 2 * n, np.float64), room(8 * n)
    numbers = carray(pointer(at), (2, n), np.float32)
    for c in range(n):
        numbers[0, c], numbers[1, c] = f32(given[c]), f32(given[n + c])
    return numbers, at


def make_plane(dtype: str, nbytes: int) -> Any:
    """A function that writes one channel as a dtype of so many bytes, pixel after pixel."""
    convert, past_caches = make_convert(dtype), make_convert(dtype, past_caches=True)

    @compiled_for(dtype)
    def plane(source, size, scale, shift, to, stream):
        if size < LANES:
            levels = room(LANES + LANES * nbytes)
            carray(pointer(levels), LANES, np.uint8)[:] = 0
            copy(pointer(levels), pointer(source), np.uintp(size))
            convert(levels, scale, shift, levels + LANES)
            copy(pointer(to), pointer(levels + LANES), np.uintp(size * nbytes))
            leave(levels)
            return
        if stream and to % 32 == 0 and size % LANES == 0:
            for i in range(0, size, LANES):
                past_caches(source + i, scale, shift, to + nbytes * i)
        else:
            for i in range(0, size, LANES):
                i = min(i, size - LANES)
                convert(source + i, scale, shift, to + nbytes * i)

    return plane


def make_scatter(dtype: str, kind: Any, plane: Any) -> Any:
    """A function that writes one channel as a dtype, one of `n` values a pixel."""
    nbytes = np.dtype(kind).itemsize

    @compiled_for(dtype)
    def scatter(source, size, scale, shift, to, n):
        at = room(size * nbytes)
        values, out = carray(pointer(at), size, kind), carray(pointer(to), (size - 1) * n + 1, kind)
        plane(source, size, scale, shift, at, False)
        for i in range(u64(size)):
            out[i * u64(n)] = values[i]
        leave(at)

    return scatter


def make_writers(dtype: str, kind: Any) -> tuple[Any, Any]:
    """Functions that write the planes of a record as a dtype, whose bits are numbers of `kind`: channel by channel, and woven."""
    nbytes = np.dtype(kind).itemsize
    plane, weave = make_plane(dtype, nbytes), make_weave(dtype)
    scatter = make_scatter(dtype, kind, plane)

    @compiled_for(dtype)
    def planes(frame, parameters):
        flush(frame)
        frame[UNFINISHED] = 1
        size, n = frame[HEIGHT] * frame[WIDTH], frame[CHANNELS]
        given = carray(pointer(parameters), 2 * n, np.float64)
        for c in range(n):
            source, to = frame[PLANES] + c * size, frame[OUT] + c * size * nbytes
            plane(source, size, f32(given[c]), f32(given[n + c]), to, frame[STREAM] != 0)
        frame[UNFINISHED] = 0

    @compiled_for(dtype)
    def woven(frame, parameters):
        n, size = frame[CHANNELS], frame[HEIGHT] * frame[WIDTH]
        if n == 1:
            planes(frame, parameters)
            return
        flush(frame)
        frame[UNFINISHED] = 1
        numbers, scales = numbers_of(frame, parameters)
        source, shifts = frame[PLANES], scales + 4 * n
        if n == 3 and size >= LANES:
            for i in range(0, size, LANES):
                i = min(i, size - LANES)
                weave(source + i, source + size + i, source + 2 * size + i, scales, shifts, frame[OUT] + 3 * nbytes * i)
        else:
            for c in range(n):
                scatter(source + c * size, size, numbers[0, c], numbers[1, c], frame[OUT] + c * nbytes, n)
        leave(scales)
        frame[UNFINISHED] = 0

    return planes, woven


float32_planes, float32_woven = make_writers("float32", np.float32)
float16_planes, float16_woven = make_writers("float16", np.uint16)
bfloat16_planes, bfloat16_woven = make_writers("bfloat16", np.uint16)
uint8_planes, uint8_woven = make_writers("uint8", np.uint8)


def float32_chw(frame: int, parameters: int) -> None:
    """A scale for each channel, then a shift for each."""
    float32_planes(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


def float16_chw(frame: int, parameters: int) -> None:
    """As `float32_chw`."""
    float16_planes(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


def bfloat16_chw(frame: int, parameters: int) -> None:
    """As `float32_chw`; the mantissa is rounded to even."""
    bfloat16_planes(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


def uint8_chw(frame: int, parameters: int) -> None:
    """The levels as they are; scales and shifts are not looked at."""
    uint8_planes(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


def float32_hwc(frame: int, parameters: int) -> None:
    """A scale for each channel, then a shift for each."""
    float32_woven(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


def float16_hwc(frame: int, parameters: int) -> None:
    """As `float32_hwc`."""
    float16_woven(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


def bfloat16_hwc(frame: int, parameters: int) -> None:
    """As `float32_hwc`; the mantissa is rounded to even."""
    bfloat16_woven(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


def uint8_hwc(frame: int, parameters: int) -> None:
    """The levels as they are; scales and shifts are not looked at."""
    uint8_woven(carray(pointer(frame), FRAME_WORDS, np.int64), parameters)


KERNELS = {
    kernel.__name__: kernel
    for kernel in (float32_chw, float16_chw, bfloat16_chw, uint8_chw, float32_hwc, float16_hwc, bfloat16_hwc, uint8_hwc)
}

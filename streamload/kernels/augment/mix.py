"""Compiled mixing of a batch: each record blended with the one before it, in the slot."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from streamload.kernels.augment.frame import FRAME_WORDS, OUT, OUT_KIND, SOURCE, SOURCE_HEIGHT, SOURCE_WIDTH, UNFINISHED
from streamload.kernels.augment.output import LANES, round_to
from streamload.kernels.augment.vectors import (
    FLOAT,
    HALF,
    INT,
    SHORT,
    Builder,
    Value,
    compiled_for,
    copy,
    f32,
    fill,
    load,
    pointer,
    spread,
    store,
    vector,
)


def as_floats(b: Builder, dtype: str, address: Value) -> Value:
    """32 values of a dtype at an address, as floats."""
    if dtype == "float16":
        return b.fpext(load(b, address, vector(HALF, LANES)), vector(FLOAT, LANES))
    if dtype == "bfloat16":
        bits = b.zext(load(b, address, vector(SHORT, LANES)), vector(INT, LANES))
        return b.bitcast(b.shl(bits, fill(bits.type, 16)), vector(FLOAT, LANES))
    return load(b, address, vector(FLOAT, LANES))


def make_blend(dtype: str, nbytes: int) -> Any:
    """A function that blends values of a dtype with others, in place."""

    @intrinsic
    def blend(typing_context, to, other, share, rest):
        def generate(c, b, s, a):
            mine, theirs = (
                b.fmul(as_floats(b, dtype, a[0]), spread(b, a[2], LANES)),
                b.fmul(as_floats(b, dtype, a[1]), spread(b, a[3], LANES)),
            )
            store(b, round_to(b, dtype, b.fadd(mine, theirs)), a[0])
            return c.get_dummy_value()

        return types.void(types.intp, types.intp, types.float32, types.float32), generate

    @compiled_for(dtype)
    def blend_row(to, other, count, share, rest):
        whole = count - count % LANES
        for i in range(0, whole, LANES):
            blend(to + i * nbytes, other + i * nbytes, share, rest)
        if whole < count:
            both = np.zeros((2, LANES * nbytes), np.uint8)
            mine, theirs, left = both[0].ctypes.data, both[1].ctypes.data, (count - whole) * nbytes
            copy(pointer(mine), pointer(to + whole * nbytes), np.uintp(left))
            copy(pointer(theirs), pointer(other + whole * nbytes), np.uintp(left))
            blend(mine, theirs, share, rest)
            copy(pointer(to + whole * nbytes), pointer(mine), np.uintp(left))
            return both[0, 0]
        return np.uint8(0)

    return blend_row


blend32, blend16, blendb16 = make_blend("float32", 4), make_blend("float16", 2), make_blend("bfloat16", 2)


def mix_rows(frame: int, parameters: int) -> None:
    """The share of each record; the rest is the record before it, for the first the last. `OUT` has room for a record."""
    f, share = carray(pointer(frame), FRAME_WORDS, np.int64), carray(pointer(parameters), 1, np.float64)[0]
    f[UNFINISHED] = 1
    count, elements, kind = f[SOURCE_HEIGHT], f[SOURCE_WIDTH], f[OUT_KIND]
    nbytes = elements * (4 if kind == 5 else 2)
    copy(pointer(f[OUT]), pointer(f[SOURCE] + (count - 1) * nbytes), np.uintp(nbytes))
    for k in range(count - 1, -1, -1):
        to, other = f[SOURCE] + k * nbytes, f[SOURCE] + (k - 1) * nbytes if k > 0 else f[OUT]
        if kind == 5:
            blend32(to, other, elements, f32(share), f32(1.0 - share))
        elif kind == 3:
            blend16(to, other, elements, f32(share), f32(1.0 - share))
        else:
            blendb16(to, other, elements, f32(share), f32(1.0 - share))
    f[UNFINISHED] = 0


KERNELS = {"mix_rows": mix_rows}

"""Compiled erasing of a rectangle, last of all: in the slot, in the dtype that is delivered."""

# pyright: basic
# numba's own stubs know nothing of what is compiled.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from streamload.kernels.augment.frame import CHANNELS, FRAME_WORDS, HEIGHT, OUT, WIDTH
from streamload.kernels.augment.vectors import compiled_for, pointer, u8, u16, u32, u64


def make_erase(kind: Any) -> Any:
    """A function that writes elements of a kind."""

    @compiled_for(kind)
    def erase_rectangle(to, h, w, n, woven, top, left, height, width, bits):
        out = carray(pointer(to), n * h * w, kind)
        for c in range(n):
            first, stride = (c, n) if woven else (c * h * w, 1)
            for y in range(top, top + height):
                row = u64(first + (y * w + left) * stride)
                for x in range(u64(width)):
                    out[row + x * u64(stride)] = kind(bits[c])

    return erase_rectangle


erase1, erase2, erase4 = make_erase(u8), make_erase(u16), make_erase(u32)


def erase(frame: int, parameters: int) -> None:
    """Top, left, height and width of the rectangle; bytes of an element; whether channels are woven; the bits of each channel."""
    f = carray(pointer(frame), FRAME_WORDS, np.int64)
    n, h, w = f[CHANNELS], f[HEIGHT], f[WIDTH]
    p = carray(pointer(parameters), 6 + n, np.float64)
    top, left, height, width, nbytes = np.int64(p[0]), np.int64(p[1]), np.int64(p[2]), np.int64(p[3]), np.int64(p[4])
    if nbytes == 1:
        erase1(f[OUT], h, w, n, p[5] != 0.0, top, left, height, width, p[6:])
    elif nbytes == 2:
        erase2(f[OUT], h, w, n, p[5] != 0.0, top, left, height, width, p[6:])
    else:
        erase4(f[OUT], h, w, n, p[5] != 0.0, top, left, height, width, p[6:])


KERNELS = {"erase": erase}

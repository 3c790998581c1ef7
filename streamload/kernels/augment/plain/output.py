"""The last step in NumPy: the same values as the compiled kernels', to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.curves import flush
from streamload.kernels.augment.plain.run import PlainFrame


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of numbers, rounded to even: shape as it was. What is not a number stays none."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), (bits >> 16).astype(np.uint16) | np.uint16(0x40), rounded)


def _written(dtype: str, layout: str) -> Callable[[PlainFrame, NDArray[np.float64]], None]:
    """The kernel of a dtype and a layout."""

    def write(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
        flush(frame)
        n = len(frame.planes)
        values: NDArray[Any] = frame.planes
        if dtype != "uint8":
            scale, shift = parameters[: 2 * n].astype(np.float32).reshape(2, n, 1, 1)
            values = values.astype(np.float32) * scale + shift
        if dtype == "float16":
            values = values.astype(np.float16)
        if dtype == "bfloat16":
            values = bfloat16_bits(values)
        values = np.ascontiguousarray(values if layout == "chw" else values.transpose(1, 2, 0))
        frame.out[: values.nbytes] = values.view(np.uint8).reshape(-1)

    return write


KERNELS = {
    f"{dtype}_{layout}": _written(dtype, layout) for dtype in ("float32", "float16", "bfloat16", "uint8") for layout in ("chw", "hwc")
}

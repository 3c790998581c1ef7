"""Geometry by nearest neighbour in NumPy: the same elements as the compiled kernels'."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.crop import inside, region, settle
from streamload.kernels.augment.plain.run import PlainFrame


def places(begin: float, end: float, size: int, count: int, mode: int, *, centred: bool) -> NDArray[np.int64]:
    """The source pixel of each of `count` output pixels that stretch from begin to end; -1 for none."""
    step = (end - begin) / count
    if centred:
        at = np.add.accumulate(np.concatenate([[begin + step * 0.5], np.full(count - 1, step)]))
    else:
        at = begin + np.arange(count) * step
    return inside(np.floor(at).astype(np.int64), size, mode)


def fills_of(parameters: NDArray[np.float64], dtype: np.dtype) -> NDArray[Any]:
    """The fill of each channel out of its bits, in halves of 32."""
    bits = parameters.astype(np.uint64).reshape(-1, 2)
    whole = bits[:, 0] | bits[:, 1] << np.uint64(32)
    return np.ascontiguousarray(whole.astype(f"u{dtype.itemsize}")).view(dtype)


def nearest(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    h, w, orientation, mode, centred = parameters[4:9].astype(int).tolist()
    height, width, n = frame.source.shape
    x0, y0, x1, y1 = parameters[:4].tolist()
    rows, columns = places(y0, y1, height, h, mode, centred=bool(centred)), places(x0, x1, width, w, mode, centred=bool(centred))
    settle(frame, region(frame.source, rows, columns, fills_of(parameters[9 : 9 + 2 * n], frame.source.dtype)), orientation)


def elements_chw(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    frame.out[: frame.planes.nbytes] = np.ascontiguousarray(frame.planes).view(np.uint8).reshape(-1)


def elements_hwc(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    frame.out[: frame.planes.nbytes] = np.ascontiguousarray(frame.planes.transpose(1, 2, 0)).view(np.uint8).reshape(-1)


KERNELS = {"nearest": nearest, "elements_chw": elements_chw, "elements_hwc": elements_hwc}

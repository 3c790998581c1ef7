"""Crop, pad and flip of volumes in NumPy: the same values as the compiled kernels'."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.frame import HORIZONTAL, TURNED_OVER, VERTICAL
from streamload.kernels.augment.plain.crop import inside
from streamload.kernels.augment.plain.floats import elements_of
from streamload.kernels.augment.plain.nearest import fills_of
from streamload.kernels.augment.plain.run import PlainFrame


def _region(frame: PlainFrame, parameters: NDArray[np.float64], fills: NDArray[Any], dtype: np.dtype) -> NDArray[Any]:
    """The region of a volume, shape (channels, depth, height, width)."""
    depth, z0, y0, x0, d, h, w, flips, mode = parameters[:9].astype(int).tolist()
    tall, width, n = frame.source.shape
    found = frame.source.reshape(depth, tall // depth, width, n).transpose(3, 0, 1, 2).astype(dtype)
    for axis, (begin, count, flip) in enumerate(((z0, d, TURNED_OVER), (y0, h, VERTICAL), (x0, w, HORIZONTAL)), 1):
        places = inside(begin + np.arange(count), found.shape[axis], mode)
        places = places[::-1] if flips & flip else places
        found = np.take(found, places, axis=axis)
        outside = np.expand_dims(places < 0, tuple(k for k in range(4) if k != axis))
        found = np.where(outside, fills[:, None, None, None], found)
    return found


def _put(frame: PlainFrame, values: NDArray[Any], *, woven: bool) -> None:
    values = np.ascontiguousarray(values.transpose(1, 2, 3, 0) if woven else values)
    frame.out[: values.nbytes] = values.view(np.uint8).reshape(-1)


def volume(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    n = frame.source.shape[2]
    fills, scale, shift = parameters[10 : 10 + 3 * n].astype(np.float32).reshape(3, n)
    values = _region(frame, parameters, fills, np.dtype(np.float32)) * scale[:, None, None, None] + shift[:, None, None, None]
    _put(frame, elements_of(values, frame.out_kind), woven=bool(parameters[9]))


def volume_elements(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    n, dtype = frame.source.shape[2], frame.source.dtype
    fills = fills_of(parameters[10 : 10 + 2 * n], dtype)
    _put(frame, _region(frame, parameters, fills, dtype), woven=bool(parameters[9]))


KERNELS = {"volume": volume, "volume_elements": volume_elements}

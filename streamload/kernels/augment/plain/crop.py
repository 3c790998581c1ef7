"""Crop, pad, flip and quarter-turn in NumPy: the same levels as the compiled kernel's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.frame import CONSTANT, EDGE, HORIZONTAL, REFLECT, TRANSPOSED, VERTICAL
from streamload.kernels.augment.plain.run import PlainFrame


def inside(places: NDArray[np.int64], size: int, mode: int) -> NDArray[np.int64]:
    """The pixels that stand at places which may be outside of [0, size); -1 for none."""
    if mode == CONSTANT:
        return np.where((places >= 0) & (places < size), places, -1)
    if mode == EDGE:
        return places.clip(0, size - 1)
    period = max(2 * (size - 1), 1) if mode == REFLECT else 2 * size
    places = places % period
    return np.where(places < size, places, period - places - (mode != REFLECT))


def region(source: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64], fills: NDArray[Any]) -> NDArray[Any]:
    """Planes of the pixels at these rows and columns of (height, width, channels); filled where one is below 0."""
    planes = source[rows][:, columns].transpose(2, 0, 1).copy()
    planes[:, rows < 0] = fills[:, None, None]
    planes[:, :, columns < 0] = fills[:, None, None]
    return planes


def oriented(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Planes transposed, then flipped upside down, then left to right, as the bits say."""
    planes = planes.transpose(0, 2, 1) if orientation & TRANSPOSED else planes
    planes = planes[:, ::-1] if orientation & VERTICAL else planes
    return np.ascontiguousarray(planes[:, :, ::-1] if orientation & HORIZONTAL else planes)


def settle(frame: PlainFrame, planes: NDArray[Any], orientation: int) -> None:
    """Planes of a region become those of the record, turned and flipped."""
    frame.planes = oriented(planes, orientation)
    frame.source = frame.planes.transpose(1, 2, 0)


def crop(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    y0, x0, h, w, orientation, mode = parameters[:6].astype(int).tolist()
    height, width, n = frame.source.shape
    rows, columns = inside(y0 + np.arange(h), height, mode), inside(x0 + np.arange(w), width, mode)
    settle(frame, region(frame.source, rows, columns, parameters[6 : 6 + n].astype(np.uint8)), orientation)


KERNELS = {"crop": crop}

"""Free affine geometry in NumPy: the same elements as the compiled kernels'."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.crop import settle
from streamload.kernels.augment.plain.nearest import fills_of
from streamload.kernels.augment.plain.run import PlainFrame


def _places(parameters: NDArray[np.float64], source: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where in the source the centre of each output pixel lies: x and y, each of shape (h, w)."""
    h, w = parameters[6:8].astype(int).tolist()
    height, width = source.shape[:2]
    m, dx, dy = parameters, (np.arange(w) - (w - 1) * 0.5)[None], (np.arange(h) - (h - 1) * 0.5)[:, None]
    return m[0] * dx + m[1] * dy + m[2] + (width - 1) * 0.5, m[3] * dx + m[4] * dy + m[5] + (height - 1) * 0.5


def affine(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    source = frame.source
    height, width, n = source.shape
    sx, sy = _places(parameters, source)
    x0, y0 = np.floor(sx).astype(np.int64), np.floor(sy).astype(np.int64)
    fx, fy = sx - x0, sy - y0
    fills = np.floor(parameters[8 : 8 + n])

    def level(x: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        found = source[y.clip(0, height - 1), x.clip(0, width - 1)].astype(np.float64).transpose(2, 0, 1)
        return np.where(inside, found, 0.0), inside.astype(np.float64)

    (a, in_a), (b, in_b), (c, in_c), (d, in_d) = level(x0, y0), level(x0 + 1, y0), level(x0, y0 + 1), level(x0 + 1, y0 + 1)
    levels = (a * (1.0 - fx) + b * fx) * (1.0 - fy) + (c * (1.0 - fx) + d * fx) * fy
    part = (in_a * (1.0 - fx) + in_b * fx) * (1.0 - fy) + (in_c * (1.0 - fx) + in_d * fx) * fy
    fill = fills[:, None, None]
    blended = np.where(part < 1.0, np.rint((levels - fill) * part + fill), np.rint(levels))
    outside = ~((sx > -1.0) & (sx < width) & (sy > -1.0) & (sy < height))
    settle(frame, np.where(outside, fill, blended).astype(np.uint8), 0)


def affine_nearest(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    source = frame.source
    height, width, n = source.shape
    sx, sy = _places(parameters, source)
    x, y = np.rint(sx).astype(np.int64), np.rint(sy).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = source[y.clip(0, height - 1), x.clip(0, width - 1)].transpose(2, 0, 1)
    settle(frame, np.where(inside, found, fills_of(parameters[8 : 8 + 2 * n], source.dtype)[:, None, None]), 0)


KERNELS = {"affine": affine, "affine_nearest": affine_nearest}

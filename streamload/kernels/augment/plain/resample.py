"""Bilinear resampling in NumPy: the same levels as the compiled kernel's, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.crop import settle
from streamload.kernels.augment.plain.run import PlainFrame


def _weights(
    begin: float, end: float, size: int, count: int, *, antialias: bool, one: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """How much of each source pixel is in each output pixel, shape (count, size), and the first and last pixels that count."""
    scale = (end - begin) / count
    reach = max(scale, 1.0) if antialias else 1.0
    center, k = (begin + (np.arange(count) + 0.5) * scale)[:, None], np.arange(size)
    low = np.maximum((center - reach + 0.5).astype(np.int64), 0)
    high = np.minimum((center + reach + 0.5).astype(np.int64), size)
    part = np.maximum(0, 1 - np.abs(k - center + 0.5) / reach) * ((k >= low) & (k < high))
    weights = np.minimum(most, (part / part.cumsum(1)[:, -1:] * one + 0.5).astype(np.int64))
    return weights * ((k >= low) & (k < high)), low[:, 0], high[:, 0]


def resampled(source: NDArray[Any], box: list[float], h: int, w: int, *, antialias: bool) -> NDArray[np.uint8]:
    """The box of (height, width, channels) as planes of h x w."""
    height, width, n = source.shape
    down, low, high = _weights(box[1], box[3], height, h, antialias=antialias, one=65536, most=65535)
    across, _, _ = _weights(box[0], box[2], width, w, antialias=antialias, one=32768, most=32767)
    out = np.empty((n, h, w), np.uint8)
    for y in range(h):
        levels = source[low[y] : high[y]].astype(np.int64) * 128 + 64
        row = ((high[y] - low[y]) >> 1) - 64 + (levels * down[y, low[y] : high[y], None, None] >> 16).sum(0)
        out[:, y] = ((across @ row + (1 << 21)) >> 22).T
    return out


def bilinear(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    h, w, orientation, antialias = parameters[4:8].astype(int).tolist()
    settle(frame, resampled(frame.source, parameters[:4].tolist(), h, w, antialias=bool(antialias)), orientation)


KERNELS = {"bilinear": bilinear}

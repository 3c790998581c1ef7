"""Resampling with Pillow's filters in NumPy: the same levels as the compiled kernel's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.crop import settle
from streamload.kernels.augment.plain.run import PlainFrame

BOX, TRIANGLE, CUBIC = 0, 1, 2
BITS = 22


def weight_of(kind: int, x: NDArray[np.floating[Any]], a: float) -> NDArray[np.floating[Any]]:
    """The filter's value at x pixels from the centre."""
    if kind == BOX:
        return ((x > -0.5) & (x <= 0.5)).astype(np.float64)
    x = np.abs(x)
    if kind == TRIANGLE:
        return np.where(x < 1.0, 1.0 - x, 0.0)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return np.where(x < 1.0, near, np.where(x < 2.0, (((x - 5.0) * x + 8.0) * x - 4.0) * a, 0.0))


def taps(begin: float, end: float, size: int, count: int, kind: int, *, antialias: bool) -> NDArray[np.int64]:
    """How much of each source pixel is in each output pixel, in 22 bits: shape (count, size)."""
    scale = (end - begin) / count
    wide = max(scale, 1.0) if antialias else 1.0
    a = -0.5 if antialias else -0.75
    reach = (0.5, 1.0, 2.0)[kind] * wide
    weights = np.zeros((count, size), np.int64)
    for i in range(count):
        center = begin + (i + 0.5) * scale
        low, high = int(np.floor(center - reach + 0.5)), int(np.floor(center + reach + 0.5))
        inner, outer = max(low, 0), min(high, size)
        outer = max(outer, inner + 1)
        if outer > size:
            inner, outer = size - 1, size
        k = np.arange(inner, outer) if antialias else np.arange(low, high)
        parts = weight_of(kind, (k - center + 0.5) * (1.0 / wide), a)
        total, sums = 0.0, np.zeros(size)
        for place, part in zip(k.clip(inner, outer - 1).tolist(), parts.tolist(), strict=True):
            sums[place] += part
            total += part
        sums = sums / total if total else sums
        weights[i] = np.trunc(sums * (1 << BITS) + np.where(sums >= 0, 0.5, -0.5)).astype(np.int64)
        weights[i, :inner] = weights[i, outer:] = 0
    return weights


def resampled(source: NDArray[Any], box: list[float], h: int, w: int, kind: int, *, antialias: bool) -> NDArray[np.uint8]:
    """The box of (height, width, channels) as planes of h x w."""
    across = taps(box[0], box[2], source.shape[1], w, kind, antialias=antialias)
    down = taps(box[1], box[3], source.shape[0], h, kind, antialias=antialias)
    half, (height, width, _) = 1 << (BITS - 1), source.shape
    if h < height and height - h > 2 * (width - w):
        middle = (np.einsum("yk,kxc->cyx", down, source.astype(np.int64)) + half >> BITS).clip(0, 255)
        return (np.einsum("xk,cyk->cyx", across, middle) + half >> BITS).clip(0, 255).astype(np.uint8)
    middle = (np.einsum("xk,ykc->cyx", across, source.astype(np.int64)) + half >> BITS).clip(0, 255)
    return (np.einsum("yk,ckx->cyx", down, middle) + half >> BITS).clip(0, 255).astype(np.uint8)


def filtered(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    h, w, orientation, antialias, kind = parameters[4:9].astype(int).tolist()
    settle(frame, resampled(frame.source, parameters[:4].tolist(), h, w, kind, antialias=bool(antialias)), orientation)


KERNELS = {"filtered": filtered}

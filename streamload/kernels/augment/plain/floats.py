"""Geometry and output in float32 in NumPy: the same values as the compiled kernels', to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.crop import oriented, region
from streamload.kernels.augment.plain.filtered import weight_of
from streamload.kernels.augment.plain.nearest import places
from streamload.kernels.augment.plain.output import bfloat16_bits
from streamload.kernels.augment.plain.run import PlainFrame

f32 = np.float32
NEAREST_EDGE = 4


def _settle(frame: PlainFrame, planes: NDArray[np.float32], orientation: int) -> None:
    frame.planes = oriented(planes, orientation)
    frame.source = frame.planes.transpose(1, 2, 0)


def _taps(
    begin: float, end: float, size: int, count: int, kind: int, *, antialias: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The first source pixel of each output pixel, how many count, and their weights."""
    scale = (end - begin) / count
    wide = max(scale, 1.0) if antialias else 1.0
    a = -0.5 if antialias else -0.75
    reach = (0.5, 1.0, 2.0)[kind] * wide
    room = int(np.ceil(reach)) * 2 + 2
    first, counts, weights = np.empty(count, np.int64), np.empty(count, np.int64), np.zeros((count, room), f32)
    for i in range(count):
        center = begin + (i + 0.5) * scale
        low, high = int(np.floor(center - reach + 0.5)), int(np.floor(center + reach + 0.5))
        inner, outer = max(low, 0), max(min(high, size), max(low, 0) + 1)
        if outer > size:
            inner, outer = size - 1, size
        k = np.arange(inner, outer) if antialias else np.arange(low, high)
        total, sums = 0.0, np.zeros(room)
        for place, part in zip(k.clip(inner, outer - 1) - inner, weight_of(kind, (k - center + 0.5) * (1.0 / wide), a), strict=True):
            sums[place] += part
            total += part
        weights[i, : outer - inner] = (sums / total if total else sums)[: outer - inner]
        first[i], counts[i] = inner, outer - inner
    return first, counts, weights


def _weighed(rows: NDArray[np.float32], taps: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> NDArray[np.float32]:
    """Sums along the last axis, tap by tap."""
    first, counts, weights = taps
    total = np.zeros((*rows.shape[:-1], len(first)), f32)
    for k in range(int(counts.max())):
        there = k < counts
        total[..., there] += rows[..., first[there] + k] * weights[there, k]
    return total


def float_box(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    h, w, orientation, antialias, which, mode = parameters[4:10].astype(int).tolist()
    x0, y0, x1, y1 = parameters[:4].tolist()
    height, width, n = frame.source.shape
    source = frame.source.astype(f32)
    if 0 <= which < 3:
        across = _weighed(source.transpose(2, 0, 1), _taps(x0, x1, width, w, which, antialias=bool(antialias)))
        down = _weighed(across.transpose(0, 2, 1), _taps(y0, y1, height, h, which, antialias=bool(antialias)))
        _settle(frame, down.transpose(0, 2, 1), orientation)
        return
    centred = which != NEAREST_EDGE
    rows, columns = places(y0, y1, height, h, mode, centred=centred), places(x0, x1, width, w, mode, centred=centred)
    _settle(frame, region(source, rows, columns, parameters[10 : 10 + n].astype(f32)), orientation)


def float_affine(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    m, (h, w) = parameters, parameters[6:8].astype(int).tolist()
    source = frame.source.astype(f32).astype(np.float64)
    height, width, n = source.shape
    dx, dy = (np.arange(w) - (w - 1) * 0.5)[None], (np.arange(h) - (h - 1) * 0.5)[:, None]
    sx, sy = m[0] * dx + m[1] * dy + m[2] + (width - 1) * 0.5, m[3] * dx + m[4] * dy + m[5] + (height - 1) * 0.5
    fill = parameters[9 : 9 + n][:, None, None]

    def element(x: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        found = source[y.clip(0, height - 1), x.clip(0, width - 1)].transpose(2, 0, 1)
        return np.where(there, found, 0.0), there.astype(np.float64)

    if parameters[8]:
        found, there = element(np.rint(sx).astype(np.int64), np.rint(sy).astype(np.int64))
        _settle(frame, np.where(there > 0, found, fill.astype(f32)).astype(f32), 0)
        return
    x0, y0 = np.floor(sx).astype(np.int64), np.floor(sy).astype(np.int64)
    fx, fy = sx - x0, sy - y0
    level, part = np.zeros((n, h, w)), np.zeros((h, w))
    for down in range(2):
        (a, in_a), (b, in_b) = element(x0, y0 + down), element(x0 + 1, y0 + down)
        share = fy if down else 1.0 - fy
        level = level + (a * (1.0 - fx) + b * fx) * share
        part = part + (in_a * (1.0 - fx) + in_b * fx) * share
    _settle(frame, np.where(part < 1.0, (level - fill) * part + fill, level).astype(f32), 0)


def elements_of(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Floats as elements of a kind: whole numbers are the nearest that there are."""
    if kind == "bfloat16":
        return bfloat16_bits(values)
    if kind in ("uint8", "uint16", "int16"):
        limits = np.iinfo(kind)
        return np.rint(values.clip(limits.min, limits.max)).astype(kind)
    with np.errstate(over="ignore"):
        return values.astype(kind)


def _written(layout: str) -> Callable[[PlainFrame, NDArray[np.float64]], None]:
    def write(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
        n = len(frame.planes)
        scale, shift = parameters[: 2 * n].astype(f32).reshape(2, n, 1, 1)
        values = elements_of(frame.planes * scale + shift, frame.out_kind)
        values = np.ascontiguousarray(values if layout == "chw" else values.transpose(1, 2, 0))
        frame.out[: values.nbytes] = values.view(np.uint8).reshape(-1)

    return write


KERNELS = {"float_box": float_box, "float_affine": float_affine, "float_chw": _written("chw"), "float_hwc": _written("hwc")}

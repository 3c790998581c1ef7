"""Colour in NumPy: the same levels as the compiled kernels'."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.curves import flush
from streamload.kernels.augment.plain.run import PlainFrame

f32 = np.float32
RED, GREEN, BLUE = f32(0.2989), f32(0.587), f32(0.114)


def fma(x: Any, y: Any, z: Any) -> NDArray[np.float32]:
    """x * y + z rounded once: in float64 the product of such numbers is exact. NumPy 1 goes by arrays alone, unless it is told."""
    return np.add(np.multiply(x, y, dtype=np.float64), z, dtype=np.float64).astype(f32)


def grey(planes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Whole levels of grey."""
    r, g, b = planes.astype(f32)
    return np.floor(fma(b, BLUE, fma(g, GREEN, r * RED)))


def blend(planes: NDArray[np.uint8], factor: float, other: Any) -> NDArray[np.uint8]:
    """Levels times a factor, plus others times the rest."""
    return np.clip(fma(other, f32(1.0 - factor), planes.astype(f32) * f32(factor)), 0, 255).astype(np.uint8)


def brightness(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    if frame.table is None:
        frame.planes = np.minimum(frame.planes.astype(f32) * f32(parameters[0]), f32(255)).astype(np.uint8)
    else:
        frame.table = np.minimum(frame.table.astype(f32) * f32(parameters[0]), f32(255)).astype(np.uint8)


def contrast(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    flush(frame)
    levels = grey(frame.planes) if len(frame.planes) == 3 else frame.planes[0]
    frame.planes = blend(frame.planes, parameters[0], f32(levels.mean(dtype=np.float64)))


def saturation(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    flush(frame)
    frame.planes = blend(frame.planes, parameters[0], grey(frame.planes))


def hue(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    flush(frame)
    factor = float(parameters[0])
    r, g, b = frame.planes.astype(f32)
    most, least = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    over = f32(1) / np.maximum(most - least, f32(1))
    angle = np.where(r == most, (g - b) * over + f32(6), np.where(g == most, (b - r) * over + f32(2), (r - g) * over + f32(4)))
    angle = angle + f32(6 * (factor if factor >= 0 else factor + 1))
    for _ in range(2):
        angle = np.where(angle >= 6, angle - f32(6), angle)
    turns = [np.where(angle + f32(n) >= 6, angle + f32(n) - f32(6), angle + f32(n)) for n in (5, 3, 1)]
    parts = [most - (most - least) * np.clip(np.minimum(t, f32(4) - t), f32(0), f32(1)) for t in turns]
    frame.planes = np.stack([(part * f32(255.999 / 255)).astype(np.uint8) for part in parts])


def grayscale(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    flush(frame)
    levels = grey(frame.planes).astype(np.uint8) if len(frame.planes) == 3 else frame.planes[0]
    frame.planes = np.repeat(levels[None], int(parameters[0]), axis=0)


def permute_channels(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    flush(frame)
    frame.planes = frame.planes[parameters[: len(frame.planes)].astype(int)]


KERNELS = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
    "grayscale": grayscale,
    "permute_channels": permute_channels,
}

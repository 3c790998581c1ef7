"""Gaussian blur and sharpness in NumPy: the same levels as the compiled kernels'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.frame import REFLECT
from streamload.kernels.augment.plain.color import fma
from streamload.kernels.augment.plain.crop import inside
from streamload.kernels.augment.plain.curves import flush
from streamload.kernels.augment.plain.run import PlainFrame

f32 = np.float32


def gaussian_blur(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    flush(frame)
    wide, tall_size = parameters[:2].astype(int).tolist()
    across, down = np.split(parameters[2 : 2 + wide + tall_size].astype(f32), [wide])
    _, h, w = frame.planes.shape
    rows, columns = (inside(np.arange(n + len(s) - 1) - len(s) // 2, n, REFLECT) for n, s in ((h, down), (w, across)))
    tall, total = frame.planes[:, rows].astype(f32), np.zeros(frame.planes.shape, f32)
    for k, weight in enumerate(down):
        total = fma(tall[:, k : k + h], weight, total)
    wide, total = total[:, :, columns], np.zeros(frame.planes.shape, f32)
    for k, weight in enumerate(across):
        total = fma(wide[:, :, k : k + w], weight, total)
    frame.planes = np.rint(np.clip(total, 0, 255)).astype(np.uint8)


def sharpness(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    flush(frame)
    _, h, w = frame.planes.shape
    if h <= 2 or w <= 2:
        return
    levels = frame.planes.astype(np.int32)
    around = sum((levels[:, y : h - 2 + y, x : w - 2 + x] for y in range(3) for x in range(3) if (y, x) != (1, 1)), np.int32(0))
    inner = frame.planes[:, 1:-1, 1:-1].astype(f32)
    soft = np.rint(np.asarray(around).astype(f32) * f32(1.0 / 13.0) + inner * f32(5.0 / 13.0))
    frame.planes = frame.planes.copy()
    frame.planes[:, 1:-1, 1:-1] = np.clip(fma(soft - inner, f32(1.0 - float(parameters[0])), inner), 0, 255).astype(np.uint8)


KERNELS = {"gaussian_blur": gaussian_blur, "sharpness": sharpness}

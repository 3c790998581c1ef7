"""Curves in NumPy: the same tables as the compiled kernels'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.run import PlainFrame

f32 = np.float32


def tables(frame: PlainFrame) -> NDArray[np.uint8]:
    """The pending table, which is made one that changes nothing where there is none: shape (channels, 256)."""
    if frame.table is None:
        frame.table = np.tile(np.arange(256, dtype=np.uint8), (len(frame.planes), 1))
    return frame.table


def flush(frame: PlainFrame) -> None:
    """Let the planes hold what they stand for."""
    if frame.table is not None:
        for plane, table in zip(frame.planes, frame.table, strict=True):
            plane[:] = table[plane]
        frame.table = None


def _histogram(frame: PlainFrame, c: int) -> NDArray[np.int64]:
    return np.bincount(tables(frame)[c][frame.planes[c]].reshape(-1), minlength=256)


def curve(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    frame.table = np.ascontiguousarray(parameters).view(np.uint8)[tables(frame)]


def equalize(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    made = tables(frame)
    for c, plane in enumerate(frame.planes):
        counts = _histogram(frame, c)
        step = (plane.size - int(counts[counts.nonzero()[0][-1]])) // 255
        if step:
            before = np.concatenate([[0], counts.cumsum()[:-1]])
            made[c] = np.minimum((step // 2 + before) // step, 255).astype(np.uint8)[made[c]]


def autocontrast(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    made = tables(frame)
    for c in range(len(made)):
        present = _histogram(frame, c).nonzero()[0]
        low, high = int(present[0]), int(present[-1])
        if low < high:
            scale = f32(f32(high - low) * f32(1.0 / 255.0))
            levels = np.clip((np.arange(256, dtype=f32) - f32(low)) / scale, f32(0), f32(255))
            made[c] = levels.astype(np.uint8)[made[c]]


KERNELS = {"curve": curve, "equalize": equalize, "autocontrast": autocontrast}

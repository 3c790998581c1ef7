"""Mixing of a batch in NumPy: the same values as the compiled kernel's, to the bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.run import PlainFrame

f32 = np.float32


def mix_rows(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    rows, share = frame.source[:, :, 0], float(parameters[0])
    mine, before = rows.astype(f32) * f32(share), np.roll(rows, 1, axis=0).astype(f32) * f32(1.0 - share)
    rows[:] = (mine + before).astype(rows.dtype)


KERNELS = {"mix_rows": mix_rows}

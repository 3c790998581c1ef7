"""Erasing of a rectangle in NumPy: the same elements as the compiled kernel's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.kernels.augment.plain.run import PlainFrame


def erase(frame: PlainFrame, parameters: NDArray[np.float64]) -> None:
    """See the compiled kernel."""
    top, left, height, width, nbytes, woven = parameters[:6].astype(int).tolist()
    n, h, w = frame.planes.shape
    out = frame.out[: n * h * w * nbytes].view(f"u{nbytes}")
    planes = out.reshape(h, w, n).transpose(2, 0, 1) if woven else out.reshape(n, h, w)
    planes[:, top : top + height, left : left + width] = parameters[6 : 6 + n].astype(f"u{nbytes}")[:, None, None]


KERNELS = {"erase": erase}

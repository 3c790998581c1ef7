"""What numbers beside raw pixels say of their shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def shape_said(first: Mapping[str, Any], nbytes: int) -> tuple[int, ...] | None:
    """The shape of raw pixels, where numbers beside them say it, as is usual in TFRecord files."""
    beside = {name.rpartition("/")[2]: value for name, value in first.items() if not isinstance(value, bytes) and value.shape == ()}
    for names in (("height", "width", "depth"), ("height", "width", "channels"), ("rows", "cols", "depth"), ("height", "width")):
        if all(name in beside for name in names):
            shape = tuple(int(beside[name]) for name in names)
            if min(shape) > 0 and np.prod(shape, dtype=object) == nbytes:
                return shape
    return None

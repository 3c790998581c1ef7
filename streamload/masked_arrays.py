"""Arrays of `numpy.ma`, whose masks `np.asarray` drops: what lies under one would be taken for a value in silence."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from streamload.errors import ConfigError


def refuse_masked(value: Any, what: str) -> None:
    """Raise ConfigError where some elements of a value are masked; `what` names the value."""
    masked_arrays = sys.modules.get("numpy.ma")  # Whoever has such an array has imported it.
    if type(value) is np.ndarray or masked_arrays is None or not isinstance(value, masked_arrays.MaskedArray):
        return
    masked, size = int(masked_arrays.count_masked(value)), int(value.size)
    if masked:
        raise ConfigError(
            f"{what} is a masked array, {masked:,} of whose {size:,} elements are masked: what lies under the mask is no value.",
            hint="Give what is meant: array.filled(value), or array.compressed() without what is masked.",
        )

"""Numbers of 64 bits for a framework that has 32 of them: narrowed after a look at every one, never cut."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def narrowed(array: NDArray[Any], dtype: np.dtype[Any], name: str, *, cure: str) -> NDArray[Any]:
    """The array in a narrower dtype of the same kind, itself where it has that.

    Raises OverflowError where a value is out of range, naming the field `name`; floats are rounded, and may be infinite only
    where they were before.
    """
    if array.dtype == dtype or not array.size:
        return array.astype(dtype, copy=False)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        for extreme in (array.min(), array.max()):
            if not limits.min <= int(extreme) <= limits.max:
                raise _overflow(int(extreme), name, dtype, cure)
        return array.astype(dtype)
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    infinite = np.isinf(narrow)
    if infinite.any() and bool((infinite & ~np.isinf(array)).any()):
        raise _overflow(array[infinite & ~np.isinf(array)][0].item(), name, dtype, cure)
    return narrow


def _overflow(value: object, name: str, dtype: np.dtype[Any], cure: str) -> OverflowError:
    return OverflowError(f"the field {name!r} holds {value}, which {dtype} cannot. {cure}")

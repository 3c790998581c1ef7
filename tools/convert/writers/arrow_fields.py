"""Fields as Arrow columns that can be read by offset: arrays become binary of fixed size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streamload.schema import Field


def _plain(field: Field) -> bool:
    """Whether Arrow has the type of the field's records itself."""
    return field.shape == () and field.dtype.kind in "buif" and field.dtype.itemsize <= 8


def arrow_field(field: Field) -> Any:
    """The column for a field: a plain type where Arrow has it, else binary of fixed size that says its shape and dtype."""
    if _plain(field):
        return pa.field(field.name, pa.from_numpy_dtype(field.dtype), nullable=False)
    said = {"shape": json.dumps(list(field.shape)), "dtype": str(field.dtype.newbyteorder("="))}
    return pa.field(field.name, pa.binary(field.nbytes), nullable=False, metadata=said)


def arrow_array(values: NDArray[Any], field: Field) -> Any:
    """Records of a field as an Arrow array; nothing is copied where the values are little-endian already."""
    if _plain(field):
        return pa.array(values)
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return pa.Array.from_buffers(pa.binary(field.nbytes), len(values), [None, pa.py_buffer(little)])

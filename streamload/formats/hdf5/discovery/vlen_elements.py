"""What the elements of variable-length records are, where attributes say more than HDF5's own type can."""

from __future__ import annotations

import math
from typing import NamedTuple

import h5py
import numpy as np
from h5py import h5a, h5d  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.hdf5.discovery.member_types import Member
from streamload.schema import ARRAY, BYTES

LISTS, DTYPE, SHAPE = "ragged", "element_dtype", "element_shape"
"""Attributes of a dataset: "array" where records of bytes are arrays of numbers; the dtype of moments that are stored as whole
numbers; and the shape of elements that are stored one after the other."""
MOST_ELEMENT = 2**31
"""Numbers of an element."""


class Elements(NamedTuple):
    """What an element of a record is."""

    ragged: str
    """How records differ in length."""
    dtype: np.dtype
    shape: tuple[int, ...]


def elements_said(dataset: h5d.DatasetID, member: Member) -> Elements:
    """What a member of variable length holds. Attributes that do not fit it say nothing."""
    plain = Elements(member.ragged, member.dtype.base, ())
    if member.names or member.ragged not in (ARRAY, BYTES) or not h5a.exists(dataset, LISTS.encode()):
        return plain
    attributes = h5py.AttributeManager(h5py.Dataset(dataset))
    try:
        if attributes.get(LISTS) != ARRAY:
            return plain
        shape = tuple(int(side) for side in np.asarray(attributes.get(SHAPE, ()), np.int64).reshape(-1))
        dtype = np.dtype(str(attributes.get(DTYPE, plain.dtype.str)))
    except (OSError, RuntimeError, TypeError, ValueError):
        return plain
    if min(shape, default=1) <= 0 or math.prod(shape) > MOST_ELEMENT:
        return plain
    moments = dtype.kind in "Mm" and plain.dtype.kind == "i" and plain.dtype.itemsize == dtype.itemsize
    return Elements(ARRAY, dtype if moments else plain.dtype, shape)

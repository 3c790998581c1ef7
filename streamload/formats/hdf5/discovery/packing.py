"""What a dataset says of how its values are packed."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.derived.packing import SAID, Packing, packing_from


def packing_of(dataset: h5d.DatasetID, dtype: np.dtype) -> Packing | None:
    """How values of a numeric dataset are packed, as its attributes say; None where they are not."""
    if dtype.kind not in "iuf" or not any(h5a.exists(dataset, name.encode()) for name in SAID):
        return None
    attributes = h5py.AttributeManager(h5py.Dataset(dataset))
    return packing_from({name: _value(attributes, name) for name in SAID}, dtype)


def _value(attributes: h5py.AttributeManager, name: str) -> Any:
    """The value of an attribute, None where it is not there; what went wrong, which is no number, where it cannot be read."""
    try:
        return attributes.get(name)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        return error

"""What a dataset says of how its values are packed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.derived.packing import SAID, Packing, packing_from

OF_COMPOUND = "what its dataset says is of a compound of members, and not of this one"


def packing_of(dataset: h5d.DatasetID, dtype: np.dtype, *, is_member: bool) -> Packing | None:
    """How values of a numeric dataset, or of a member of a compound one, are packed, as its attributes say; None where they are not."""
    if dtype.kind not in "iufbc" or not any(h5a.exists(dataset, name.encode()) for name in SAID):
        return None
    attributes = h5py.AttributeManager(h5py.Dataset(dataset))
    found = packing_from({name: _value(attributes, name) for name in SAID}, dtype)
    return replace(found, unclear=OF_COMPOUND) if found is not None and is_member else found


def _value(attributes: h5py.AttributeManager, name: str) -> Any:
    """The value of an attribute, None where it is not there; what went wrong, which is no number, where it cannot be read."""
    try:
        return attributes.get(name)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        return error

"""Values that are packed as netCDF does it: scale_factor, add_offset, and a value that stands for missing."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.hdf5.metadata import Packing

SCALE, OFFSET = b"scale_factor", b"add_offset"
MISSING = (b"_FillValue", b"missing_value")


def packing_of(dataset: h5d.DatasetID, dtype: np.dtype) -> Packing | None:
    """How values of a numeric dataset are packed, as its attributes say; None where they are not."""
    if dtype.kind not in "iuf" or not any(h5a.exists(dataset, name) for name in (SCALE, OFFSET, *MISSING)):
        return None
    attributes = h5py.AttributeManager(h5py.Dataset(dataset))
    said = {name: _numbers(attributes, name) for name in (SCALE, OFFSET, *MISSING)}
    missing = tuple(dict.fromkeys(value for name in MISSING for value in _plain(said[name])))
    scale, offset = (_plain(said[name])[:1] for name in (SCALE, OFFSET))
    if not scale and not offset and not missing:
        return None
    kinds = [one.dtype for one in (said[SCALE], said[OFFSET]) if one is not None]
    kinds = kinds or [dtype if dtype.kind == "f" else np.dtype("f8")]
    single = all(one.kind == "f" and one.itemsize <= 4 for one in kinds)
    return Packing(scale=scale[0] if scale else 1.0, offset=offset[0] if offset else 0.0, missing=missing, dtype="f4" if single else "f8")


def _numbers(attributes: h5py.AttributeManager, name: bytes) -> Any:
    """The numbers of an attribute; None where it is not there, or holds something else."""
    try:
        value = np.asarray(attributes.get(name.decode()))
    except (OSError, RuntimeError, TypeError, ValueError):
        return None
    return value if value.dtype.kind in "iuf" and value.size else None


def _plain(value: Any) -> tuple[float, ...]:
    return () if value is None else tuple(float(one) for one in value.reshape(-1)[:8])

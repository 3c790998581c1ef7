"""What a dataset says of itself: small attributes of numbers and text, without those that the library and netCDF keep for themselves."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5t  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.attributes import MOST_NAMES_NBYTES, MOST_NBYTES, attributes_to_json
from streamload.formats.hdf5.discovery import vlen_elements
from streamload.formats.hdf5.metadata import CLASSES

INTERNAL = frozenset(
    ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict")
)
OWN = frozenset((vlen_elements.LISTS, vlen_elements.DTYPE, vlen_elements.SHAPE))
MOST = 64
"""Attributes that are looked at."""
_KINDS = (h5t.INTEGER, h5t.FLOAT, h5t.STRING, h5t.ENUM)


def attributes_of(dataset: h5d.DatasetID) -> str:
    """The attributes as JSON; "" where there are none."""
    count = min(MOST, h5a.get_num_attrs(dataset))
    named = _names_of_type(dataset)
    if not count and not named:
        return ""
    held, found = h5py.AttributeManager(h5py.Dataset(dataset)), dict[str, Any]()
    for number in range(count):
        attribute = h5a.open(dataset, index=number)
        name = attribute.name.decode(errors="replace")
        if name in INTERNAL or name in OWN or attribute.get_type().get_class() not in _KINDS or attribute.get_storage_size() > MOST_NBYTES:
            continue
        try:
            value = _plain(held.get(name))
        except (OSError, RuntimeError, TypeError, ValueError):
            continue
        if value is not None:
            found[name] = value
    words = {name: found.pop(name) for name in (CLASSES,) if name in found} or ({CLASSES: named} if named else {})
    if len(attributes_to_json(found)) > MOST_NBYTES:
        found = {}
    if len(attributes_to_json(words)) > MOST_NAMES_NBYTES:
        words = {}
    return attributes_to_json(found | words) if found or words else ""


def _names_of_type(dataset: h5d.DatasetID) -> list[str]:
    """What an enumerated type calls the numbers 0, 1, 2 and so on; none where it numbers otherwise."""
    kind = dataset.get_type()
    if kind.get_class() != h5t.ENUM:
        return []
    names = {int(kind.get_member_value(at)): kind.get_member_name(at) for at in range(kind.get_nmembers())}
    return [names[number].decode(errors="replace") for number in range(len(names))] if set(names) == set(range(len(names))) else []


def _plain(value: Any) -> Any:
    """A value as text, a list of texts, or numbers; None for what is none of these."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
        texts = [one.decode() if isinstance(one, bytes) else one for one in value.reshape(-1)]
        return texts if all(isinstance(one, str) for one in texts) else None
    return value if isinstance(value, (str, np.ndarray, np.generic)) else None

"""What files say of a field besides its values, such as its unit: texts, lists of texts, and arrays of numbers; and these as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np

MOST_NBYTES = 64 * 1024
"""Of all attributes of a field, as JSON: a file that says more of one is not listened to."""
MOST_NAMES_NBYTES = 4 * 1024**2
"""Of the names of classes of a field, as JSON, which stand among the attributes in some formats."""


def attributes_to_json(attributes: Mapping[str, Any]) -> str:
    """Attributes as text, those that are none of these kinds left out."""
    said = {name: _plain(value) for name, value in attributes.items()}
    return json.dumps({name: one for name, one in said.items() if one is not None})


def attributes_from_json(text: str) -> dict[str, Any]:
    """What `attributes_to_json` wrote down: `str`, lists of `str`, NumPy's scalars and arrays. Raises ValueError for anything else."""
    try:
        said: Any = json.loads(text) if len(text) <= MOST_NBYTES + MOST_NAMES_NBYTES else None
        return {str(name): _value(one) for name, one in said.items()}
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("these are no attributes") from error


def agreed(attributes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Those that are the same in all."""
    every = list(attributes)
    return {name: one for name, one in every[0].items() if all(_same(one, other.get(name)) for other in every[1:])} if every else {}


def _same(one: Any, other: Any) -> bool:
    return other is not None and _plain(one) == _plain(other)


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for what it cannot have."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in cast("list[Any]", value)):
        return list(cast("list[str]", value))
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return None
    return {"dtype": array.dtype.newbyteorder("=").str, "shape": list(array.shape), "values": array.reshape(-1).tolist()}


def _value(said: Any) -> Any:
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return [str(one) for one in cast("list[Any]", said)]
    dtype = np.dtype(str(said["dtype"]))
    if dtype.kind not in "biuf":
        raise ValueError(f"{dtype} is no type of an attribute")
    return np.array(said["values"], dtype).reshape(tuple(map(int, said["shape"])))[()]

"""The groups and arrays of a store."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any, NamedTuple

from streamload.errors import CorruptDataError, StreamloadError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.derived.packing import OFFSET, SCALE
from streamload.formats.zarr.metadata import ArrayInfo, array_of_v2, array_of_v3, float_of_base64, nodes_in, unreadable_store
from streamload.formats.zarr.stores import Store

MOST_NODES = 10_000
"""Groups and arrays of a store that are looked at."""
DEEPEST = 32
"""Groups within groups."""
ALONE = "data"
"""What an array is called that is the whole store."""


class Nodes(NamedTuple):
    """What a store holds."""

    arrays: dict[str, ArrayInfo]
    """By name: the path in the store."""
    aside: dict[str, str]
    """Arrays that cannot be fields, and why: words that go on after the name."""
    unsafe: dict[str, str]
    """Arrays that could run anything, and why."""
    damaged: dict[str, str]
    """Arrays whose attributes cannot be read and count as none, and why."""
    strays: list[str]
    """Files in groups, and folders ("x/") in them, that are neither array nor group."""


def nodes_of(store: Store) -> Nodes:
    """All arrays of a store. Raises CorruptDataError for descriptions that nobody could have written."""
    found = Nodes({}, {}, {}, {}, [])
    waiting = [("", 0)]
    seen = 0
    while waiting:
        key, depth = waiting.pop()
        seen += 1
        if seen > MOST_NODES:
            raise UnsupportedFeatureError(
                f"{store.path} holds more than {MOST_NODES:,} groups and arrays.", hint="Open one of its groups by itself.", path=store.path
            )
        if not _look(store, key, found) and depth < DEEPEST:
            before = f"{key}/" if key else ""
            found.strays.extend(f"{before}{name}" for name in store.beside(key))
            waiting += [(f"{before}{name}", depth + 1) for name in reversed(store.below(key))]
    return found


def _look(store: Store, key: str, found: Nodes) -> bool:
    """Note what lies at a key; whether that ends there, as an array does, or what is no node of a store."""
    before = f"{key}/" if key else ""
    name = key or ALONE
    try:
        data, version = store.read(f"{before}zarr.json"), 3
        if data is None:
            data, version = store.read(f"{before}.zarray"), 2
        if data is None:
            is_group = store.read(f"{before}.zgroup") is not None
            if not is_group and not os.path.basename(key).startswith("."):
                found.strays.append(before)
            return not is_group
        said = nodes_in(data, key)
        if version == 3 and _is_group(said):
            return False
        if said.get("zarr_format") != version:
            raise ValueError(f"it says zarr_format {said.get('zarr_format')!r}")
        array = array_of_v3(said, key) if version == 3 else array_of_v2(said, key)
        try:
            found.arrays[name] = replace(array, attributes=_attributes(store, before, said, version))
        except (CorruptDataError, ValueError, RecursionError) as error:
            # Whoever reads values as they are stored needs none of these.
            found.arrays[name] = array
            found.damaged[name] = (error.message if isinstance(error, CorruptDataError) else str(error)).rstrip(".")
    except UnsafeSourceError as error:
        if error.path is not None:
            raise
        found.unsafe[name] = error.message
    except UnsupportedFeatureError as error:
        if error.path is not None:
            raise
        found.aside[name] = error.message
    except StreamloadError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, json.JSONDecodeError) as error:
        raise _unreadable(store, key, error) from error
    return True


def _attributes(store: Store, before: str, said: dict[str, Any], version: int) -> dict[str, Any]:
    """What an array says of itself. Raises CorruptDataError, ValueError or RecursionError where that is damaged.

    As xarray has it, the fill value of a packed array of version 2 stands for missing values.
    """
    if version == 3:
        told = said.get("attributes") or {}
        if not isinstance(told, dict):
            raise ValueError("its attributes are no object of JSON")
        missing = told.get("_FillValue")
        number = float_of_base64(missing) if isinstance(missing, str) else None
        return told if number is None else told | {"_FillValue": number}
    data = store.read(f"{before}.zattrs")
    told = {} if data is None else nodes_in(data, f"{before}.zattrs")
    packed = "_ARRAY_DIMENSIONS" in told and (SCALE in told or OFFSET in told)
    return told | ({"_FillValue": said.get("fill_value")} if packed and "_FillValue" not in told else {})


def _is_group(said: dict[str, Any]) -> bool:
    if said.get("node_type") not in ("group", "array"):
        raise ValueError(f"it says node_type {said.get('node_type')!r}")
    return said["node_type"] == "group"


def _unreadable(store: Store, key: str, error: Exception) -> CorruptDataError:
    what = f"'{key}': " if key else ""
    return unreadable_store(store.path, f"{what}{type(error).__name__}: {error}" if isinstance(error, KeyError) else f"{what}{error}")

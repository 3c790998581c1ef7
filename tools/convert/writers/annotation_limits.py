"""Names of classes and attributes that files of a format cannot hold: nothing that is said of a field is lost unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamload.formats.npy.planning import ATTRIBUTES, CLASSES


def annotation_not_held(name: str, format_name: str, names: Sequence[str], words: Sequence[str], attributes: Mapping[str, Any]) -> str:
    """What files of a format have no place for of the names of classes and the attributes of a field, and why; "" for nothing.

    `names` are those of all fields that are written.
    """
    if format_name == "npy":
        told = "names of classes" if words else "attributes" if attributes else ""
        return told and f"{told}, and .npy files have no place for them"
    if format_name == "npz":
        return _not_in_npz(name, names, words, attributes)
    if format_name == "hdf5":
        from streamload.tools.convert.writers.hdf5_limits import said_not_held  # It loads h5py.

        return said_not_held(words, attributes)
    return ""


def _not_in_npz(name: str, names: Sequence[str], words: Sequence[str], attributes: Mapping[str, Any]) -> str:
    for ending, told, held in ((CLASSES, "names of classes", words), (ATTRIBUTES, "attributes", attributes)):
        if held and name + ending in names:
            return f"{told}, whose place in .npz files, '{name}{ending}', is that of another field"
    if any(word.endswith("\0") for word in words):
        return "names of classes that end with zero bytes, which .npz files do not keep"
    return ""

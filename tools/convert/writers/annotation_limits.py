"""Names of classes and attributes that files of a format cannot hold: nothing that is said of a field is lost unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamload.attributes import MOST_NAMES_NBYTES, attributes_to_json
from streamload.formats.npy import ATTRIBUTES, CLASSES

HDF5_NBYTES = 60_000
"""Of one attribute; the library takes 64 KB with what it says of it."""
HDF5_TEXTS = 4_000
"""In a list of texts, each of which takes 16 bytes where it is said."""


def annotation_not_held(name: str, format_name: str, names: Sequence[str], words: Sequence[str], attributes: Mapping[str, Any]) -> str:
    """What files of a format have no place for of the names of classes and the attributes of a field, and why; "" for nothing.

    `names` are those of all fields that are written.
    """
    if format_name == "npy":
        told = "names of classes" if words else "attributes" if attributes else ""
        return told and f"{told}, and .npy files have no place for them"
    if format_name == "npz":
        return _not_in_npz(name, names, words, attributes)
    return _not_in_hdf5(words, attributes) if format_name == "hdf5" else ""


def _not_in_npz(name: str, names: Sequence[str], words: Sequence[str], attributes: Mapping[str, Any]) -> str:
    for ending, told, held in ((CLASSES, "names of classes", words), (ATTRIBUTES, "attributes", attributes)):
        if held and name + ending in names:
            return f"{told}, whose place in .npz files, '{name}{ending}', is that of another field"
    if any(word.endswith("\0") for word in words):
        return "names of classes that end with zero bytes, which .npz files do not keep"
    return ""


def _not_in_hdf5(words: Sequence[str], attributes: Mapping[str, Any]) -> str:
    if not all(map(_is_text, words)):
        return "names of classes that HDF5 cannot hold: they have zero bytes in them, or are not UTF-8"
    if words and len(attributes_to_json({"": list(words)})) > MOST_NAMES_NBYTES:
        return f"{len(words):,} names of classes, more than HDF5 files are read with"
    for key, value in attributes.items():
        texts = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else []
        if not key or not all(map(_is_text, (key, *texts))):
            return f"an attribute {key!r} that HDF5 cannot hold: zero bytes, no UTF-8, or no name"
        if len(texts) > HDF5_TEXTS or (not texts and np.asarray(value).nbytes > HDF5_NBYTES):
            return f"an attribute {key!r} of more than the 64 KB that HDF5 holds"
    return ""


def _is_text(text: str) -> bool:
    """Whether HDF5 gives a text back as it was."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False

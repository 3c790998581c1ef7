"""What HDF5 files would hold as something else: names that are paths or kept by programs for themselves, and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamload.formats.attributes import MOST_NAMES_NBYTES, attributes_to_json
from streamload.formats.hdf5.discovery.attributes import INTERNAL, OWN
from streamload.formats.hdf5.discovery.internals import are_weights, internal
from streamload.formats.hdf5.metadata import CLASSES, FIELD_NAME
from streamload.formats.naming.field_names import is_utf8
from streamload.formats.split_choice import may_be_of_split

RESERVED = INTERNAL | OWN | {CLASSES, FIELD_NAME}
"""Attributes that are read as something else than what is said of a field."""
MOST_NBYTES = 60_000
"""Of one attribute; the library takes 64 KB with what it says of it."""
MOST_TEXTS = 4_000
"""In a list of texts, each of which takes 16 bytes where it is said."""


def name_not_held(name: str, names: Sequence[str]) -> str:
    """Why a file could not give a field back under its name, beside others; "" where it can."""
    parts = name.split("/")
    if any(part in ("", ".") for part in parts):
        return "is a name that HDF5 files cannot hold, which take it for a path"
    below = next((one for one in names if one.startswith(f"{name}/")), None)
    if below is not None:
        return f"is a name that HDF5 files cannot hold beside '{below}', which makes it a group"
    if any(internal("/".join(parts[:depth])) for depth in range(1, len(parts) + 1)):
        return "is a name under which programs keep things for themselves in HDF5 files"
    return "is a name that HDF5 files have for the weights of a Keras model" if are_weights(names) else ""


def says_its_name(name: str) -> bool:
    """Whether a dataset must say that its path is the name of a field.

    Its last part would be, or datasets like it one field, or records of a split: by a number in its name, or a word such as train.
    """
    return "/" in name or any(map(str.isdecimal, name)) or may_be_of_split(name)


def said_not_held(words: Sequence[str], attributes: Mapping[str, Any]) -> str:
    """What a dataset has no place for of the names of classes and the attributes of a field, and why; "" for nothing."""
    if not all(map(_is_text, words)):
        return "names of classes that HDF5 cannot hold: they have zero bytes in them, or are not UTF-8"
    if words and len(attributes_to_json({"": list(words)})) > MOST_NAMES_NBYTES:
        return f"{len(words):,} names of classes, more than HDF5 files are read with"
    for key, value in attributes.items():
        texts = [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else []
        if not key or not all(map(_is_text, (key, *texts))):
            return f"an attribute {key!r} that HDF5 cannot hold: zero bytes, no UTF-8, or no name"
        if key in RESERVED:
            return f"an attribute {key!r}, which means something else in HDF5 files"
        if len(texts) > MOST_TEXTS or (not texts and np.asarray(value).nbytes > MOST_NBYTES):
            return f"an attribute {key!r} of more than the 64 KB that HDF5 holds"
    return ""


def _is_text(text: str) -> bool:
    """Whether HDF5 gives a text back as it was."""
    return is_utf8(text) and "\0" not in text

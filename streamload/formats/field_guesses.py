"""What names and values in a container say of fields: names without slashes, shapes beside raw pixels, and what is text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamload.errors import SchemaMismatchError

KNOWN = {"image/encoded": "image", "image_raw": "image", "image/class/label": "label"}
"""What well-known fields are called here."""


def shape_said(first: Mapping[str, Any], nbytes: int) -> tuple[int, ...] | None:
    """The shape of raw pixels, where numbers beside them say it, as is usual in TFRecord files."""
    beside = {name.rpartition("/")[2]: value for name, value in first.items() if not isinstance(value, bytes) and value.shape == ()}
    for names in (("height", "width", "depth"), ("height", "width", "channels"), ("rows", "cols", "depth"), ("height", "width")):
        if all(name in beside for name in names):
            shape = tuple(int(beside[name]) for name in names)
            if min(shape) > 0 and np.prod(shape, dtype=object) == nbytes:
                return shape
    return None


def is_text(values: list[bytes]) -> bool:
    """Whether bytes are text: then they are no pixels."""
    try:
        return all(value.decode().isprintable() for value in values)
    except UnicodeDecodeError:
        return False


def plain_names(stored: Sequence[str]) -> dict[str, str]:
    """The names under which fields are delivered, and those that they are stored under: without slashes, which would make groups in HDF5.

    Names that differ stay different, whatever order they come in. Raises SchemaMismatchError where that cannot be.
    """
    own = {name for name in stored if name not in KNOWN and "/" not in name}
    names: dict[str, str] = {name: name for name in sorted(own)}
    for name in sorted(set(stored) - own):
        wished = [KNOWN.get(name, ""), name.replace("/", "_"), name.replace("/", "__")]
        plain = next((one for one in wished if one and one not in names), None)
        if plain is None:
            raise SchemaMismatchError(
                f"The fields {name!r} and {names[name.replace('/', '_')]!r} would have one name.",
                hint="Choose one of them, and name it: --fields NEW=STORED.",
            )
        names[plain] = name
    return {plain: name for name in stored for plain, other in names.items() if other == name}

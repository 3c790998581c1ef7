"""What Arrow schemas say of columns besides their types: names of classes, and attributes."""

from __future__ import annotations

import json
from typing import Any

from streamload.formats.attributes import attributes_from_json
from streamload.formats.naming.class_names import class_names

MOST_FEATURES_NBYTES = 16 * 1024**2
"""Of what Hugging Face says of the features of a file."""
CLASSES, ATTRIBUTES = "classes", "attributes"
"""What the metadata of a column holds as JSON: names of classes, and what is said of it that is no text."""
TYPED = frozenset(("shape", "dtype", CLASSES))
"""What the metadata of a column says of its type."""


def attributes_in(schema: Any) -> dict[str, dict[str, Any]]:
    """By column, what the file says of it besides its type and its classes; nothing where that is nonsense."""
    found: dict[str, dict[str, Any]] = {}
    for field in schema:
        said = {key.decode(errors="replace"): text.decode(errors="replace") for key, text in (field.metadata or {}).items()}
        try:
            more = attributes_from_json(said.pop(ATTRIBUTES)) if ATTRIBUTES in said else {}
        except ValueError:
            more = {}
        own = {key: text for key, text in said.items() if key not in TYPED and not key.startswith(("ARROW:", "PARQUET:"))}
        if own or more:
            found[field.name] = own | more
    return found


def classes_in(schema: Any) -> dict[str, tuple[str, ...]]:
    """By column, the names of classes that the column says, or Hugging Face's ClassLabel features; {} where there are none, or nonsense."""
    return _hugging_face_classes(schema) | {field.name: words for field in schema if (words := _own_classes(field))}


def _own_classes(field: Any) -> tuple[str, ...]:
    text = (field.metadata or {}).get(CLASSES.encode(), b"")
    try:
        return class_names(json.loads(text)) if 0 < len(text) < MOST_FEATURES_NBYTES else ()
    except (ValueError, RecursionError):
        return ()


def _hugging_face_classes(schema: Any) -> dict[str, tuple[str, ...]]:
    """Those of ClassLabel features."""
    text = (schema.metadata or {}).get(b"huggingface", b"")
    try:
        said = json.loads(text) if 0 < len(text) < MOST_FEATURES_NBYTES else {}
        features = said["info"]["features"].items()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    left = list(features)
    while left:
        name, feature = left.pop()
        if not isinstance(feature, dict):
            continue
        if "_type" not in feature:
            left += [(f"{name}.{member}", inner) for member, inner in feature.items()]
        words = feature.get("names") if feature.get("_type") == "ClassLabel" else None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            found[name] = tuple(words)
    return found

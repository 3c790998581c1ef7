"""Names of classes in the metadata of an Arrow schema, as Hugging Face's datasets write them."""

from __future__ import annotations

import json
from typing import Any

MOST_FEATURES_NBYTES = 16 * 1024**2
"""Of what Hugging Face says of the features of a file."""


def classes_in(schema: Any) -> dict[str, tuple[str, ...]]:
    """By column, the names of classes that Hugging Face's ClassLabel features have; {} where the schema has none, or nonsense."""
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

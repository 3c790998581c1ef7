"""Names of fields that belong together."""

from __future__ import annotations

import re

PAIRS = frozenset(
    [("x", "y"), ("images", "labels"), ("image", "label"), ("data", "labels"), ("data", "label"), ("data", "targets"), ("data", "target")]
)
"""Names that belong together: where one is a field and the other has another length, something is wrong with the file."""


def are_a_pair(one: str, other: str) -> bool:
    """Whether two names differ only in a word and its counterpart: train_set_x and train_set_y."""
    words, others = re.split(r"[^a-z0-9]+", one.lower()), re.split(r"[^a-z0-9]+", other.lower())
    if len(words) != len(others):
        return False
    differ = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return len(differ) == 1 and (differ[0] in PAIRS or differ[0][::-1] in PAIRS)

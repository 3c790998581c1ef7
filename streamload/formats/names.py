"""Names as people order them, and patterns of names."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase


def natural_key(path: str) -> list[tuple[bool, int, str]]:
    """A key that sorts names as people do: part-2 before part-10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"([0-9]+)", path)]


def is_pattern(name: str) -> bool:
    """Whether a name stands for many: "*" for any letters, "?" for any one."""
    return "*" in name or "?" in name


def matches(name: str, pattern: str) -> bool:
    """Whether a name, without any "/", is one that a pattern stands for."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))

"""Names as people order them, patterns of names, and names of fields for what lies in groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

Fields = Sequence[str] | Mapping[str, str | Sequence[str]]
"""Which fields to read: names as they stand in the file, or {name to deliver: name in the file}."""

KNOWN = {"image/encoded": "image", "image_raw": "image", "image/class/label": "label"}
"""What well-known fields are called here."""


def natural_key(path: str) -> list[tuple[bool, int, str]]:
    """A key that sorts names as people do: part-2 before part-10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"([0-9]+)", path)]


def is_utf8(name: str) -> bool:
    """Whether a name can be said in UTF-8: paths and names whose bytes are no text, which Python keeps as lone surrogates, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_pattern(name: str) -> bool:
    """Whether a name stands for many: "*" for any letters, "?" for any one."""
    return "*" in name or "?" in name


def matches(name: str, pattern: str) -> bool:
    """Whether a name, without any "/", is one that a pattern stands for."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def stands_for(name: str, pattern: str) -> tuple[str, ...]:
    """What each "*" and "?" of a pattern stands for in a name that it matches, as few letters as it can."""
    letters = {"*": "(.*?)", "?": "(.)"}
    found = re.fullmatch("".join(letters.get(letter) or re.escape(letter) for letter in pattern), name, re.DOTALL)
    return found.groups() if found is not None else (name,)


def common_beginning(names: Sequence[str]) -> str:
    """The letters that all names begin with."""
    first, last = min(names), max(names)
    same = next((place for place, letter in enumerate(first) if place >= len(last) or letter != last[place]), len(first))
    return first[:same]


def plain_names(stored: Sequence[str]) -> dict[str, str]:
    """The names under which fields are delivered, and those that they are stored under: without slashes, which would make groups in HDF5.

    Names that differ stay different, whatever order they come in.
    """
    own = {name for name in stored if name not in KNOWN and "/" not in name}
    names: dict[str, str] = {name: name for name in sorted(own)}
    for name in sorted(set(stored) - own):
        wished = (KNOWN.get(name, ""), *(name.replace("/", "_" * count) for count in range(1, len(own) + len(stored) + 2)))
        plain = next(one for one in wished if one and one not in names)
        names[plain] = name
    return {plain: name for name in stored for plain, other in names.items() if other == name}

"""Whether files are NumPy's own, .npy or .npz, and a source over them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence

from streamload.formats.naming.field_names import Fields
from streamload.formats.plan_cache import cached_or_planned
from streamload.source import Source

NAME = "NumPy"
STACKS = True
"""Whether arrays can be put side by side in one field."""
MAGIC = b"\x93NUMPY"
ZIP = b"PK\x03\x04"


def matches(head: bytes, path: str) -> bool:
    """Whether it is an .npy, or a zip file of nothing but these."""
    if head.startswith(MAGIC):
        return True
    if not head.startswith(ZIP):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist()) and all(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, RuntimeError):
        return head[30:].split(b".npy", 1)[0].isascii() and b".npy" in head[30:300]


def plan(paths: Sequence[str], fields: Fields | None) -> Source:
    """A source over .npy files (one field each, or those of a structured dtype), or .npz files with the same members."""
    return cached_or_planned("streamload.formats.npy.planning", paths, fields)

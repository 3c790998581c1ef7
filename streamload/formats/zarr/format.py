"""Zarr stores of version 2 and 3, folders or zipped: chunks are read by offset and decoded here, without the library zarr."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamload.formats.zarr.marks import MARKS

if TYPE_CHECKING:
    from streamload.formats.naming.field_names import Fields
    from streamload.source import Source

NAME = "Zarr"
STACKS = True
"""Whether arrays can be put side by side in one field."""


def matches(head: bytes, path: str) -> bool:
    """Whether it is a store that was zipped."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return not set(MARKS).isdisjoint(archive.NameToInfo)
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError):
        return head[30:].startswith(tuple(mark.encode() for mark in MARKS))


def matches_folder(path: str) -> bool:
    """Whether it is a store, or a group or an array of one."""
    return any(os.path.isfile(os.path.join(path, mark)) for mark in MARKS)


def plan(paths: Sequence[str], fields: Fields | None, *, scaled: bool = False) -> Source:
    """A source over stores: arrays of one length are its fields.

    `scaled=True` delivers the physical values of arrays that are packed with a scale_factor and an add_offset, and NaN for missing ones.
    """
    from streamload.formats.zarr.planning import plan_stores
    from streamload.sizes import flag_of

    return plan_stores(NAME, paths, fields, scaled=flag_of(scaled, "scaled"))

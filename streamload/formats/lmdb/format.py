"""Whether files are LMDB databases, and a source over them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from streamload.formats.plan_cache import cached_or_planned
from streamload.source import Source
from streamload.storage.files import regular_file

NAME = "LMDB"
DATA = "data.mdb"
"""The file of a database that is a folder."""
_MAGIC = b"\xde\xc0\xef\xbe"
"""At byte 16 of a database that was written on a machine like this one."""


def matches(head: bytes, path: str) -> bool:
    """Whether it begins as databases do."""
    return head[16:20] == _MAGIC


def matches_folder(path: str) -> bool:
    """Whether it is the folder of a database."""
    try:
        with open(os.path.join(path, DATA), "rb", opener=regular_file) as file:
            return matches(file.read(20), path)
    except OSError:
        return False


def plan(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str | Sequence[str]] | None, *, fill: Any = None) -> Source:
    """A source over databases whose records have the same fields; see `streamload.formats.open.open_source`.

    `fill` is what stands for values that a record lacks, by field, or for all that can hold it; without it such records are nulls.
    """
    files = [os.path.join(path, DATA) if os.path.isdir(path) else path for path in paths]
    return cached_or_planned("streamload.formats.lmdb.planning", files, fields, fill=fill)

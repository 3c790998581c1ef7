"""Whether files are Arrow's, and a source over them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from streamload.formats.plan_cache import cached_or_planned
from streamload.formats.tables.fields import checked_shapes
from streamload.source import Source
from streamload.storage.files import regular_file

NAME = "Arrow"
STACKS = True
"""Whether columns can be put side by side in one field."""


def matches(head: bytes, path: str) -> bool:
    """Whether it begins as Arrow files do, or as streams: a mark, the size of the schema, and a table within it.

    Streams of versions before 0.15 have no mark: they begin with a schema, all of which is looked at.
    """
    if head.startswith(b"ARROW1"):
        return True
    size, table = int.from_bytes(head[4:8], "little"), int.from_bytes(head[8:12], "little")
    if head.startswith(b"\xff\xff\xff\xff"):
        return size >= 16 and size % 8 == 0 and 4 <= table < size
    if not 16 <= int.from_bytes(head[:4], "little") <= os.path.getsize(path) or head[:2] == b"PK":
        return False
    from streamload.formats.arrow.ipc_messages import is_schema

    with open(path, "rb", opener=regular_file) as file:
        return is_schema(lambda at, nbytes: os.pread(file.fileno(), nbytes, at))


def plan(
    paths: Sequence[str],
    fields: Sequence[str] | Mapping[str, str | Sequence[str]] | None,
    *,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    fill: Any = None,
) -> Source:
    """A source over Arrow IPC files or streams of one schema; see `streamload.formats.open.open_source`.

    `shapes` gives the shape of a record where the file has only a number of bytes or of values: {"image": (32, 32, 3)}, or
    that lists differ in length: {"tokens": (None,)}.
    `fill` is what stands for nulls: {column: value}, or one value for all columns that can hold it; [] makes lists that are null
    empty, and [0] nulls in lists 0 besides. Without it NaN and NaT stand for nulls where the dtype has them, `repr` says where
    else there are any, and asking for such a record is an error.
    """
    return cached_or_planned("streamload.formats.arrow.planning", paths, fields, shapes=checked_shapes(shapes or {}), fill=fill)

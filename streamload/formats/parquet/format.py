"""Whether files are Parquet, and a source over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamload.formats.plan_cache import cached_or_planned
from streamload.formats.tables.fields import checked_shapes
from streamload.sizes import flag_of
from streamload.source import Source

NAME = "Parquet"
STACKS = True
"""Whether columns can be put side by side in one field."""


def matches(head: bytes, path: str) -> bool:
    """Whether it begins as Parquet files do, encrypted ones included."""
    return head.startswith((b"PAR1", b"PARE"))


def plan(
    paths: Sequence[str],
    fields: Sequence[str] | Mapping[str, str | Sequence[str]] | None,
    *,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    fill: Any = None,
    verify: bool = True,
) -> Source:
    """A source over Parquet files of one schema; see `streamload.formats.open.open_source`.

    `shapes` gives the shape of a record where the file has only a number of bytes or of values: {"image": (32, 32, 3)}, or
    that lists differ in length: {"tokens": (None,)}.
    `fill` is what stands for nulls: {column: value}, or one value for all columns that can hold it; [] makes lists that are null
    empty, and [0] nulls in lists 0 besides. Without it NaN and NaT stand for nulls where the dtype has them, `repr` says where
    else there are any, and asking for such a record is an error. `verify=False` skips
    the checksums of raw pages.
    """
    return cached_or_planned(
        "streamload.formats.parquet.planning",
        paths,
        fields,
        shapes=checked_shapes(shapes or {}),
        fill=fill,
        verify=flag_of(verify, "verify"),
    )

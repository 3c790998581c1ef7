"""Whether files are tar archives, and a source over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamload.formats.plan_cache import cached_or_planned
from streamload.formats.tar.members import BLOCK, is_head
from streamload.source import Source
from streamload.storage.compressed_file import unpacked_head

NAME = "tar"


def matches(head: bytes, path: str) -> bool:
    """Whether it begins with the head of a member, which has a checksum, compressed or not."""
    begin = unpacked_head(head, path, BLOCK)
    return is_head(begin) and bool(begin.strip(b"\0"))


def plan(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str | Sequence[str]] | None, *, fill: Any = None) -> Source:
    """A source over tar archives whose records have the same fields; see `streamload.formats.open.open_source`.

    `fill` is what stands for members that a record lacks, by field, or for all that can hold it; without it such records are nulls.
    """
    return cached_or_planned("streamload.formats.tar.planning", paths, fields, fill=fill)

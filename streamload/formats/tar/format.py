"""Whether files are tar archives, and a source over them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from streamload.errors import ConfigError
from streamload.formats.plan_cache import cached_or_planned
from streamload.formats.tar.members import BLOCK, is_head
from streamload.source import Source
from streamload.storage.compressed_file import unpacked_head

NAME = "tar"
NAMES = (".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tzst")
"""What archives are called."""


def matches(head: bytes, path: str) -> bool:
    """Whether it begins with the head of a member, which has a checksum, compressed or not.

    An archive without members is zeros, and so are other files: there the name must say it.
    """
    begin = unpacked_head(head, path, BLOCK)
    if begin.strip(b"\0"):
        return is_head(begin)
    return len(begin) == BLOCK and os.path.basename(path).lower().endswith(NAMES)


def plan(
    paths: Sequence[str],
    fields: Sequence[str] | Mapping[str, str | Sequence[str]] | None,
    *,
    fill: Any = None,
    on_damage: str = "raise",
) -> Source:
    """A source over tar archives whose records have the same fields; see `streamload.formats.open.open_source`.

    `fill` is what stands for members that a record lacks, by field, or for all that can hold it; without it such records are nulls.
    With `on_damage="skip"` what comes before the place where an archive is damaged is read, and its rest left out and counted.
    """
    if on_damage not in ("raise", "skip"):
        raise ConfigError(f"on_damage={on_damage!r} is not known.", hint='Give "raise" or "skip".', option="on_damage")
    return cached_or_planned("streamload.formats.tar.planning", paths, fields, fill=fill, on_damage=on_damage)

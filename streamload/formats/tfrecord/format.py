"""Whether files are TFRecord files, and a source over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamload.errors import ConfigError
from streamload.formats.plan_cache import cached_or_planned
from streamload.formats.tables.fields import checked_shapes
from streamload.formats.tfrecord.framing import HEAD, masked
from streamload.kernels.crc32c_plain import crc32c
from streamload.source import Source
from streamload.storage.compressed_file import unpacked_head

NAME = "TFRecord"


def matches(head: bytes, path: str) -> bool:
    """Whether it begins with the length of a record and the right checksum of that length, compressed or not."""
    begin = unpacked_head(head, path, HEAD.size)
    return len(begin) == HEAD.size and masked(crc32c(begin[:8])) == HEAD.unpack(begin)[1]


def plan(
    paths: Sequence[str],
    fields: Sequence[str] | Mapping[str, str | Sequence[str]] | None,
    *,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    fill: Any = None,
    on_damage: str = "raise",
) -> Source:
    """A source over files of tf.train.Example messages; see `streamload.formats.open.open_source`.

    They are gone through once, and every checksum verified; where values lie is kept from one run to the next. `shapes` gives the
    shape of raw pixels where no numbers beside them say it; `fill` is what stands for features that a record lacks, by field.
    With `on_damage="skip"` records whose checksums are wrong, and what lies behind a length that is wrong, are left out and counted.
    """
    if on_damage not in ("raise", "skip"):
        raise ConfigError(f"on_damage={on_damage!r} is not known.", hint='Give "raise" or "skip".', option="on_damage")
    module = "streamload.formats.tfrecord.planning"
    return cached_or_planned(module, paths, fields, shapes=checked_shapes(shapes or {}), fill=fill, on_damage=on_damage)

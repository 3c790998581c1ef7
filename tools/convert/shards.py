"""The files of a dataset: which records each holds, and how it is called."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from streamload.sizes import parse_nbytes
from streamload.tools.convert.needed_disk import record_nbytes
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.split import PART_NAMES
from streamload.tools.convert.writers.registry import FORMATS, WriteOptions

SHARD_NBYTES = 1 << 30
"""Files of a folder, where nothing else was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One file that is to be written."""

    name: str
    part: str
    part_start: int
    """The position at which its part begins."""
    start: int
    stop: int


def shards_of(total_ends: Sequence[int], origin: RecordSource, style: WriteOptions, target: str, shard_nbytes: int | None) -> list[Shard]:
    """The files to be written; without a size, one that is called like the target."""
    if shard_nbytes is None:
        return [Shard(name=os.path.basename(os.path.abspath(target)), part="", part_start=0, start=0, stop=total_ends[-1])]
    # What images will take is known when they are encoded: a photograph has an eighth of its pixels' bytes, as PNG half.
    records = max(1, int(shard_nbytes / max(1.0, record_nbytes(origin, style))))
    shards: list[Shard] = []
    begin = 0
    for part, end in zip(PART_NAMES[len(total_ends)], total_ends, strict=True):
        starts = list(range(begin, end, records)) or [begin]
        for at, start in enumerate(starts):
            name = f"{part or 'data'}-{at:05d}-of-{len(starts):05d}{FORMATS[style.format]}"
            shards.append(Shard(name=name, part=part, part_start=begin, start=start, stop=min(end, start + records)))
        begin = end
    return shards


def shard_nbytes_of(arguments: argparse.Namespace, *, one_file: bool) -> int | None:
    """About how large the files of a folder are to be; None where there is one file."""
    if one_file:
        return None
    return parse_nbytes(arguments.shard_size, name="--shard-size") if arguments.shard_size else SHARD_NBYTES

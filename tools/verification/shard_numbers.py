"""Shards whose names say how many there are, as data-00001-of-00003.h5 does: which of them a folder lacks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from streamload.formats.partitions import files_below

NUMBERED = re.compile(r"(.*-)([0-9]+)-of-([0-9]+)((?:\..*)?)")
"""What comes before, the number, how many, and the ending."""
MOST_SHARDS = 1_000_000


def missing_shards(folder: str) -> Iterator[str]:
    """A sentence for each family of shards of which some are not there; they count from 0 or from 1 on, as those that are there tell."""
    there: dict[tuple[str, int, str], set[int]] = {}
    for name in files_below(folder):
        found = NUMBERED.fullmatch(os.path.relpath(name, folder))
        if found is not None:
            there.setdefault((found[1], int(found[3]), found[4]), set()).add(int(found[2]))
    for (before, count, after), numbers in sorted(there.items()):
        if count > MOST_SHARDS:
            continue
        first = 1 if count in numbers and 0 not in numbers else 0
        lost = sorted(set(range(first, first + count)) - numbers)
        if lost:
            told = f"{len(lost):,} of the {count:,} files are missing, the first of them number {lost[0]:,}"
            yield f"{os.path.join(folder, before)}*{after}: {told}"

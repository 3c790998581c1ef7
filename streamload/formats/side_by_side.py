"""Files that hold different fields of the same records: x.h5 beside y.h5."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence

from streamload.errors import StreamloadError
from streamload.formats.naming.field_names import common_beginning
from streamload.formats.split_choice import by_split
from streamload.source import Source

MOST = 12
"""Files that are opened one by one to find out."""


def joining(paths: Sequence[str], open_one: Callable[[str], Source]) -> str:
    """The call that joins files of different schemas, as a hint, where each holds one field of as many records.

    "" elsewhere, and for files whose names differ in numbers alone: these are parts of one dataset; or where names, of files, of their
    folders or of fields, are those of several splits, whose records are not the same.
    """
    numbered = len({re.sub("[0-9]+", "0", os.path.basename(path)) for path in paths}) == 1
    if numbered or not 1 < len(paths) <= MOST:
        return ""
    if any(map(_are_of_splits, (paths, map(os.path.dirname, paths)))):
        return ""
    names: list[str] = []
    counts: set[int] = set()
    for path in paths:
        try:
            with open_one(path) as source:
                counts.add(len(source))
                names += source.schema.names
        except StreamloadError:
            return ""
    if len(counts) != 1 or 0 in counts or len(names) != len(paths) or _are_of_splits(names):
        return ""
    if len(set(names)) < len(names):
        names = _by_file(paths)
    if len(set(names)) < len(names) or not all(names):
        return ""
    joined = ", ".join(f"{name!r}: {path!r}" for name, path in zip(names, paths, strict=True))
    return f"Each holds {counts.pop():,} records: if they are fields of the same, sl.open({{{joined}}})."


def _are_of_splits(names: Iterable[str]) -> bool:
    """Whether names say several splits, as train_1.h5 and test_1.h5 do."""
    return len(set(by_split(names)) - {""}) > 1


def _by_file(paths: Sequence[str]) -> list[str]:
    """What the names of files are called without what all begin and end with."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    before = common_beginning(stems)
    after = common_beginning([stem[len(before) :][::-1] for stem in stems])[::-1]
    return [stem[len(before) : len(stem) - len(after)].strip("._- ") for stem in stems]

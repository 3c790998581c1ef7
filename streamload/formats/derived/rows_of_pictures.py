"""Files that hold one picture each, which are not to be taken for files of its rows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from streamload.errors import ConfigError
from streamload.schema import Field
from streamload.source import Source

LEAST = 8
"""Rows, and pixels of a row, of what may be a picture."""
LONGEST = 4
"""A picture is at most so many times as long as it is wide, or the other way round."""
CHANNELS = (1, 3, 4)
"""Of a picture of bytes."""
WORDS = frozenset(
    ("image", "images", "img", "imgs", "mask", "masks", "seg", "segmentation", "depth", "slice", "scan", "frame", "photo", "picture")
)
"""What fields of pictures are called."""
PLURALS = frozenset(("images", "imgs", "masks"))


def refuse_rows(source: Source) -> None:
    """Raise ConfigError, with both readings, where each of several files is likely a picture and its records are the rows of it.

    That is so where the records of all fields are rows of one width, no field has one number a record, and the fields are bytes of
    one, three or four channels, or called as pictures are.
    """
    files = [was.path for was in source.fingerprints]
    if len(files) < 2 or len(source.file_starts) != len(files) + 1:
        return
    heights = np.diff(source.file_starts)
    if not all(_is_picture(height, one) for one in source.schema for height in (int(heights.min()), int(heights.max()))):
        return
    if len({one.shape[0] for one in source.schema}) > 1 or not (any(map(_is_colour, source.schema)) or _is_named(source.schema.fields)):
        return
    asked = [source.asked.get(name, name) for name in source.schema.names]
    names = list(source.schema.names)
    fields = names if asked == names else dict(zip(names, asked, strict=True))
    first = source.schema.fields[0]
    raise ConfigError(
        f"{os.path.dirname(files[0]) or files[0]}: what a record is cannot be told: each of {len(files):,} files looks like one picture "
        f"('{first.name}' of {(int(heights[0]), *first.shape)} in {files[0]}), and its rows like no records.",
        hint=f"Say it: record_axis=None ({len(files):,} records); or, for each row a record, fields={fields} ({len(source):,} records).",
        path=files[0],
        readings=[
            {"fields": fields, "record_axis": None, "records": len(files), "about": False},
            {"fields": fields, "record_axis": 0, "records": len(source), "about": False},
        ],
    )


def _is_picture(height: int, field: Field) -> bool:
    """Whether so many records of a field are as the rows of a picture are."""
    if field.ragged or len(field.shape) not in (1, 2) or field.shape[1:] > (4,):
        return False
    width = field.shape[0]
    return min(height, width) >= LEAST and max(height, width) <= LONGEST * min(height, width)


def _is_colour(field: Field) -> bool:
    return field.dtype == np.uint8 and len(field.shape) == 2 and field.shape[1] in CHANNELS


def _is_named(fields: Sequence[Field]) -> bool:
    """Whether they are a picture, or one and what belongs to it; one field of many pictures is called by the plural."""
    words = [set(re.findall("[a-z]+", one.name.lower())) for one in fields]
    return any(one & (WORDS if len(fields) > 1 else WORDS - PLURALS) for one in words)

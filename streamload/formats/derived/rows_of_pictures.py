"""Files that hold one picture each, which are not to be taken for files of its rows."""

from __future__ import annotations

import math
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
TALLEST = 16 / 9
"""So many times as tall as it is wide is a picture that nothing but its size tells from rows."""
WORDS = frozenset(
    ("image", "images", "img", "imgs", "mask", "masks", "seg", "segmentation", "depth", "slice", "scan", "frame", "photo", "picture")
)
"""What fields of pictures are called."""
PLURALS = frozenset(("images", "imgs", "masks"))
FLAT = frozenset(("mask", "seg", "segmentation", "depth"))
"""What pictures of one channel are called, and hardly pictures that were made flat."""
ALSO_OF_SERIES = frozenset(("mask", "masks", "depth", "slice", "scan", "frame"))
"""What series are called, too: what is missing in them, how deep they were measured, and how."""
NO_PICTURES = frozenset(
    ("attention", "padding", "pad", "loss", "token", "tokens", "ids", "emb", "embs", "embedding", "embeddings", "feat", "feats", "feature")
) | {"features", "latent", "latents", "vector", "vectors", "logits"}
"""What fields of sequences are called, and those of what was made of pictures."""


def refuse_rows(source: Source) -> None:
    """Raise ConfigError, with both readings, where each of several files is likely a picture and its records are the rows of it.

    That is so where the records of all fields are rows of one width, no field has one number a record, and the fields are called as
    pictures are, or are bytes of three channels, no taller than pictures are.
    """
    fields, count = source.schema.fields, len(source.fingerprints)
    # Names and shapes come first: of files there may be millions.
    if not all(map(_is_row, fields)) or len({one.shape[0] for one in fields}) > 1:
        return
    if count < 2 or len(source.file_starts) != count + 1:
        return
    heights = np.diff(source.file_starts)
    if not _are_pictures(heights, fields):
        return
    files = [was.path for was in source.fingerprints]
    asked = [source.asked.get(name, name) for name in source.schema.names]
    names = list(source.schema.names)
    wanted = names if asked == names else dict(zip(names, asked, strict=True))
    raise ConfigError(
        f"{os.path.dirname(files[0]) or files[0]}: what a record is cannot be told: each of {len(files):,} files looks like one picture "
        f"('{fields[0].name}' of {(int(heights[0]), *fields[0].shape)} in {files[0]}), and its rows like no records.",
        hint=f"Say it: record_axis=None ({len(files):,} records); or, for each row a record, fields={wanted} ({len(source):,} records).",
        path=files[0],
        readings=[
            {"fields": wanted, "record_axis": None, "records": len(files), "about": False},
            {"fields": wanted, "records": len(source), "about": False},
        ],
    )


def _is_row(field: Field) -> bool:
    """Whether a record of a field is as the row of a picture is."""
    return not field.ragged and len(field.shape) in (1, 2) and field.shape[1:] <= (4,) and field.shape[0] >= LEAST


def _are_pictures(heights: np.ndarray, fields: Sequence[Field]) -> bool:
    """Whether files of so many rows of these fields, all of one width, are likely a picture each."""
    shortest, tallest, width = int(heights.min()), int(heights.max()), fields[0].shape[0]
    words = set(re.findall("[a-z]+", " ".join(one.name for one in fields).lower()))
    if min(shortest, width) < LEAST or max(tallest, width) > LONGEST * min(shortest, width) or words & NO_PICTURES:
        return False
    # Parts of a table have as many rows each, but the last.
    varies = len(set(heights[:-1].tolist())) > 1 or heights[-1] > heights[0]
    is_sized = varies or tallest <= TALLEST * width
    if is_sized and any(one.dtype == np.uint8 and one.shape[1:] == (3,) for one in fields):
        return True
    called = words & (WORDS if len(fields) > 1 else WORDS - PLURALS)
    if not called or (called <= ALSO_OF_SERIES and not is_sized):
        return False
    one_axis = all(len(one.shape) == 1 for one in fields)
    if len(fields) > 1:
        # Floats beside their depth are measured there, and beside a mask they lack some.
        return not (one_axis and len(called) == 1 and called <= ALSO_OF_SERIES and all(one.dtype.kind == "f" for one in fields))
    if not one_axis or called & FLAT:
        return True
    return varies or shortest == tallest == width or (fields[0].dtype.kind in "iu" and not _is_flattened(width))


def _is_flattened(width: int) -> bool:
    """Whether a row has as many numbers as a square picture of one or three channels."""
    return any(width == channels * math.isqrt(width // channels) ** 2 for channels in (1, 3))

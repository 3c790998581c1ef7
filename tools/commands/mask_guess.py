"""Whether a field of a source may hold masks: a guess from its name, its channels and its values, and said to be one."""

from __future__ import annotations

import numpy as np

from streamload.errors import StreamloadError
from streamload.images import ImageError, ImageHeader, named_as_mask, read_header
from streamload.images.masks import looks_like_mask
from streamload.loader.contents import spread
from streamload.schema import BYTES
from streamload.source import Column, ReadStats, Source, read_records
from streamload.storage.files import OpenFiles
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.record_source import batch_records

LOOKED_AT = 16
"""Records whose values are counted."""
FEW_BLOCKS = 4
"""Of them, where a block must be decoded for each."""
FEW, VERY_FEW = 64, 8
"""Distinct values that a mask has at most: where its name says that it is one, and where nothing does."""
LEAST_SIDE = 8
"""Pixels that an image has in each direction."""


def mask_guesses(source: Source) -> dict[str, str]:
    """By field that may hold masks, why; nothing of fields that have been said to be masks, or cannot be read."""
    count = min(FEW_BLOCKS if not source.addressable else LOOKED_AT, batch_records(LibraryRecords(source)))
    some = spread(len(source), max(1, count)) if len(source) else np.empty(0, np.int64)
    found: dict[str, str] = {}
    for column in source.columns if len(some) else ():
        why = _why(source, column, some)
        if why:
            found[column.field.name] = why
    return found


def _why(source: Source, column: Column, some: np.ndarray) -> str:
    field = column.field
    if field.ragged == BYTES:
        return _by_headers(source, field.name, some) if named_as_mask(field.name) else ""
    options = column.decode_options
    if options is not None and options.mask:
        return ""
    sides = [side for side in field.shape if side != 1]
    if field.ragged or field.dtype.kind not in "iub" or len(sides) != 2 or min(sides) < LEAST_SIDE:
        return ""
    try:
        values = _distinct(source, column, some)
    except StreamloadError:
        return ""
    named = named_as_mask(field.name)
    if len(values) > (FEW if named else VERY_FEW):
        return ""
    seen = f"{len(values):,} distinct value{'s' if len(values) != 1 else ''} in {len(some):,} record{'s' if len(some) != 1 else ''} seen"
    return f"{'its name, ' if named else ''}one channel, {seen}"


def _distinct(source: Source, column: Column, some: np.ndarray) -> np.ndarray:
    """The distinct values of a field in some records."""
    files = OpenFiles(source.fingerprints)
    try:
        reader = column.reader(files, ReadStats())
        try:
            return np.unique(read_records(column, reader, some))
        finally:
            reader.close()
    finally:
        files.close()


def _by_headers(source: Source, name: str, some: np.ndarray) -> str:
    """Of images that are delivered as bytes, since their sizes differ."""
    heads: list[ImageHeader] = []
    try:
        for stored in source.take(some)[name]:
            heads.append(read_header(memoryview(stored)))
    except (StreamloadError, ImageError):
        return ""
    palette = any(head.colours == "palette" for head in heads)
    return f"its name, {'a palette' if palette else 'one channel'}" if looks_like_mask(name, heads) else ""


def mask_note(name: str, why: str, *, encoded: bool) -> str:
    """A guess in words, and what follows from it."""
    cure = f"decode={{{name!r}: sl.Decode(mask=True)}}" if encoded else f'Augment(..., masks="{name}")'
    return f"'{name}' may be a mask (a guess: {why}): {cure} and `streamload convert --masks {name}` keep its numbers, as nothing is mixed"

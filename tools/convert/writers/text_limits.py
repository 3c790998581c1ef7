"""Texts that files of a format cannot hold: HDF5 ends them at a zero byte, and tables know UTF-8 only."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import UnsupportedFeatureError
from streamload.ragged import Ragged
from streamload.schema import TEXT
from streamload.tools.convert.record_source import RecordSource, batch_records
from streamload.tools.convert.writers.registry import TABLES

WHYS = {
    "hdf5": ("holds text with a zero byte in it, where text in HDF5 ends", "Write Parquet or Arrow, which can hold it"),
    "table": ("holds text that is not UTF-8, and tables hold no other", "Write HDF5, which can hold it"),
}
"""By what a format is: why a text has no place in it, and what has."""


def unheld_text(texts: Ragged, format_name: str) -> int | None:
    """The first text that files of a format would not give back, by its place among these; None where they hold all."""
    first, last = int(texts.offsets[0]), int(texts.offsets[-1])
    values, offsets = texts.values[first:last], texts.offsets - first
    if format_name == "hdf5":
        zeros = np.flatnonzero(values == 0)
        return int(np.searchsorted(offsets, zeros[0], side="right")) - 1 if len(zeros) else None
    if format_name not in TABLES:
        return None
    data = values.tobytes()
    starts = offsets[:-1][np.diff(offsets) > 0]
    # What is UTF-8 as a whole is so text by text, unless a letter goes on in the next one.
    if _is_utf8(data) and not ((values[starts] & 0xC0) == 0x80).any():
        return None
    return next(at for at, (start, stop) in enumerate(pairwise(offsets.tolist())) if not _is_utf8(data[start:stop]))


def require_texts(texts: Ragged, name: str, format_name: str) -> None:
    """Raise UnsupportedFeatureError for a text of a field that files of the format would not give back."""
    if unheld_text(texts, format_name) is not None:
        raise unheld_error(f"Field '{name}'", name, format_name)


def require_held_texts(taken: Mapping[str, Any], format_name: str) -> None:
    """Raise UnsupportedFeatureError for a text of any field of some records that files of the format would not give back."""
    for name, values in taken.items():
        if isinstance(values, Ragged) and values.kind == TEXT:
            require_texts(values, name, format_name)


def unheld_among(origin: RecordSource, numbers: NDArray[np.int64], format_name: str) -> tuple[int, str] | None:
    """The first of some records, and its field, whose text files of the format would not give back; None where they hold all."""
    for field in origin.schema.ragged if len(numbers) else ():
        at = unheld_text(origin.values(field.name, numbers), format_name) if field.ragged == TEXT else None
        if at is not None:
            return int(numbers[at]), field.name
    return None


def require_all_texts(origin: RecordSource, format_name: str) -> None:
    """Raise UnsupportedFeatureError for the first text of all that files of the format would not give back; reads all texts.

    None is read where files of the format hold any.
    """
    if format_name != "hdf5" and format_name not in TABLES:
        return
    if not any(field.ragged == TEXT for field in origin.schema):
        return
    batch = batch_records(origin)
    for start in range(0, len(origin), batch):
        found = unheld_among(origin, np.arange(start, min(start + batch, len(origin)), dtype=np.int64), format_name)
        if found is not None:
            raise unheld_at(origin, found, format_name)


def unheld_at(origin: RecordSource, found: tuple[int, str], format_name: str) -> UnsupportedFeatureError:
    """The error for a text of a record and field."""
    record, name = found
    return unheld_error(f"{origin.title}: record {record:,} of field '{name}'", name, format_name)


def unheld_error(where: str, name: str, format_name: str) -> UnsupportedFeatureError:
    """The error for a text of a field; `where` says in what record."""
    why, instead = WHYS["hdf5" if format_name == "hdf5" else "table"]
    return UnsupportedFeatureError(
        f"{where} {why}.",
        hint=f"{instead}, leave the field out, --fields, or leave such records out, --on-bad skip.",
        dataset=name,
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

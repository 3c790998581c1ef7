"""The least and the greatest values of fields: of all records where these are at hand, else of some, and how many that were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError
from streamload.loader.contents import spread
from streamload.schema import BYTES, TEXT
from streamload.source import Column, NullableColumn, ReadStats, Source, read_records
from streamload.storage.files import OpenFiles
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.record_source import batch_records

LOOKED_AT = 256
"""Records whose values are looked at."""
FEW_BLOCKS = 4
"""Records that are looked at where a block must be decoded whole for any of them."""


def range_of(values: Any) -> dict[str, Any] | None:
    """Least and greatest of some values, and whether any is missing; None for what has no order."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "buif" or not values.size:
        return None
    missing = bool(np.isnan(values).any()) if values.dtype.kind == "f" else False
    sound = values[~np.isnan(values)] if missing else values
    return {"least": sound.min(), "greatest": sound.max(), "nan": missing} if sound.size else None


def number_text(value: Any) -> str:
    """A number in words: a whole one, such as the number of a class or of a user, to its last digit."""
    return f"{int(value):,}" if np.asarray(value).dtype.kind in "iub" else f"{value:.6g}"


def range_text(seen: Mapping[str, Any] | None) -> str:
    """A range in words, and of how many records it is, if not of all; nothing where there is none."""
    if seen is None:
        return ""
    text = f"{number_text(seen['least'])} to {number_text(seen['greatest'])}" + (" and NaN" if seen["nan"] else "")
    return text if seen.get("all", True) else f"{text}, of {seen['records']:,} seen"


def ranges(source: Source) -> dict[str, dict[str, Any]]:
    """By field, its range, of how many "records", and whether these are "all". Fields of text, bytes, and images have none.

    Of images everybody knows it, and some may be damaged; nor has a field that cannot be read.
    """
    blocks = [column.cuts for column in source.columns if not column.addressable and column.cuts is not None]
    some = spread(len(source), max(1, min(FEW_BLOCKS if blocks else LOOKED_AT, batch_records(LibraryRecords(source)))))
    found: dict[str, dict[str, Any]] = {}
    files = OpenFiles(source.fingerprints)
    try:
        for column in source.columns if len(source) else ():
            if column.field.ragged in (BYTES, TEXT) or column.encoded is not None:
                continue
            seen = _of_all(column, files, nullable=column.field.name in source.nulls)
            count = len(source)
            if seen is None:
                seen, count = _of_some(column, files, some), len(some)
            if seen is not None:
                found[column.field.name] = seen | {"records": count, "all": count == len(source)}
    finally:
        files.close()
    return found


def _of_all(column: Column, files: OpenFiles, *, nullable: bool) -> dict[str, Any] | None:
    """The range of all records but nulls, where they are in memory, or where files say it."""
    said = column.value_range(files)
    if said is not None:
        return range_of(np.array(said, column.field.dtype))
    held = (cast(NullableColumn, column).filled() if nullable else column).held
    if held is None or column.field.ragged:
        return None if held is None else range_of(held.values)
    return range_of(np.delete(held, cast(NullableColumn, column).null_records(files), axis=0) if nullable else np.asarray(held))


def _of_some(column: Column, files: OpenFiles, records: NDArray[np.int64]) -> dict[str, Any] | None:
    """The range of the given records; None where they cannot be read."""
    try:
        reader = column.reader(files, ReadStats())
        values = read_records(column, reader, records)
        reader.close()
    except StreamloadError:
        return None
    return range_of(values.values if column.field.ragged else values)

"""Moments that old writers stored in 96 bits: pyarrow wraps those around that nanoseconds of 64 bits cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from streamload.errors import UnsupportedFeatureError
from streamload.formats.arrow_types.element_types import plain
from streamload.formats.parquet.open_files import ParquetFiles

NS_OF_MS = 1_000_000


def coarse_batches(files: ParquetFiles, number: int, path: str, leaf: str, **asked: Any) -> Iterator[Any]:
    """The same batches as of milliseconds, which hold every moment, where a column is stored so; None for each, for ever, elsewhere."""
    schema = files.file(number, path).schema
    stored = (schema.column(at) for at in range(len(schema)))
    if not any(one.physical_type == "INT96" and (one.path == leaf or one.path.startswith(f"{leaf}.")) for one in stored):
        return repeat(None)
    return files.in_milliseconds(path).iter_batches(columns=[leaf], **asked)


def refuse_wrapped(fine: Any, coarse: Any, path: str, column: str, first: int) -> None:
    """Raise UnsupportedFeatureError where moments of an array, which begins with record `first`, are others as nanoseconds."""
    wrong = np.abs(_numbers(fine) // NS_OF_MS - _numbers(coarse)) > 1
    if not wrong.any():
        return
    listed = not kinds.is_timestamp(plain(fine).type)
    rows = f"rows {first:,} to {first + len(fine):,}" if listed else f"row {first + int(wrong.argmax()):,}"
    raise UnsupportedFeatureError(
        f"{path}: {rows} of column '{column}' {'hold' if listed else 'holds'} a moment before 1678 or after 2262, stored as INT96, "
        "which nanoseconds of 64 bits cannot hold.",
        hint="Write it anew in microseconds (Spark: spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS), "
        "or leave the column out with fields=[...].",
        path=path,
        dataset=column,
    )


def _numbers(array: Any) -> np.ndarray[Any, Any]:
    """The moments in an array, or within its lists, as whole numbers; 0 for nulls."""
    array = plain(array)
    while kinds.is_list(array.type) or kinds.is_large_list(array.type) or kinds.is_fixed_size_list(array.type):
        array = plain(array.flatten())
    return array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)

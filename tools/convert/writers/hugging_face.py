"""Records to Parquet as the Hugging Face hub has them: encoded images with their features in the footer, classes by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamload.ragged import Ragged
from streamload.schema import TEXT, Field, Schema
from streamload.storage.owned_files import create_file
from streamload.tools.convert.writers.registry import WriteOptions

GROUP_NBYTES = 4 * 1024**2
"""Row groups hold about so much: any record of one costs reading all of it."""
MOST_GROUP_RECORDS = 1000
"""As the hub cuts them."""
IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


class HuggingFaceWriter:
    """Row groups, one after the other; records wait until a group is full."""

    def __init__(self, path: str, schema: Schema, style: WriteOptions, classes: Mapping[str, Sequence[str]]) -> None:
        self._fields = list(schema)
        features = {field.name: feature_of(field, classes.get(field.name)) for field in schema}
        said = {"huggingface": json.dumps({"info": {"features": features}})}
        self._schema = pa.schema([pa.field(field.name, _type_of(field)) for field in schema], metadata=said)
        self._records = style.chunk_records
        self._waiting: list[Any] = []
        self._file = os.fdopen(create_file(path), "wb")
        self._writer = pq.ParquetWriter(
            self._file, self._schema, compression="NONE", use_dictionary=False, write_statistics=False, write_page_checksum=True
        )

    def append(self, taken: Mapping[str, Any]) -> None:
        """Write records behind those that are there, as far as they fill row groups."""
        columns = [_column(taken[field.name], field) for field in self._fields]
        made = pa.Table.from_arrays(columns, schema=self._schema)
        # Record by record: where a group ends must not depend on how records came.
        widths = _widths(taken)
        start = 0
        for at, width in enumerate(widths.tolist()):
            if self._full(width):
                self._add(made, start, at)
                start = at
                self._write()
            self._count += 1
            self._nbytes += width
        self._add(made, start, len(widths))

    _count = _nbytes = 0

    def _full(self, width: int) -> bool:
        if self._records is not None:
            return self._count >= self._records
        return self._count > 0 and (self._count >= MOST_GROUP_RECORDS or self._nbytes + width > GROUP_NBYTES)

    def _add(self, made: Any, start: int, stop: int) -> None:
        if stop > start:
            self._waiting.append(made.slice(start, stop - start))

    def _write(self) -> None:
        self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=self._count)
        self._waiting = []
        self._count = self._nbytes = 0

    def settled(self) -> list[tuple[int, int]]:
        """Nothing: all goes through the page cache."""
        return []

    def close(self) -> None:
        """Write what waits, and the footer."""
        if self._count:
            self._write()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def writer(path: str, schema: Schema, records: int, style: WriteOptions, classes: Mapping[str, Sequence[str]]) -> HuggingFaceWriter:
    """A writer of one file."""
    return HuggingFaceWriter(path, schema, style, classes)


def feature_of(field: Field, classes: Sequence[str] | None) -> dict[str, Any]:
    """What the `datasets` library is told of a field."""
    if field.ragged:
        return {"dtype": "string", "_type": "Value"} if field.ragged == TEXT else {"_type": "Image"}
    if classes is not None and field.shape == () and field.dtype.kind in "iu":
        return {"names": list(classes), "_type": "ClassLabel"}
    made: dict[str, Any] = {"dtype": str(pa.from_numpy_dtype(field.dtype)).replace("double", "float64"), "_type": "Value"}
    made["dtype"] = {"float": "float32", "halffloat": "float16"}.get(made["dtype"], made["dtype"])
    for length in reversed(field.shape):
        made = {"feature": made, "length": length, "_type": "Sequence"}
    return made


def _type_of(field: Field) -> Any:
    if field.ragged:
        return pa.string() if field.ragged == TEXT else IMAGE
    made = pa.from_numpy_dtype(field.dtype)
    for length in reversed(field.shape):
        made = pa.list_(made, length)
    return made


def _column(values: Any, field: Field) -> Any:
    """Records of a field as an Arrow array."""
    if field.ragged == TEXT:
        return pa.array(list(values), pa.string())
    if isinstance(values, Ragged):
        offsets = values.offsets.astype(np.int32) if values.offsets[-1] < 1 << 31 else None
        if offsets is None:
            return pa.array([{"bytes": bytes(one), "path": None} for one in values], IMAGE)
        data = pa.Array.from_buffers(
            pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values.values))]
        )
        return pa.StructArray.from_arrays([data, pa.nulls(len(values), pa.string())], fields=list(IMAGE))
    made = pa.array(np.ascontiguousarray(values).reshape(-1))
    for length in reversed(field.shape):
        made = pa.FixedSizeListArray.from_arrays(made, length)
    return made


def _widths(taken: Mapping[str, Any]) -> Any:
    """Bytes of each record."""
    widths: Any = 0
    for values in taken.values():
        widths = widths + (values.lengths if isinstance(values, Ragged) else np.full(len(values), values[:1].nbytes))
    return widths

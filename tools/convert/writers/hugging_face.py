"""Records to Parquet as the Hugging Face hub has them: encoded images with their features in the footer, classes by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamload.schema import BYTES, TEXT, Field, Schema
from streamload.storage.owned_files import create_file
from streamload.tools.convert.writers.arrow_fields import annotated, arrow_array, arrow_field
from streamload.tools.convert.writers.record_groups import RecordGroups
from streamload.tools.convert.writers.registry import Annotations, WriteOptions
from streamload.tools.convert.writers.text_limits import require_texts

GROUP_NBYTES = 4 * 1024**2
"""Row groups hold about so much: any record of one costs reading all of it."""
MOST_GROUP_RECORDS = 1000
"""As the hub cuts them."""
IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


class HuggingFaceWriter:
    """Row groups, one after the other; records wait until a group is full."""

    def __init__(self, path: str, schema: Schema, style: WriteOptions, said: Annotations) -> None:
        self._fields = list(schema)
        features = {field.name: feature_of(field, said.classes.get(field.name)) for field in schema}
        # The library takes all columns by their features, or none.
        told = {"huggingface": json.dumps({"info": {"features": features}})} if all(features.values()) else None
        own = said if told is None else replace(said, classes={})
        self._schema = pa.schema([annotated(_field_of(field), field, own) for field in schema], metadata=told)
        self._groups = RecordGroups(schema, self._schema, records=style.chunk_records, nbytes=GROUP_NBYTES, most=MOST_GROUP_RECORDS)
        self._file = os.fdopen(create_file(path), "wb")
        self._writer = pq.ParquetWriter(
            self._file, self._schema, compression="NONE", use_dictionary=False, write_statistics=False, write_page_checksum=True
        )

    def append(self, taken: Mapping[str, Any]) -> None:
        """Write records behind those that are there, as far as they fill row groups."""
        columns = [_column(taken[field.name], field) for field in self._fields]
        for group in self._groups.add(columns, taken):
            self._writer.write_table(group, row_group_size=len(group))

    def settled(self) -> list[tuple[int, int]]:
        """Nothing: all goes through the page cache."""
        return []

    def close(self) -> None:
        """Write what waits, and the footer."""
        for group in self._groups.rest():
            self._writer.write_table(group, row_group_size=len(group))
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever it says of what it could not write."""
        self._writer.is_open = False  # Else it writes a footer when it is collected.
        with suppress(OSError):
            self._file.close()


def writer(path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> HuggingFaceWriter:
    """A writer of one file."""
    return HuggingFaceWriter(path, schema, style, said)


def feature_of(field: Field, classes: Sequence[str] | None) -> dict[str, Any] | None:
    """What the `datasets` library is told of a field; None where it has no word for it, and takes it as its column is."""
    if field.ragged in (TEXT, BYTES):
        return {"dtype": "string", "_type": "Value"} if field.ragged == TEXT else {"_type": "Image"}
    if classes is not None and field.shape == () and field.dtype.kind in "iu":
        return {"names": list(classes), "_type": "ClassLabel"}
    if not _is_known(field):
        return None
    made: dict[str, Any] = {"dtype": str(pa.from_numpy_dtype(field.dtype)).replace("double", "float64"), "_type": "Value"}
    made["dtype"] = {"float": "float32", "halffloat": "float16"}.get(made["dtype"], made["dtype"])
    for length in reversed(field.shape):
        made = {"feature": made, "length": length, "_type": "Sequence"}
    return {"feature": made, "_type": "Sequence"} if field.ragged else made


def _is_known(field: Field) -> bool:
    """Whether values are numbers as Arrow has them, alone or in arrays that hold any: what else there is, is written for this library."""
    return field.dtype.kind in "buif" and field.dtype.itemsize <= 8 and field.nbytes > 0


def _field_of(field: Field) -> Any:
    """The column of a field."""
    if field.ragged in (TEXT, BYTES):
        return pa.field(field.name, pa.string() if field.ragged == TEXT else IMAGE)
    if field.ragged or not _is_known(field):
        return arrow_field(field)
    made = pa.from_numpy_dtype(field.dtype)
    for length in reversed(field.shape):
        made = pa.list_(made, length)
    return pa.field(field.name, made)


def _column(values: Any, field: Field) -> Any:
    """Records of a field as an Arrow array."""
    if field.ragged == TEXT:
        require_texts(values, field.name, "parquet")
        return pa.array(list(values), pa.string())
    if field.ragged == BYTES:
        offsets = values.offsets.astype(np.int32) if values.offsets[-1] < 1 << 31 else None
        if offsets is None:
            return pa.array([{"bytes": bytes(one), "path": None} for one in values], IMAGE)
        data = pa.Array.from_buffers(
            pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values.values))]
        )
        return pa.StructArray.from_arrays([data, pa.nulls(len(values), pa.string())], fields=list(IMAGE))
    if field.ragged or not _is_known(field):
        return arrow_array(values, field)
    made = pa.array(np.ascontiguousarray(values).reshape(-1))
    for length in reversed(field.shape):
        made = pa.FixedSizeListArray.from_arrays(made, length)
    return made

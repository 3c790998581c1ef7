"""Fields as Arrow columns that can be read by offset: arrays become binary of fixed size, records of any length lists of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streamload.formats.arrow_types.annotations import ATTRIBUTES, CLASSES, TYPED
from streamload.formats.attributes import attributes_to_json
from streamload.ragged import Ragged
from streamload.schema import BYTES, TEXT, Field, Schema
from streamload.tools.convert.writers.registry import Annotations
from streamload.tools.convert.writers.text_limits import require_texts

OF_LENGTH = {TEXT: pa.large_string(), BYTES: pa.large_binary()}
"""Types of records that are any number of bytes."""


def _plain(field: Field) -> bool:
    """Whether Arrow has the type of the field's values itself."""
    return field.shape == () and field.dtype.kind in "buif" and field.dtype.itemsize <= 8


def arrow_field(field: Field) -> Any:
    """The column for a field: a plain type where Arrow has it, else binary of fixed size that says its shape and dtype.

    Lists say that their length is their own, since all may happen to have one. What holds no bytes is a truth value that says so.
    """
    if field.ragged in OF_LENGTH:
        return pa.field(field.name, OF_LENGTH[field.ragged], nullable=False)
    plain = _plain(field)
    said = {} if plain else {"dtype": str(field.dtype.newbyteorder("="))}
    kind = pa.from_numpy_dtype(field.dtype) if plain else pa.binary(field.nbytes) if field.nbytes else pa.bool_()
    if field.ragged:
        said["shape"] = json.dumps([None, *field.shape])
        return pa.field(field.name, pa.large_list(pa.field("item", kind, nullable=False)), nullable=False, metadata=said)
    if not plain:
        said["shape"] = json.dumps(list(field.shape))
    return pa.field(field.name, kind, nullable=False, metadata=said or None)


def annotated_schema(schema: Schema, said: Annotations) -> Any:
    """The columns for all fields, with the names of their classes and their attributes in their metadata."""
    return pa.schema([annotated(arrow_field(field), field, said) for field in schema])


def annotated(column: Any, field: Field, said: Annotations) -> Any:
    """A column with what is said of it: texts as they are, under names that say nothing of its type, and all else as JSON."""
    attributes, words = said.attributes.get(field.name, {}), said.words(field)
    texts = {name: one for name, one in attributes.items() if isinstance(one, str) and name not in TYPED and name != ATTRIBUTES}
    texts = {name: one for name, one in texts.items() if name and not name.startswith(("ARROW:", "PARQUET:"))}
    others = {name: one for name, one in attributes.items() if name not in texts}
    more = {ATTRIBUTES: attributes_to_json(others)} if others else {}
    if words:
        more[CLASSES] = json.dumps(words)
    metadata = {**texts, **more, **{key.decode(): text.decode() for key, text in (column.metadata or {}).items()}}
    return column.with_metadata(metadata) if metadata else column


def arrow_array(values: NDArray[Any] | Ragged, field: Field) -> Any:
    """Records of a field as an Arrow array; nothing is copied where the values are little-endian already."""
    if not isinstance(values, Ragged):
        return _values(values, field)
    first, last = int(values.offsets[0]), int(values.offsets[-1])
    offsets = pa.py_buffer(np.ascontiguousarray(values.offsets - first if first else values.offsets, np.int64))
    held = values.values[first:last]
    if field.ragged not in OF_LENGTH:
        kind = arrow_field(field).type
        return pa.Array.from_buffers(kind, len(values), [None, offsets], children=[_values(held, field)])
    if field.ragged == TEXT:
        require_texts(values, field.name, "arrow")
    return pa.Array.from_buffers(OF_LENGTH[field.ragged], len(values), [None, offsets, pa.py_buffer(np.ascontiguousarray(held))])


def _values(values: NDArray[Any], field: Field) -> Any:
    """Values that are each as long as the other."""
    if not field.nbytes:
        return pa.array(np.zeros(len(values), bool))
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    if _plain(field):
        return pa.array(little)
    return pa.Array.from_buffers(pa.binary(field.nbytes), len(values), [None, pa.py_buffer(little)])

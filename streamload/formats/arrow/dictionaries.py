"""Columns whose values stand once, in a dictionary: words are delivered as codes, being names of classes; numbers as themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.formats.arrow.ipc_messages import IpcContents
from streamload.formats.arrow.record_batches import BatchFile, RecordBatches, RecordBatchReader
from streamload.formats.arrow_types import ArrowValues, NullFoundError, UnsupportedColumnError, to_numpy
from streamload.schema import TEXT, Field
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles

MOST_WORDS = 1_000_000
"""In a dictionary."""


def codes_of(field: Any) -> Any:
    """The field as its codes, where it is a column of words in a dictionary; else None."""
    kind = field.type
    text = (kinds.is_string, kinds.is_large_string, kinds.is_string_view)
    if not kinds.is_dictionary(kind) or not any(is_text(kind.value_type) for is_text in text):
        return None
    return pa.field(field.name, kind.index_type, metadata=field.metadata)


def words_of(contents: IpcContents, column: int, field: Any, files: OpenFiles) -> tuple[str, ...]:
    """The words of a column, in the order of their codes.

    Raises UnsupportedColumnError where a code does not mean the same throughout the file, or means nothing.
    """
    words = Field(field.name, np.dtype(np.uint8), (), TEXT)
    found: list[str] = []
    for array in _arrays(contents, column, field, words, files):
        found += array.to_pylist()
    return tuple(found)


def numbers_of(contents: IpcContents, column: int, field: Any, values: ArrowValues, files: OpenFiles) -> NDArray[np.generic]:
    """The numbers that the codes of a column stand for. Raises as `words_of` does."""
    numbers = Field(field.name, values.dtype, ())
    try:
        arrays = [to_numpy(array, values, None) for array in _arrays(contents, column, field, numbers, files)]
    except NullFoundError as error:
        raise UnsupportedColumnError("has a dictionary with a null in it") from error
    return np.concatenate([np.zeros(0, values.dtype), *arrays])


def _arrays(contents: IpcContents, column: int, field: Any, words: Field, files: OpenFiles) -> Iterator[Any]:
    """The values of a dictionary, as Arrow's arrays."""
    count = 0
    for number, (batch, goes_on) in enumerate(contents.dictionary_of(column)):
        if number and not goes_on:
            raise UnsupportedColumnError("has a dictionary that changes within the file")
        count += batch.records
        if count > MOST_WORDS:
            raise UnsupportedColumnError(f"has a dictionary of more than {MOST_WORDS:,} words")
        if not batch.records:
            continue
        part = BatchFile(
            number=0,
            records=np.array([batch.records], np.int64),
            lengths=batch.lengths[None],
            nulls=batch.nulls[None],
            offsets=batch.offsets[None],
            nbytes=batch.nbytes[None],
            codecs=(batch.codec,),
            kind=pa.schema([pa.field("x", field.type.value_type)]).serialize().to_pybytes(),
            values=None,
        )
        values = RecordBatches(field=words, column=field.name, fill=None, parts=(part,), label="")
        array = RecordBatchReader(values, files, ReadStats()).array(0)
        if array.null_count:
            raise UnsupportedColumnError("has a dictionary with a null in it")
        yield array

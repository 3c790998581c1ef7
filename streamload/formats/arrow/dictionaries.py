"""Columns whose values stand once, in a dictionary: words are delivered as codes, being names of classes; numbers as themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds
from numpy.typing import NDArray

from streamload.errors import damaged
from streamload.formats.arrow.dictionary_values import to_stream
from streamload.formats.arrow.ipc_messages import IpcContents
from streamload.formats.arrow.record_batches import BatchFile, RecordBatches, RecordBatchReader
from streamload.formats.arrow_types.element_types import UnsupportedColumnError, storage_of
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


def words_of(contents: IpcContents, numbers: Sequence[int], field: Any, files: OpenFiles) -> tuple[str, ...]:
    """The words of a column, in the order of their codes; `numbers` lead to it from the schema, through structs.

    Raises UnsupportedColumnError where a code does not mean the same throughout the file, or means nothing.
    """
    found: list[str] = []
    for array in _arrays(contents, numbers, field, files):
        found += array.to_pylist()
    return tuple(found)


def require_words(batches: BatchFile, words: int, name: str, files: OpenFiles) -> None:
    """Raise CorruptDataError, with file and records, where a code is that of no word: all of them are looked at, and they are small."""
    column = RecordBatches(field=Field(name, np.dtype(np.int64), ()), column=name, fill=None, parts=(batches,), label="")
    reader = RecordBatchReader(column, files, ReadStats())
    for block in range(np.count_nonzero(batches.records)):
        span = pc.call_function("min_max", [reader.array(block)]).as_py()
        wrong = next((code for code in (span["min"], span["max"]) if code is not None and not 0 <= code < words), None)
        if wrong is not None:
            path, records = reader.place(block)
            files.verify()
            raise damaged(
                f"{path}: column '{name}' holds the code {wrong:,} in records {records[0]:,} to {records[1]:,}, "
                f"and there are {words:,} words.",
                path=path,
                dataset=name,
                records=records,
            )


def values_in(contents: IpcContents, numbers: Sequence[int], field: Any, files: OpenFiles) -> NDArray[np.uint8]:
    """The values that the codes of a column stand for, as a stream of one column in Arrow's format. Raises as `words_of` does."""
    kind = field.type.value_type
    values = pa.chunked_array([array.cast(kind) for array in _arrays(contents, numbers, field, files)], kind)
    return to_stream(values)


def _arrays(contents: IpcContents, numbers: Sequence[int], field: Any, files: OpenFiles) -> Iterator[Any]:
    """The values of a dictionary, as Arrow's arrays."""
    count = 0
    kind = storage_of(field.type.value_type)
    for number, (batch, goes_on) in enumerate(contents.dictionary_of(numbers)):
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
            kind=pa.schema([pa.field("x", kind)]).serialize().to_pybytes(),
            values=None,
            members=(),
        )
        # Words may be of any length, so that nothing but the whole tells how much they take.
        values = RecordBatches(field=Field(field.name, np.dtype(np.uint8), (), TEXT), column=field.name, fill=None, parts=(part,), label="")
        array = RecordBatchReader(values, files, ReadStats()).array(0)
        if array.null_count:
            raise UnsupportedColumnError("has a dictionary with a null in it")
        yield array

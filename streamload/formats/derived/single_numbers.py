"""One rule for labels in columns of one, in every format: a record of one element is one number."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import WrappedDefaults, WrappedReaderDefaults
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.schema import Field
from streamload.source import Column, NullableColumn, Reader, ReadStats, Source, stored_column, stored_nbytes
from streamload.storage.files import OpenFiles


def as_numbers(source: Source, said: Collection[str] = ()) -> Source:
    """The source, with () for the shape of fields that have (1,), (1, 1), ...: labels of shape (N, 1), as MATLAB has them.

    The field with the largest records keeps its shape (of several, the first by name), and so do fields whose shape was `said`.
    """
    sizes = {column.field.name: stored_nbytes(column) for column in source.columns}
    largest = min(sizes, key=lambda name: (-sizes[name], name))
    columns: list[Column] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for column in source.columns:
        field = column.field
        single = field.shape and math.prod(field.shape) == 1 and not field.ragged and stored_column(column) is column
        if not single or field.name == largest or field.name in said:
            columns.append(column)
            continue
        columns.append(_reshaped(column))
        shapes[field.name] = field.shape
    if not shapes:
        return source
    notes = [f"'{name}' has records of shape {shape}, and is delivered as one number a record" for name, shape in shapes.items()]
    return source.with_columns(columns, notes=notes, shapes_in_states=shapes)


def _reshaped(column: Column) -> Column:
    field = replace(column.field, shape=())
    if isinstance(column, RawRecords):
        return replace(column, field=field)
    if isinstance(column, InMemory):
        return replace(column, field=field, values=column.values.reshape(len(column.values)))
    return Numbers(field=field, column=column)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Numbers(WrappedDefaults):
    """A column whose records have one element, delivered as numbers."""

    field: Field
    column: Column

    @property
    def wrapped(self) -> Column:
        """The column."""
        return self.column

    def reader(self, files: OpenFiles, meter: ReadStats) -> NumbersReader:
        """A reader for the calling process."""
        return NumbersReader(self.column.reader(files, meter), self.column.field.shape)

    @property
    def held(self) -> Any:
        """As the column's, as numbers."""
        return None if self.column.held is None else np.asarray(self.column.held).reshape(-1)

    def value_range(self, files: OpenFiles) -> tuple[Any, Any] | None:
        """As the column's."""
        return self.column.value_range(files)

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """As the column's: the shape of a record is nothing that is stored."""
        return self.column.byte_runs(start, stop)

    def filled(self) -> Numbers:
        """The same with something in the place of nulls, for whoever will not ask for them."""
        return replace(self, column=cast(NullableColumn, self.column).filled())

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that have a null for which nothing stands."""
        return cast(NullableColumn, self.column).null_records(files)


class NumbersReader(WrappedReaderDefaults):
    """Reads a column into an array of numbers."""

    def __init__(self, reader: Reader, shape: tuple[int, ...]) -> None:
        self._reader = reader
        self._shape = shape

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        self._reader.gather(records, out.reshape((len(out), *self._shape)), rows)

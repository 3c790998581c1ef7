"""The fields that were found in HDF5 files, as columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from streamload.formats.columns.raw import InMemory
from streamload.formats.derived.grouped import Grouped
from streamload.formats.derived.sparse_rows import SparseRows
from streamload.formats.hdf5.columns.build_columns import column_of
from streamload.formats.hdf5.columns.h5py_column import H5pyColumn
from streamload.formats.hdf5.columns.vlen import VlenColumn
from streamload.formats.hdf5.metadata import FilesInfo
from streamload.formats.tables.table import RESIDENT_NBYTES, RESIDENT_RECORD_NBYTES
from streamload.schema import Field
from streamload.source import Column, stored_nbytes


def field_columns(found: FilesInfo, notes: list[str]) -> tuple[list[Column], list[int]]:
    """The fields as columns, and the numbers of those that are small enough to be held."""
    sizes = [_record_nbytes(found, number) for number in range(len(found.names))]
    largest = max(range(len(sizes)), key=lambda number: sizes[number])
    numbers = {was.path: number for number, was in enumerate(found.files)}
    columns = [_column(found, number, numbers, notes, largest) for number in range(len(found.names))]
    small: list[int] = []
    for number, column in enumerate(columns):
        if not found.fields[number] or isinstance(column, InMemory):
            continue
        nbytes = sum(piece.stored.nbytes for piece in found.fields[number])
        if stored_nbytes(column) <= RESIDENT_RECORD_NBYTES and nbytes <= RESIDENT_NBYTES and number != largest:
            small.append(number)
    return columns, small


def _record_nbytes(found: FilesInfo, number: int) -> int:
    """Bytes of a record of a field, on average where they differ."""
    pieces = found.fields[number]
    if number in found.sparse:
        return found.sparse[number].count * pieces[0].stored.dtype.itemsize
    if number in found.starts:
        return sum(piece.stored.nbytes for piece in pieces) // max(1, found.total)
    return pieces[0].stored.record_nbytes if pieces else 0


def _column(found: FilesInfo, number: int, numbers: Mapping[str, int], notes: list[str], largest: int) -> Column:
    """One field of all files; `numbers` are those of files by their paths."""
    name, pieces = found.names[number], found.fields[number]
    if not pieces:
        return InMemory(field=Field(name, np.dtype(np.int64), ()), values=found.values[number], label="names of groups")
    first = pieces[0].stored
    shape = first.shape[1:]
    starts = found.starts.get(number)
    columns = found.sparse.get(number)
    if columns is not None and starts is not None:
        values = column_of(Field(name, first.native, ()), pieces, numbers)
        indices = column_of(Field(name, columns.pieces[0].stored.native, ()), columns.pieces, numbers)
        return SparseRows(
            field=Field(name, first.native, (columns.count,)),
            values=Grouped.of(values.field, values, starts),
            indices=Grouped.of(indices.field, indices, starts),
        )
    if starts is not None:
        elements = column_of(Field(name, first.native, shape), pieces, numbers)
        return Grouped.of(Field(name, first.native, shape, found.ragged[number]), elements, starts)
    if shape and math.prod(shape) == 1 and first.dtype.kind in "iub" and number != largest and not first.ragged:
        notes.append(f"'{name}' is stored as {first.shape} and delivered as one number a record")
        shape = ()
    if 0 in shape:
        return InMemory(field=Field(name, first.native, shape), values=np.zeros((found.total, *shape), first.native), label="no values")
    column = column_of(Field(name, first.native, shape, first.ragged), pieces, numbers)
    seen = found.looked_at.get(number)
    if seen is not None and isinstance(column, H5pyColumn):
        return replace(column, looked_at=seen)
    return replace(column, rows=replace(column.rows, looked_at=seen)) if isinstance(column, VlenColumn) else column

"""A source out of HDF5 files: what the survey found, turned into columns, small fields decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError
from streamload.formats.columns.chunked import ChunkedColumn
from streamload.formats.columns.raw import InMemory
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.formats.grouped import Grouped
from streamload.formats.hdf5.build_columns import column_of
from streamload.formats.hdf5.h5py_column import H5pyColumn
from streamload.formats.hdf5.metadata import FilesInfo, Packing
from streamload.formats.hdf5.request import Request
from streamload.formats.hdf5.small_fields import read_small
from streamload.formats.hdf5.vlen import VlenColumn
from streamload.formats.scaled import Scaled
from streamload.formats.sparse_rows import SparseRows
from streamload.images.fixed_bytes import FixedBytes, holds_bytes
from streamload.images.image_fields import LookedAt, look_at
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Column, Source, stored_nbytes

RESIDENT_RECORD_NBYTES = 64
"""Records of a field that is decoded once and held are at most this large ..."""
RESIDENT_NBYTES = 256 * 1024**2
"""... and all of the field at most this."""


def plan_files(request: Request) -> Source:
    """A source over HDF5 files of one schema."""
    from streamload.formats.hdf5.inspector import inspected

    paths, found = request.paths, inspected(request)
    notes = list(found.notes)
    columns, small = _columns(found, notes)
    missing = {number: columns[number] for number in small if number not in found.values}
    values = read_small(missing, found.total, found.files, _unheard)
    for number in small:
        column = columns[number]
        if number in values:
            taken = values[number]
        elif column.field.ragged:
            taken = Ragged(found.values[number], found.values[-1 - number].astype(np.int64, copy=False), column.field.ragged)
        else:
            taken = found.values[number]
        columns[number] = _held(column, taken, found.total)
    notes.extend(note for column in columns for note in _costs(column))
    columns = [_unpacked(found, number, column, notes, scaled=request.scaled) for number, column in enumerate(columns)]
    return Source(
        format_name="HDF5",
        title=paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths):,} files)",
        columns=columns,
        fingerprints=found.files,
        file_starts=np.cumsum([0, *found.records]),
        notes=notes,
        classes=found.classes,
        asked={name: asked for name, asked in zip(found.names, found.asked, strict=True) if name != asked},
    )


def examined(request: Request, beat: Callable[[int, int, int], None]) -> FilesInfo:
    """All of planning that needs the HDF5 library: the survey, and the values of small fields that it alone can read."""
    from streamload.formats.hdf5.inspection import inspect_files

    found = inspect_files(request, beat)
    columns, small = _columns(found, [])
    wanted = {number: columns[number] for number in small if number not in found.values and _needs_library(columns[number])}
    values: dict[int, NDArray[np.generic]] = dict(found.values)
    for number, taken in read_small(wanted, found.total, found.files, lambda: beat(0, 0, 0)).items():
        if isinstance(taken, Ragged):
            values[number], values[-1 - number] = taken.values, taken.offsets
        else:
            values[number] = taken
    looked_at: dict[int, LookedAt] = {}
    for number, column in enumerate(columns):
        if number not in small and isinstance(column, (H5pyColumn, VlenColumn)) and holds_bytes(column.field) and found.total:
            beat(0, 0, 0)
            stored = column if isinstance(column, VlenColumn) else FixedBytes(column=column)
            looked_at[number] = look_at(stored, found.total, found.files)
    return replace(found, values=values, looked_at=looked_at)


def _unheard() -> None:
    """A beat where nobody listens."""


def _needs_library(column: Column) -> bool:
    """Whether only the HDF5 library can read a column."""
    if isinstance(column, SparseRows):
        return _needs_library(column.values) or _needs_library(column.indices)
    return isinstance(column.elements if isinstance(column, Grouped) else column, (H5pyColumn, VlenColumn))


def _columns(found: FilesInfo, notes: list[str]) -> tuple[list[Column], list[int]]:
    """The fields as columns, and the numbers of those that are small enough to be held."""
    sizes = [_record_nbytes(found, number) for number in range(len(found.names))]
    largest = max(range(len(sizes)), key=lambda number: sizes[number])
    numbers = {was.path: number for number, was in enumerate(found.files)}
    columns = [_column(found, number, numbers, notes, largest) for number in range(len(found.names))]
    small: list[int] = []
    for number, column in enumerate(columns):
        if not found.fields[number]:
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
    if shape and math.prod(shape) == 1 and first.dtype.kind in "iub" and number != largest:
        notes.append(f"'{name}' is stored as {first.shape} and delivered as one number a record")
        shape = ()
    column = column_of(Field(name, first.native, shape, first.ragged), pieces, numbers)
    seen = found.looked_at.get(number)
    if seen is not None and isinstance(column, H5pyColumn):
        return replace(column, looked_at=seen)
    return replace(column, rows=replace(column.rows, looked_at=seen)) if isinstance(column, VlenColumn) else column


def _unpacked(found: FilesInfo, number: int, column: Column, notes: list[str], *, scaled: bool) -> Column:
    """The column of physical values, if these are wanted; else a note that values are packed."""
    pieces = found.fields[number]
    packings = [piece.stored.packing for piece in pieces]
    first = next((one for one in packings if one is not None), None)
    if first is None or number in found.starts:
        return column
    if not scaled:
        notes.append(f"'{column.field.name}' is stored packed ({first}): scaled=True delivers physical values, and NaN for missing ones")
        return column
    plain = Packing(scale=1.0, offset=0.0, missing=(), dtype="f4")
    kind = max(one.dtype for one in packings if one is not None)
    return Scaled(
        field=replace(column.field, dtype=np.dtype(kind)),
        packed=column,
        starts=np.cumsum([0, *(piece.stored.records for piece in pieces)]).astype(np.int64),
        scales=np.array([(one or plain).scale for one in packings]),
        offsets=np.array([(one or plain).offset for one in packings]),
        missing=tuple((one or plain).missing for one in packings),
    )


def _held(column: Column, values: NDArray[np.generic] | Ragged, records: int) -> InMemory | InMemoryRagged:
    """A field whose values are in memory."""
    if isinstance(values, Ragged):
        offsets, elements = values.offsets, values.values
        sound = len(offsets) == records + 1 and offsets[0] == 0 and int(offsets[-1]) == len(elements)
        alike = elements.dtype == column.field.dtype and elements.shape[1:] == column.field.shape
        if not sound or not alike or (np.diff(offsets) < 0).any():
            raise CorruptDataError(f"the values of '{column.field.name}' are not what they should be.", hint="Open the files again.")
        return InMemoryRagged(field=column.field, values=elements, offsets=offsets, label=column.describe())
    if values.shape != (records, *column.field.shape) or values.dtype != column.field.dtype:
        raise CorruptDataError(f"the values of '{column.field.name}' are not what they should be.", hint="Open the files again.")
    return InMemory(field=column.field, values=values, label=column.describe())


def _costs(column: Column) -> list[str]:
    """What a reader of `repr` should know about the price of a field."""
    if isinstance(column, ChunkedColumn) and column.amplification > 1:
        times = f"{column.amplification:,.3g}"
        return [f"'{column.field.name}': exact order decodes {times} records for each one delivered; block order decodes each once"]
    if isinstance(column, (H5pyColumn, VlenColumn)):
        return [
            f"'{column.field.name}': only the HDF5 library can read this layout, one thread at a time; `streamload convert` makes it fast"
        ]
    return []

"""A source out of HDF5 files: what the survey found, turned into columns, small fields decoded."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SourceError
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.formats.hdf5.build_columns import ColumnPart, column_of
from streamload.formats.hdf5.chunked import ChunkedColumn
from streamload.formats.hdf5.h5py_column import H5pyColumn
from streamload.formats.hdf5.metadata import FilesInfo
from streamload.formats.hdf5.vlen import VlenColumn
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Column, ReadStats, Source, read_records, stored_nbytes
from streamload.storage.files import Fingerprint, OpenFiles, fingerprint, short_read

RESIDENT_RECORD_NBYTES = 64
"""Records of a field that is decoded once and held are at most this large ..."""
RESIDENT_NBYTES = 256 * 1024**2
"""... and all of the field at most this."""


def plan_files(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str] | None) -> Source:
    """A source over HDF5 files of one schema."""
    from streamload.formats.hdf5.inspector import inspected

    found = inspected(paths, fields)
    notes = list(found.notes)
    fingerprints, extra = _fingerprints(found)
    columns: list[Column] = []
    for number in range(len(found.names)):
        column, small = _column(found, number, extra, notes)
        if small and column.field.ragged and -1 - number in found.values:
            taken = Ragged(found.values[number], found.values[-1 - number].astype(np.int64, copy=False), column.field.ragged)
            column = _held(column, taken, _records(found))
        elif small and number in found.values:
            column = _held(column, found.values[number], _records(found))
        elif small:
            column = _held(column, _values(column, _records(found), fingerprints), _records(found))
        columns.append(column)
        notes.extend(_costs(column))
    return Source(
        format_name="HDF5",
        title=paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths):,} files)",
        columns=columns,
        fingerprints=fingerprints,
        file_starts=np.cumsum([0, *(file.fields[0].records for file in found.files)]),
        notes=notes,
    )


def examined(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str] | None, beat: Callable[[int, int, int], None]) -> FilesInfo:
    """All of planning that needs the HDF5 library: the survey, and the values of small fields that it alone can read."""
    from streamload.formats.hdf5.inspection import inspect_files

    found = inspect_files(paths, fields, beat)
    fingerprints, extra = _fingerprints(found)
    values: dict[int, NDArray[np.generic]] = {}
    for number in range(len(found.names)):
        column, small = _column(found, number, extra, [])
        if small and isinstance(column, (H5pyColumn, VlenColumn)):
            beat(0, 0, 0)
            taken = _values(column, _records(found), fingerprints)
            if isinstance(taken, Ragged):
                values[number], values[-1 - number] = taken.values, taken.offsets
            else:
                values[number] = taken
    return replace(found, values=values)


def _column(found: FilesInfo, number: int, extra: Mapping[str, int], notes: list[str]) -> tuple[Column, bool]:
    """One field of all files, and whether it is small enough to be held."""
    largest = max(range(len(found.names)), key=lambda number: found.files[0].fields[number].record_nbytes)
    name, first = found.names[number], found.files[0].fields[number]
    shape = first.shape[1:]
    if shape and math.prod(shape) == 1 and first.dtype.kind in "iub" and number != largest:
        notes.append(f"'{name}' is stored as {first.shape} and delivered as one number a record")
        shape = ()
    parts = _parts(found, number, extra)
    column = column_of(Field(name, first.native, shape, first.ragged), parts)
    small = stored_nbytes(column) <= RESIDENT_RECORD_NBYTES and sum(part.stored.nbytes for part in parts) <= RESIDENT_NBYTES
    return column, small and number != largest


def _records(found: FilesInfo) -> int:
    return sum(file.fields[0].records for file in found.files)


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


def _parts(found: FilesInfo, number: int, numbers: Mapping[str, int]) -> list[ColumnPart]:
    return [
        ColumnPart(
            number=at,
            stored=file.fields[number],
            index=file.indexes[number],
            sources=tuple(numbers[path] for path in file.fields[number].sources),
        )
        for at, file in enumerate(found.files)
    ]


def _fingerprints(found: FilesInfo) -> tuple[list[Fingerprint], dict[str, int]]:
    """Fingerprints of the files, then of those that virtual datasets draw on; and the numbers of the latter by path."""
    fingerprints = [file.fingerprint for file in found.files]
    numbers = {was.path: number for number, was in enumerate(fingerprints)}
    for path in dict.fromkeys(source for file in found.files for stored in file.fields for source in stored.sources):
        if path not in numbers:
            numbers[path] = len(fingerprints)
            fingerprints.append(fingerprint(path))
    return fingerprints, numbers


def _values(column: Column, records: int, fingerprints: Sequence[Fingerprint]) -> NDArray[np.generic] | Ragged:
    """A small field, read whole."""
    files = OpenFiles(fingerprints)
    values = np.empty((0 if column.field.ragged else records, *column.field.shape), column.field.dtype)
    reader = column.reader(files, ReadStats())
    try:
        if column.field.ragged:
            found: Ragged = read_records(column, reader, np.arange(records, dtype=np.int64))
            files.verify()
            return found
        if isinstance(column, RawRecords) and (column.strides == column.field.nbytes).all():
            _read_runs(column, files, values)
        elif records:
            everything = np.arange(records, dtype=np.int64)
            reader.gather(everything, values, everything)
        files.verify()
    finally:
        reader.close()
        files.close()
    return values


def _read_runs(column: RawRecords, files: OpenFiles, values: NDArray[np.generic]) -> None:
    """Read records that lie side by side, a run at a time: a call for each record would be slow before kernels are compiled."""
    room = values.reshape(-1).view(np.uint8).data
    nbytes = column.field.nbytes
    for run, number in enumerate(column.numbers.tolist()):
        offset, first, stop = int(column.offsets[run]), int(column.starts[run]) * nbytes, int(column.starts[run + 1]) * nbytes
        while first < stop:
            try:
                got = os.preadv(files.descriptor(number), [room[first:stop]], offset)
            except OSError as error:
                raise SourceError(
                    f"{files.fingerprints[number].path}: reading '{column.field.name}' at offset {offset:,} failed: {error.strerror}.",
                    hint="Check the disk and the system log; a copy of the file on another disk may help.",
                    path=files.fingerprints[number].path,
                    dataset=column.field.name,
                    errno=error.errno,
                ) from error
            if not got:
                raise short_read(files.fingerprints[number], offset, stop - first)
            first, offset = first + got, offset + got
    if not column.stored.isnative:
        values.byteswap(inplace=True)

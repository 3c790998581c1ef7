"""A source out of HDF5 files: what the survey found, turned into columns, small fields decoded."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError
from streamload.extents import Extents, Resident
from streamload.files import Fingerprint, OpenFiles, fingerprint, short_read
from streamload.formats.hdf5.chunked import Chunked
from streamload.formats.hdf5.columns import Part, column_of
from streamload.formats.hdf5.facts import Survey
from streamload.formats.hdf5.foreign import Foreign
from streamload.formats.hdf5.surveying import survey
from streamload.schema import Field
from streamload.source import Column, Meter, Source

RESIDENT_RECORD_NBYTES = 64
"""Records of a field that is decoded once and held are at most this large ..."""
RESIDENT_NBYTES = 256 * 1024**2
"""... and all of the field at most this."""


def plan_files(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str] | None) -> Source:
    """A source over HDF5 files of one schema."""
    found = survey(paths, fields)
    notes = list(found.notes)
    fingerprints, extra = _fingerprints(found)
    columns: list[Column] = []
    largest = max(range(len(found.names)), key=lambda number: found.files[0].fields[number].record_nbytes)
    for number, name in enumerate(found.names):
        first = found.files[0].fields[number]
        shape = first.shape[1:]
        if shape and math.prod(shape) == 1 and first.dtype.kind in "iub" and number != largest:
            notes.append(f"'{name}' is stored as {first.shape} and delivered as one number a record")
            shape = ()
        parts = _parts(found, number, extra)
        column = column_of(Field(name, first.native, shape), parts)
        small = column.field.nbytes <= RESIDENT_RECORD_NBYTES and sum(part.stored.nbytes for part in parts) <= RESIDENT_NBYTES
        if small and number != largest:
            column = _resident(column, sum(part.stored.records for part in parts), fingerprints)
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


def _costs(column: Column) -> list[str]:
    """What a reader of `repr` should know about the price of a field."""
    if isinstance(column, Chunked) and column.amplification > 1:
        times = f"{column.amplification:,.3g}"
        return [f"'{column.field.name}': exact order decodes {times} records for each one delivered; block order decodes each once"]
    if isinstance(column, Foreign):
        return [
            f"'{column.field.name}': only the HDF5 library can read this layout, one thread at a time; `streamload convert` makes it fast"
        ]
    return []


def _parts(found: Survey, number: int, numbers: Mapping[str, int]) -> list[Part]:
    return [
        Part(
            number=at,
            stored=file.fields[number],
            index=file.indexes[number],
            sources=tuple(numbers[path] for path in file.fields[number].sources),
        )
        for at, file in enumerate(found.files)
    ]


def _fingerprints(found: Survey) -> tuple[list[Fingerprint], dict[str, int]]:
    """Fingerprints of the files, then of those that virtual datasets draw on; and the numbers of the latter by path."""
    fingerprints = [file.fingerprint for file in found.files]
    numbers = {was.path: number for number, was in enumerate(fingerprints)}
    for path in dict.fromkeys(source for file in found.files for stored in file.fields for source in stored.sources):
        if path not in numbers:
            numbers[path] = len(fingerprints)
            fingerprints.append(fingerprint(path))
    return fingerprints, numbers


def _resident(column: Column, records: int, fingerprints: Sequence[Fingerprint]) -> Resident:
    """A small field, read whole."""
    files, values = OpenFiles(fingerprints), np.empty((records, *column.field.shape), column.field.dtype)
    reader = column.reader(files, Meter())
    try:
        if isinstance(column, Extents) and (column.strides == column.field.nbytes).all():
            _read_runs(column, files, values)
        elif records:
            everything = np.arange(records, dtype=np.int64)
            reader.gather(everything, values, everything)
        files.verify()
    finally:
        reader.close()
        files.close()
    return Resident(field=column.field, values=values, label=column.describe())


def _read_runs(column: Extents, files: OpenFiles, values: NDArray[np.generic]) -> None:
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

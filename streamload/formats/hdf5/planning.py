"""A source out of HDF5 files: what the survey found, turned into columns, small fields decoded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError
from streamload.formats.attributes import agreed, attributes_from_json
from streamload.formats.columns.chunked import ChunkedColumn
from streamload.formats.columns.raw import InMemory
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.formats.derived.packing import OF_STORED
from streamload.formats.derived.scaled import unpacked
from streamload.formats.hdf5.columns.field_columns import field_columns
from streamload.formats.hdf5.columns.h5py_column import H5pyColumn
from streamload.formats.hdf5.columns.small_fields import read_small
from streamload.formats.hdf5.columns.vlen import VlenColumn
from streamload.formats.hdf5.inspector import inspected
from streamload.formats.hdf5.metadata import CLASSES, FIELD_NAME, FilesInfo
from streamload.formats.hdf5.request import Request
from streamload.formats.naming.class_names import agreed_classes, class_names
from streamload.ragged import Ragged
from streamload.sizes import format_times
from streamload.source import Column, Source


def plan_files(request: Request) -> Source:
    """A source over HDF5 files of one schema."""
    paths, found = request.paths, inspected(request)
    notes = list(found.notes)
    columns, small = field_columns(found, notes)
    missing = {number: columns[number] for number in small if number not in found.values}
    values = read_small(missing, found.total, found.files, lambda: None)
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
        classes={**found.classes, **_classes(found)},
        attributes=_attributes(found, scaled=request.scaled),
        asked={name: asked for name, asked in zip(found.names, found.asked, strict=True) if name != asked},
    )


def _classes(found: FilesInfo) -> dict[str, tuple[str, ...]]:
    """What the numbers of fields stand for, where datasets say so. Raises SchemaMismatchError where two say different things."""
    told: dict[str, tuple[str, ...]] = {}
    for name, pieces in zip(found.names, found.fields, strict=True):
        if pieces and pieces[0].stored.dtype.kind in "iu":
            said = ((found.files[piece.file].path, class_names(piece.stored.attribute(CLASSES))) for piece in pieces)
            told[name] = agreed_classes(name, said)
    return {name: words for name, words in told.items() if words}


def _attributes(found: FilesInfo, *, scaled: bool) -> dict[str, dict[str, Any]]:
    """What all datasets of a field say alike; without what is delivered in other ways."""
    told: dict[str, dict[str, Any]] = {}
    for name, pieces in zip(found.names, found.fields, strict=True):
        if any(piece.stored.datasets > 1 for piece in pieces):
            continue  # What the others say is not known.
        said = agreed(attributes_from_json(piece.stored.attributes) if piece.stored.attributes else {} for piece in pieces)
        gone = {CLASSES, FIELD_NAME, *(OF_STORED if scaled and pieces and pieces[0].stored.packing is not None else ())}
        told[name] = {key: one for key, one in said.items() if key not in gone}
    return {name: said for name, said in told.items() if said}


def _unpacked(found: FilesInfo, number: int, column: Column, notes: list[str], *, scaled: bool) -> Column:
    """As `unpacked`; fields that say which group a record is from are numbers of their own."""
    pieces = found.fields[number]
    packings = [piece.stored.packing for piece in pieces]
    if number in found.sparse:
        # What no value is stored for would be the offset, or missing.
        packings = [None if one is None else replace(one, unclear="its records are rows of a sparse matrix") for one in packings]
    return unpacked(column, packings, [piece.stored.records for piece in pieces], notes, scaled=scaled)


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
        times = format_times(column.amplification)
        return [f"'{column.field.name}': exact order decodes {times} records for each one delivered; block order decodes each once"]
    if isinstance(column, (H5pyColumn, VlenColumn)):
        return [
            f"'{column.field.name}': only the HDF5 library can read this layout, one thread at a time; `streamload convert` makes it fast"
        ]
    return []

"""Arrays in NumPy's own files as columns: raw records by offset, others turned round, encoded, or held in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import UnsupportedFeatureError
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.formats.columns.transposed import TransposedColumn, TransposedFile
from streamload.formats.npy.text import PaddedText, encoded, padded_text
from streamload.formats.tables.fields import FileColumn, TablePart
from streamload.formats.tables.table import RawRuns, held_in_memory, raw_records_of
from streamload.schema import Field
from streamload.source import Column
from streamload.storage.files import Fingerprint, OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NpyArray:
    """One array, or one field of a structured one, in a file."""

    offset: int
    """Of its first byte."""
    stride: int
    """Bytes from one record to the next."""
    dtype: np.dtype
    """As it lies in the file."""
    fortran: bool
    """Whether the first axis is the one that lies side by side."""
    shape: tuple[int, ...]
    """Of a record."""
    values: np.ndarray | None
    """The array itself, where it was stored compressed."""
    opaque_nbytes: int = 0
    """Of an element whose bytes are delivered as they are, along the last axis; 0 where elements are numbers."""


def decoded(stored: FileColumn, data: bytes, records: int) -> FileColumn:
    """A field of a compressed member, with its values."""
    array: NpyArray = stored.detail
    if array.fortran:
        opaque = array.opaque_nbytes
        shape, kind = (array.shape[:-1], np.dtype(f"V{opaque}")) if opaque else (array.shape, array.dtype)
        flat = np.frombuffer(data, kind, records * math.prod(shape), array.offset)
        values = np.ascontiguousarray(flat.reshape((records, *shape), order="F"))
        values = values.view(np.uint8).reshape((records, *array.shape)) if opaque else values
    else:
        inner = np.dtype(array.dtype).itemsize
        strides = (array.stride, *(inner * math.prod(array.shape[axis + 1 :]) for axis in range(len(array.shape))))
        values = np.ndarray((records, *array.shape), array.dtype, data, array.offset, strides)
    native = np.ascontiguousarray(values, array.dtype.newbyteorder("="))
    return replace(stored, detail=replace(array, values=native))


def column_of(field: Field, parts: Sequence[TablePart], fingerprints: list[Fingerprint]) -> Column:
    """The column of a field, whose arrays lie in files or, where they were compressed, in memory."""
    arrays: list[NpyArray] = [part.stored.detail for part in parts]
    values = [array.values for array in arrays if array.values is not None]
    if arrays and len(values) == len(arrays):
        return _resident(field, values)
    if values:
        raise UnsupportedFeatureError(
            f"'{field.name}' is compressed in some files and not in others.", hint="Save them alike: np.savez.", dataset=field.name
        )
    if field.ragged:
        return _text(field, parts, arrays, fingerprints)
    alike = {(array.dtype, array.fortran) for array in arrays}
    if any(array.fortran for array in arrays) or len(alike) > 1:
        return _transposed(field, parts, arrays)
    return _raw(field, parts, arrays)


def _transposed(field: Field, parts: Sequence[TablePart], arrays: Sequence[NpyArray]) -> TransposedColumn:
    """Arrays in Fortran order, or in orders of axes or of bytes that differ."""
    files: list[TransposedFile] = []
    for part, array in zip(parts, arrays, strict=True):
        opaque = array.opaque_nbytes if array.fortran else 0
        stored, shape = (np.dtype(f"V{opaque}"), field.shape[:-1]) if opaque else (array.dtype, field.shape)
        files.append(
            TransposedFile(
                number=part.number,
                records=part.records,
                offset=array.offset,
                stored=stored,
                before=tuple(reversed(shape)) if array.fortran else (),
                after=() if array.fortran else shape,
                stride=stored.itemsize if array.fortran else array.stride,
                fortran=array.fortran,
                opaque_nbytes=opaque,
            )
        )
    label = "Fortran order" if all(array.fortran for array in arrays) else "mixed orders"
    return TransposedColumn(field=field, parts=tuple(files), label=label)


def _raw(field: Field, parts: Sequence[TablePart], arrays: Sequence[NpyArray]) -> RawRecords:
    first = np.zeros(1, np.int64)
    runs = [RawRuns(firsts=first, offsets=np.array([array.offset]), stride=array.stride, dtype=array.dtype) for array in arrays]
    apart = any(array.stride != field.nbytes for array in arrays)
    return raw_records_of(field, parts, runs, blocks=False, label="records of a structure" if apart else "contiguous")


def _resident(field: Field, values: Sequence[NDArray[Any]]) -> InMemory | InMemoryRagged:
    """Values that were compressed, in all files."""
    if not field.ragged:
        return InMemory(field=field, values=np.concatenate(values), label="compressed")
    found, offsets = joined([encoded(_points(one)) for one in values])
    return InMemoryRagged(field=field, values=found, offsets=offsets, label="compressed")


def _points(values: NDArray[Any]) -> NDArray[np.uint32]:
    """Text as code points: shape (records, width)."""
    return np.ascontiguousarray(values).view(np.uint32).reshape(len(values), -1)


def _text(
    field: Field, parts: Sequence[TablePart], arrays: Sequence[NpyArray], fingerprints: list[Fingerprint]
) -> PaddedText | InMemoryRagged:
    """Text in files; where they differ in width or order of bytes, it is read at once."""
    if len({array.dtype for array in arrays}) == 1:
        points = np.dtype(np.uint32) if arrays[0].dtype.isnative else np.dtype(np.uint32).newbyteorder()
        wide = Field(field.name, np.dtype(np.uint32), (arrays[0].dtype.itemsize // 4,))
        raw = _raw(wide, parts, [replace(array, dtype=points) for array in arrays])
        return padded_text(field.name, raw, fingerprints)
    texts: list[InMemoryRagged] = []
    files = OpenFiles(fingerprints)
    try:
        for part, array in zip(parts, arrays, strict=True):
            found = held_in_memory(_text(field, [part], [array], fingerprints), part.records, files)
            assert isinstance(found, InMemoryRagged)
            texts.append(found)
    finally:
        files.close()
    values, offsets = joined([(one.values, one.offsets) for one in texts])
    return InMemoryRagged(field=field, values=values, offsets=offsets, label="text of several widths")


def joined(texts: Sequence[tuple[NDArray[Any], NDArray[np.int64]]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Values and offsets of several arrays of text, one after the other."""
    ends = np.cumsum([0, *(int(offsets[-1]) for _, offsets in texts)])
    offsets = [np.zeros(1, np.int64), *(offsets[1:] + end for (_, offsets), end in zip(texts, ends, strict=False))]
    return np.concatenate([values for values, _ in texts]), np.concatenate(offsets)

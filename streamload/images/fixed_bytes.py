"""Bytes of one length a record, as if each had its own: images in padded rows, or in strings of a fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import WrappedDefaults, WrappedReaderDefaults
from streamload.schema import BYTES, Field
from streamload.source import Column, Lengths, Reader, ReadStats
from streamload.storage.files import OpenFiles

LEAST_NBYTES = 65
"""No image is smaller, and fields below are numbers or held in memory."""


def holds_bytes(field: Field) -> bool:
    """Whether records of a field are bytes that could be an encoded file: of any length, or padded to one."""
    if field.ragged:
        return field.ragged == BYTES
    row = field.dtype == np.uint8 and len(field.shape) == 1
    return (row or (field.dtype.kind == "S" and field.shape == ())) and field.nbytes >= LEAST_NBYTES


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FixedBytes(WrappedDefaults):
    """A fixed column of bytes as a ragged one: all of each record, zeros at its end included, whatever they mean."""

    column: Column

    @property
    def wrapped(self) -> Column:
        """The column."""
        return self.column

    @property
    def field(self) -> Field:
        """Bytes."""
        return Field(self.column.field.name, np.dtype(np.uint8), (), BYTES)

    @property
    def lengths(self) -> Lengths:
        """All the same."""
        return Lengths(mean=float(self.column.field.nbytes), deviation=0.0)

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """Bytes of each block."""
        cuts = self.column.cuts
        return None if cuts is None else np.diff(cuts) * self.column.field.nbytes

    @property
    def looked_at(self) -> Any:
        """As the column's, where it has been looked at."""
        return self.column.looked_at

    def reader(self, files: OpenFiles, meter: ReadStats) -> FixedBytesReader:
        """A reader for the calling process."""
        return FixedBytesReader(self.column.field, self.column.reader(files, meter))

    def describe(self) -> str:
        """As the column does."""
        return f"padded to {self.column.field.nbytes:,} bytes, {self.column.describe()}"


class FixedBytesReader(WrappedReaderDefaults):
    """Reads rows of bytes."""

    def __init__(self, field: Field, reader: Reader) -> None:
        self._field = field
        self._reader = reader

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """All the same."""
        return np.full(len(records), self._field.nbytes, np.int64)

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[Any], starts: NDArray[np.int64]) -> None:
        """Put the bytes of record `records[k]` into `values[starts[k]:]`, straight where records lie side by side."""
        if not len(records):
            return
        field, count = self._field, len(records)
        first, rows = int(starts[0]), np.arange(count, dtype=np.int64)
        side_by_side = bool((starts == first + rows * field.nbytes).all())
        room = values[first : first + count * field.nbytes] if side_by_side else np.empty(count * field.nbytes, np.uint8)
        self._reader.gather(records, room.view(field.dtype).reshape((count, *field.shape)), rows)
        if not side_by_side:
            for row, start in zip(room.reshape(count, -1), starts.tolist(), strict=True):
                values[start : start + field.nbytes] = row

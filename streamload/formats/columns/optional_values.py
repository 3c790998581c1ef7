"""Records without a value in fields of bytes and text: bytes that stand for them, or an error for whoever asks for one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ReaderDefaults
from streamload.nulls import null_error
from streamload.schema import Field
from streamload.storage.files import OpenFiles


class OptionalValues(ABC):
    """What a column says of records without a value: a base for dataclasses that have these members."""

    __slots__ = ()
    label: str
    fill: bytes | None

    @abstractmethod
    def missing(self, records: NDArray[np.int64] | slice) -> NDArray[np.bool_]:
        """Which of some records have no value: shape (records,)."""

    def filled(self) -> Self:
        """The same with no bytes at all in the place of records without a value."""
        return replace(cast("Any", self), fill=b"") if self.fill is None else self

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records without a value for which nothing stands."""
        return np.flatnonzero(self.missing(slice(None))) if self.fill is None else np.zeros(0, np.int64)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class IndexedBytes(OptionalValues):
    """What a column says whose records are stretches of bytes that it knows: a base for dataclasses that have these members."""

    __slots__ = ()
    field: Field
    column: str
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def missing(self, records: NDArray[np.int64] | slice) -> NDArray[np.bool_]:
        """Which of some records have no value: their offset is negative."""
        return self.offsets[records] < 0

    @abstractmethod
    def place_of(self, record: int) -> tuple[int, int]:
        """The number of the file that a record belongs to, and its own number there."""


IndexedBytesColumn = TypeVar("IndexedBytesColumn", bound=IndexedBytes)


class IndexedBytesReader(ReaderDefaults, Generic[IndexedBytesColumn]):
    """Lengths of such records, and the bytes that stand for those without a value: a base for readers."""

    _column: IndexedBytesColumn
    _files: OpenFiles

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of each record. Raises NullValueError for one that has no value, where nothing stands for it."""
        column = self._column
        sizes, missing = column.sizes[records], column.missing(records)
        if missing.any():
            if column.fill is None:
                number, row = column.place_of(int(records[int(missing.argmax())]))
                raise null_error(self._files.fingerprints[number].path, column.column, row, column.field)
            sizes[missing] = len(column.fill)
        return sizes

    def _fill_missing(self, records: NDArray[np.int64], out: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Put what stands for records without a value into `out[starts[k]:]`, and say which records have one. Raises as `lengths`."""
        there = ~self._column.missing(records)
        if not there.all():
            self.lengths(records)
            fill = np.frombuffer(self._column.fill or b"", np.uint8)
            for start in starts[~there].tolist():
                out[start : start + len(fill)] = fill
        return there

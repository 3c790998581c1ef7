"""Columns of one type side by side as one field: a thousand features as a vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.schema import Field
from streamload.source import Column, NullableColumn, ReadStats
from streamload.storage.files import OpenFiles

PIECE_NBYTES = 16 * 1024**2
"""Records of all columns that are put side by side at a time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stacked(ColumnDefaults):
    """Several columns as one field, whose first axis counts them."""

    field: Field
    """As it is delivered: shape (columns, *shape of each)."""
    columns: tuple[Column, ...]
    """All of one dtype and shape."""
    nullable: tuple[bool, ...]
    """Which of them may meet nulls for which nothing stands."""

    @property
    def addressable(self) -> bool:
        """Never: a record lies in as many places as there are columns, so that blocks are put together whole."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where blocks of the first column begin."""
        return self.columns[0].cuts

    @property
    def scratch_nbytes(self) -> int:
        """One column's reader after another keeps what it needs, and a piece of records."""
        return sum(column.scratch_nbytes for column in self.columns) + PIECE_NBYTES

    @property
    def file_nbytes(self) -> int | None:
        """Of all columns together; None where nobody has counted one of them."""
        sizes = [column.file_nbytes for column in self.columns]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def filled(self) -> Stacked:
        """The same with something in the place of nulls, for whoever will not ask for them."""
        pairs = zip(self.columns, self.nullable, strict=True)
        columns = tuple(cast(NullableColumn, column).filled() if nullable else column for column, nullable in pairs)
        return replace(self, columns=columns, nullable=(False,) * len(columns))

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that have a null in any column, in rising order."""
        pairs = zip(self.columns, self.nullable, strict=True)
        found = [cast(NullableColumn, column).null_records(files) for column, nullable in pairs if nullable]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *found]))

    def reader(self, files: OpenFiles, meter: ReadStats) -> StackedReader:
        """A reader of all columns."""
        return StackedReader(self, files, meter)

    @property
    def single_threaded(self) -> bool:
        """If one of the columns is."""
        return any(column.single_threaded for column in self.columns)

    def describe(self) -> str:
        """How they are stored: as the first one is."""
        return f"{len(self.columns):,} columns side by side: {self.columns[0].describe()}"


class StackedReader(ReaderDefaults):
    """Gathers column after column."""

    def __init__(self, column: Stacked, files: OpenFiles, meter: ReadStats) -> None:
        self._field = column.field
        self._readers: list[Any] = [one.reader(files, meter) for one in column.columns]

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        step = max(1, PIECE_NBYTES // max(1, self._field.nbytes))
        for first in range(0, len(records), step):
            chosen = records[first : first + step]
            there = np.arange(len(chosen), dtype=np.int64)
            side = np.empty((len(self._readers), len(chosen), *self._field.shape[1:]), self._field.dtype)
            for number, reader in enumerate(self._readers):
                reader.gather(chosen, side[number], there)
            out[rows[first : first + step]] = np.moveaxis(side, 0, 1)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Say so to the readers of all columns."""
        for reader in self._readers:
            reader.advise(records)

    def close(self) -> None:
        """Close the readers of all columns."""
        for reader in self._readers:
            reader.close()

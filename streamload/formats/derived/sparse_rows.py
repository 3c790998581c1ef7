"""Rows of sparse matrices, delivered dense."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import damaged
from streamload.formats.derived.grouped import Grouped
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles

MOST_ELEMENTS = 1 << 20
"""Values that are put into their places at a time, or one row's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SparseRows(ColumnDefaults):
    """One field of dense rows, out of their values and the columns that these stand in."""

    field: Field
    """Of shape (columns,)."""
    values: Grouped
    indices: Grouped
    """For each value of a row, its column."""

    @property
    def addressable(self) -> bool:
        """Where both are."""
        return self.values.addressable and self.indices.addressable

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Those of the values."""
        return self.values.cuts

    @property
    def mappable(self) -> bool:
        """As what rows are made of."""
        return self.values.mappable or self.indices.mappable

    @property
    def scratch_nbytes(self) -> int:
        """Readers of both, and what is being put into its place."""
        nbytes = self.values.field.nbytes + self.indices.field.nbytes + 24
        return self.values.scratch_nbytes + self.indices.scratch_nbytes + MOST_ELEMENTS * nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader for the calling process."""
        return SparseRowsReader(self, files, meter)

    @property
    def single_threaded(self) -> bool:
        """As what rows are made of."""
        return self.values.single_threaded

    def describe(self) -> str:
        """How values are stored."""
        return f"sparse: {self.values.elements.describe()}, {self.values.lengths.mean:,.1f} of {self.field.shape[0]:,} a record"


class SparseRowsReader(ReaderDefaults):
    """Reads values and their columns, and puts them into rows of zeros."""

    def __init__(self, column: SparseRows, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._values = column.values.reader(files, meter)
        self._indices = column.indices.reader(files, meter)

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`. Raises CorruptDataError for a value beyond the last column."""
        lengths = self._values.lengths(records)
        first = 0
        while first < len(records):
            stop = max(first + 1, int(np.searchsorted(np.cumsum(lengths[first:]), MOST_ELEMENTS, side="right")) + first)
            self._put(records[first:stop], lengths[first:stop], out, rows[first:stop])
            first = stop

    def _put(self, records: NDArray[np.int64], lengths: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        column, count = self._column, int(lengths.sum())
        starts = np.cumsum(lengths) - lengths
        values, indices = np.empty(count, column.values.field.dtype), np.empty(count, column.indices.field.dtype)
        self._values.gather_ragged(records, values, starts)
        self._indices.gather_ragged(records, indices, starts)
        wide = column.field.shape[0]
        wrong = (indices < 0) | (indices >= wide)
        if wrong.any():
            self._files.verify()
            record = int(np.repeat(records, lengths)[int(wrong.argmax())])
            raise damaged(
                f"record {record:,} of '{column.field.name}' has a value in column {int(indices[int(wrong.argmax())]):,} of {wide:,}.",
                dataset=column.field.name,
                records=(record, record + 1),
            )
        places = np.repeat(np.arange(len(records), dtype=np.int64), lengths) * wide + indices.astype(np.int64)
        dense = np.zeros(len(records) * wide, column.field.dtype)
        if (np.diff(places) > 0).all() or len(np.unique(places)) == len(places):
            dense[places] = values
        else:
            np.add.at(dense, places, values)  # Values of one place stand for their sum.
        out[rows] = dense.reshape(len(records), wide)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Pass it on."""
        self._values.advise(records)
        self._indices.advise(records)

    def close(self) -> None:
        """Let go of both readers."""
        self._values.close()
        self._indices.close()

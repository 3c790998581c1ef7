"""Columns of ragged records that need no decoding: raw ones in files, by their offsets, and small ones held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.files import OpenFiles
from streamload.schema import Field
from streamload.source import Lengths, Meter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResidentRagged:
    """A small ragged field, decoded once and held in memory: one copy that all workers share."""

    field: Field
    """As it is delivered."""
    values: NDArray[np.generic]
    """The elements of all records: shape (elements, *field.shape)."""
    offsets: NDArray[np.int64]
    """The element at which each record begins, and their number: shape (records + 1,)."""
    label: str
    """How it is stored, for people."""

    @property
    def addressable(self) -> bool:
        """Always."""
        return True

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """None: a block may begin at any record."""
        return None

    @property
    def lengths(self) -> Lengths:
        """Of all records."""
        return Lengths.of(np.diff(self.offsets))

    @property
    def weights(self) -> NDArray[np.int64] | None:
        """None: there are no blocks."""
        return None

    @property
    def scratch_nbytes(self) -> int:
        """None: the values are counted with the index."""
        return 0

    def reader(self, files: OpenFiles, meter: Meter) -> ResidentRaggedReader:
        """A reader of the values."""
        return ResidentRaggedReader(self)

    def describe(self) -> str:
        """How it is stored, and that it is held."""
        return f"{self.label}, held in memory"


class ResidentRaggedReader:
    """Gathers ragged records from values in memory."""

    def __init__(self, column: ResidentRagged) -> None:
        self._offsets = column.offsets
        self._values = column.values
        self._nbytes = column.field.nbytes

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record."""
        return self._offsets[records + 1] - self._offsets[records]

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        if not self._nbytes:
            return
        first = self._offsets[records]
        sizes = (self._offsets[records + 1] - first) * self._nbytes
        addresses = first * self._nbytes + self._values.ctypes.data
        kernels.gather_kernels().copy_ragged(addresses, sizes, values.ctypes.data, starts * self._nbytes)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing to do: the values are in memory."""

    def close(self) -> None:
        """Nothing is held but the values themselves."""

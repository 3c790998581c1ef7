"""Records of variable length in HDF5: strings, bytes and arrays, a stretch of records at a time, through the library."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import damaged
from streamload.formats.columns.ragged_blocks import RaggedRows, RaggedRowsReader, RaggedSlice, scratch_nbytes
from streamload.formats.hdf5.columns.h5py_column import H5pyColumn, H5pyReader
from streamload.images.image_fields import LookedAt
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VlenColumn(RaggedRows):
    """One ragged field read through h5py, spans of records together."""

    rows: H5pyColumn

    @property
    def looked_at(self) -> LookedAt | None:
        """What its first records begin as, where they are bytes."""
        return self.rows.looked_at

    @property
    def single_threaded(self) -> bool:
        """As rows are."""
        return self.rows.single_threaded

    @property
    def scratch_nbytes(self) -> int:
        """A span as the library's objects, put together, and one that is kept."""
        return self.largest_nbytes + scratch_nbytes(self.largest_nbytes) + self.rows.scratch_nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> VlenReader:
        """A reader that opens files in the calling process when it is asked for records."""
        return VlenReader(self, files, meter)


class VlenReader(RaggedRowsReader):
    """Reads spans through h5py, each once a call."""

    def __init__(self, column: VlenColumn, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column, H5pyReader(column.rows, files, meter), meter)
        self._field = column.field

    def _stretches(self, block: int) -> Iterator[RaggedSlice]:
        found = self._rows.objects(int(self._cuts[block])).reshape(-1)
        offsets = np.zeros(len(found) + 1, np.int64)
        np.cumsum([len(one) for one in found], out=offsets[1:])
        if self._field.ragged == "array" or any(isinstance(one, np.ndarray) for one in found):
            parts = [np.asarray(one, self._field.dtype) for one in found]
            values = np.concatenate(parts) if parts else np.zeros(0, self._field.dtype)
            if self._field.shape:
                values, offsets = self._elements(values, offsets)
        else:
            values = np.frombuffer(b"".join(one.encode() if isinstance(one, str) else one for one in found), np.uint8)
        self._meter.read_nbytes += values.nbytes
        yield RaggedSlice(0, values, offsets)

    def _elements(self, values: NDArray[Any], offsets: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Numbers that lie one after the other, as elements of several. Raises CorruptDataError for a record that breaks off within one."""
        size = math.prod(self._field.shape)
        if (offsets % size).any():
            raise damaged(
                f"'{self._field.name}' is said to hold elements of shape {self._field.shape}, and a record breaks off within one.",
                dataset=self._field.name,
            )
        return values.reshape(-1, *self._field.shape), offsets // size

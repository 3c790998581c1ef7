"""Images whose planes of colour lie one after the other, delivered as pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import AddressableDefaults, ReaderDefaults
from streamload.formats.columns.raw import RawRecords
from streamload.reuse.scratch import Scratch
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles

TOGETHER = 64
"""Images that are read before they are turned."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlanarImages(AddressableDefaults):
    """Raw records of shape (channels, height, width), delivered as (height, width, channels)."""

    field: Field
    """As it is delivered."""
    stored: RawRecords
    """The same records as they lie in the files."""

    @property
    def scratch_nbytes(self) -> int:
        """Images as they are stored."""
        return TOGETHER * self.field.nbytes

    @property
    def direct_nbytes(self) -> int:
        """As of the records as they are stored."""
        return self.stored.direct_nbytes

    @property
    def mappable(self) -> bool:
        """Always, as raw records are."""
        return True

    @property
    def file_nbytes(self) -> int:
        """Of the images alone."""
        return self.stored.file_nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset."""
        return PlanarReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return f"{self.stored.describe()}, planes of colour turned to pixels"


class PlanarReader(ReaderDefaults):
    """Reads some images at a time as they are stored, and turns them on the way to their rows."""

    def __init__(self, column: PlanarImages, files: OpenFiles, meter: ReadStats) -> None:
        self._field = column.stored.field
        self._stored = column.stored.reader(files, meter)
        self._scratch = Scratch()

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        for start in range(0, len(records), TOGETHER):
            some = records[start : start + TOGETHER]
            room = self._scratch.room(len(some) * self._field.nbytes)[: len(some) * self._field.nbytes]
            planes = room.view(self._field.dtype).reshape(len(some), *self._field.shape)
            self._stored.gather(some, planes, np.arange(len(some), dtype=np.int64))
            out[rows[start : start + TOGETHER]] = np.moveaxis(planes, 1, -1)

    def advise(self, records: NDArray[np.int64]) -> None:
        """As for the records as they are stored."""
        self._stored.advise(records)

    def expect(self, records: NDArray[np.int64]) -> None:
        """As for the records as they are stored."""
        self._stored.expect(records)

    def close(self) -> None:
        """Let go of the buffer."""
        self._stored.close()
        self._scratch.close()

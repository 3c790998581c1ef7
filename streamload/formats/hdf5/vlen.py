"""Records of variable length in HDF5: strings, bytes and arrays, a stretch of records at a time, through the library."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.files import OpenFiles
from streamload.formats.hdf5.foreign import Foreign, ForeignReader
from streamload.formats.ragged_blocks import RaggedBlocks, Stretch, scratch_nbytes
from streamload.schema import Field
from streamload.source import Lengths, Meter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Vlen:
    """One ragged field read through h5py."""

    rows: Foreign
    """Where its records lie: spans of them are read together."""
    lengths: Lengths
    weights: NDArray[np.int64]
    """Elements of each span, or a generous guess."""

    @property
    def field(self) -> Field:
        """As it is delivered."""
        return self.rows.field

    @property
    def addressable(self) -> bool:
        """Never: the library reads spans of records."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where spans begin."""
        return self.rows.cuts

    @property
    def scratch_nbytes(self) -> int:
        """A span as the library's objects, put together, and one that is kept."""
        largest = int(self.weights.max(initial=0)) * self.field.nbytes
        return largest + scratch_nbytes(largest) + self.rows.scratch_nbytes

    def reader(self, files: OpenFiles, meter: Meter) -> VlenReader:
        """A reader that opens files in the calling process when it is asked for records."""
        return VlenReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.rows.label


class VlenReader:
    """Reads spans through h5py, each once a call."""

    def __init__(self, column: Vlen, files: OpenFiles, meter: Meter) -> None:
        self._field = column.field
        self._meter = meter
        self._rows = ForeignReader(column.rows, files, meter)
        cuts = column.cuts
        assert cuts is not None
        self._cuts = cuts
        self._blocks = RaggedBlocks(cuts, column.field, self._stretches)

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record. Raises CorruptDataError, with file and records."""
        began = time.perf_counter_ns()
        found = self._blocks.lengths(records)
        self._meter.decode_ns += time.perf_counter_ns() - began
        return found

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        self._blocks.gather(records, values, starts)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing: the library alone knows where they lie."""

    def close(self) -> None:
        """Close the files and forget what was kept."""
        self._rows.close()
        self._blocks.forget()

    def _stretches(self, block: int) -> Iterator[Stretch]:
        found = self._rows.objects(int(self._cuts[block]))
        offsets = np.zeros(len(found) + 1, np.int64)
        np.cumsum([len(one) for one in found], out=offsets[1:])
        if self._field.ragged == "array" or any(isinstance(one, np.ndarray) for one in found):
            parts = [np.asarray(one, self._field.dtype) for one in found]
            values = np.concatenate(parts) if parts else np.zeros(0, self._field.dtype)
        else:
            values = np.frombuffer(b"".join(one.encode() if isinstance(one, str) else one for one in found), np.uint8)
        self._meter.read_nbytes += values.nbytes
        yield Stretch(0, values, offsets)

"""Row groups of strings, bytes and lists of any length: decoded by pyarrow, in stored form, a stretch at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.files import OpenFiles
from streamload.formats.parquet.groups import STRETCH_NBYTES, RowGroupReader, RowGroups
from streamload.formats.ragged_blocks import RaggedBlocks, Stretch, scratch_nbytes
from streamload.schema import Field
from streamload.source import Lengths, Meter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RaggedGroups:
    """One ragged field that must be decoded, a row group after the other."""

    rows: RowGroups
    """Where its row groups lie."""
    lengths: Lengths
    weights: NDArray[np.int64]
    """Elements of each row group that holds records, as far as footers tell."""

    @property
    def field(self) -> Field:
        """As it is delivered."""
        return self.rows.field

    @property
    def addressable(self) -> bool:
        """Never: what lies before a record in its row group must be decoded with it."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where row groups begin."""
        return self.rows.cuts

    @property
    def amplification(self) -> float:
        """Records decoded for each one wanted, if the order is exact."""
        return self.rows.amplification

    @property
    def scratch_nbytes(self) -> int:
        """A row group on its way, and one that is kept."""
        return scratch_nbytes(int(self.weights.max(initial=0)) * self.field.nbytes) + 2 * self.rows.largest_page_nbytes

    def reader(self, files: OpenFiles, meter: Meter) -> RaggedGroupReader:
        """A reader that opens files in the calling process when it is asked for records."""
        return RaggedGroupReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.rows.label


class RaggedGroupReader:
    """Decodes row groups, each once a call."""

    def __init__(self, column: RaggedGroups, files: OpenFiles, meter: Meter) -> None:
        self._column = column
        self._meter = meter
        self._rows = RowGroupReader(column.rows, files, meter)
        cuts = column.cuts
        assert cuts is not None
        self._blocks = RaggedBlocks(cuts, column.field, self._stretches)
        self._most = max(1, int(STRETCH_NBYTES // max(1.0, column.lengths.mean * column.field.nbytes)))

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record. Raises CorruptDataError or ChecksumError, with file and records."""
        began = time.perf_counter_ns()
        found = self._blocks.lengths(records)
        self._meter.decode_ns += time.perf_counter_ns() - began
        return found

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        self._blocks.gather(records, values, starts)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing: pyarrow alone knows where pages lie, and it reads them in order."""

    def close(self) -> None:
        """Close the files and forget what was kept."""
        self._rows.close()
        self._blocks.forget()

    def _stretches(self, block: int) -> Iterator[Stretch]:
        from streamload.formats.arrow_ragged import to_ragged

        rows = self._column.rows
        self._rows.require_file(block)

        def made(array: Any) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
            return to_ragged(array, rows.values, rows.fill)

        for first, (values, offsets) in self._rows.stretches(block, self._most, made):
            yield Stretch(first, values, offsets)

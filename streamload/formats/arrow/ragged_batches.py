"""Record batches of strings, bytes and lists of any length that must be decoded: compressed ones, and ones with nulls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError
from streamload.files import OpenFiles
from streamload.formats.arrow.batches import Batches, BatchReader
from streamload.formats.ragged_blocks import RaggedBlocks, Stretch, scratch_nbytes
from streamload.schema import Field
from streamload.source import Lengths, Meter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RaggedBatches:
    """One ragged field that must be decoded, a record batch after the other."""

    rows: Batches
    """Where its record batches lie."""
    lengths: Lengths
    weights: NDArray[np.int64]
    """Elements of each batch that holds records."""

    @property
    def field(self) -> Field:
        """As it is delivered."""
        return self.rows.field

    @property
    def addressable(self) -> bool:
        """Never: a batch is decoded whole."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where batches begin."""
        return self.rows.cuts

    @property
    def scratch_nbytes(self) -> int:
        """A batch as it is stored, and unpacked, and one that is kept."""
        largest = int(self.weights.max(initial=0)) * self.field.nbytes
        return largest + scratch_nbytes(largest)

    def reader(self, files: OpenFiles, meter: Meter) -> RaggedBatchReader:
        """A reader by offset."""
        return RaggedBatchReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.rows.label


class RaggedBatchReader:
    """Decodes batches, each once a call."""

    def __init__(self, column: RaggedBatches, files: OpenFiles, meter: Meter) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._rows = BatchReader(column.rows, files, meter)
        cuts = column.cuts
        assert cuts is not None
        self._blocks = RaggedBlocks(cuts, column.field, self._stretches)

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record. Raises CorruptDataError, with file and records."""
        began, read_before = time.perf_counter_ns(), self._meter.read_ns
        found = self._blocks.lengths(records)
        self._meter.decode_ns += time.perf_counter_ns() - began - (self._meter.read_ns - read_before)
        return found

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        self._blocks.gather(records, values, starts)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing: a batch is read in one piece."""

    def close(self) -> None:
        """Forget the batches."""
        self._rows.close()
        self._blocks.forget()

    def _stretches(self, block: int) -> Iterator[Stretch]:
        import pyarrow as pa

        from streamload.formats.arrow_ragged import to_ragged
        from streamload.formats.arrow_values import NullFoundError, UnequalError, wrong_value

        rows = self._column.rows
        path, records = self._rows.place(block)
        array = self._rows.array(block)
        try:
            values, offsets = to_ragged(array, rows.values, rows.fill)
        except (NullFoundError, UnequalError) as error:
            raise wrong_value(path, rows.column, records[0], error) from None
        except (pa.ArrowException, ValueError) as error:
            raise CorruptDataError(
                f"{path}: column '{rows.column}' cannot be decoded in records {records[0]:,} to {records[1]:,}: {error}.",
                hint="The file is damaged; fetch or write it again.",
                path=path,
                dataset=rows.column,
                records=records,
            ) from error
        yield Stretch(0, values, offsets)

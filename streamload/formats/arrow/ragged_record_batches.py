"""Record batches of strings, bytes and lists of any length that must be decoded: compressed ones, and ones with nulls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streamload.errors import StreamloadError, damaged
from streamload.formats.arrow.record_batches import RecordBatches, RecordBatchReader
from streamload.formats.columns.ragged_blocks import RaggedRows, RaggedRowsReader, RaggedSlice, scratch_nbytes
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RaggedRecordBatches(RaggedRows):
    """One ragged field that must be decoded, a record batch after the other."""

    rows: RecordBatches

    @property
    def scratch_nbytes(self) -> int:
        """A batch as it is stored, and unpacked, and one that is kept."""
        return self.largest_nbytes + scratch_nbytes(self.largest_nbytes)

    def reader(self, files: OpenFiles, meter: ReadStats) -> RaggedBatchReader:
        """A reader by offset."""
        return RaggedBatchReader(self, files, meter)


class RaggedBatchReader(RaggedRowsReader):
    """Decodes batches, each once a call."""

    def __init__(self, column: RaggedRecordBatches, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column, RecordBatchReader(column.rows, files, meter), meter)
        self._column = column

    def _stretches(self, block: int) -> Iterator[RaggedSlice]:
        import pyarrow as pa

        from streamload.formats.arrow_types.ragged_types import to_ragged

        rows = self._column.rows
        path, records = self._rows.place(block)
        try:
            (values, offsets), wrong = self._rows.made(block, to_ragged)
        except (pa.ArrowException, ValueError) as error:
            if isinstance(error, StreamloadError):
                raise
            raise damaged(
                f"{path}: column '{rows.column}' cannot be decoded in records {records[0]:,} to {records[1]:,}: {error}.",
                path=path,
                dataset=rows.column,
                records=records,
            ) from error
        yield RaggedSlice(0, values, offsets, wrong)

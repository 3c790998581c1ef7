"""Row groups of strings, bytes and lists of any length: decoded by pyarrow, in stored form, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamload.formats.columns.ragged_blocks import RaggedRows, RaggedRowsReader, RaggedSlice, scratch_nbytes
from streamload.formats.parquet.row_groups import STRETCH_NBYTES, RowGroupReader, RowGroups
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RaggedRowGroups(RaggedRows):
    """One ragged field that must be decoded, a row group after the other."""

    rows: RowGroups

    @property
    def scratch_nbytes(self) -> int:
        """A row group on its way, and one that is kept."""
        return scratch_nbytes(self.largest_nbytes) + 2 * self.rows.largest_page_nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> RaggedRowGroupReader:
        """A reader that opens files in the calling process when it is asked for records."""
        return RaggedRowGroupReader(self, files, meter)


class RaggedRowGroupReader(RaggedRowsReader):
    """Decodes row groups, each once a call."""

    def __init__(self, column: RaggedRowGroups, files: OpenFiles, meter: ReadStats) -> None:
        super().__init__(column, RowGroupReader(column.rows, files, meter), meter)
        self._sizes = column.elements * column.field.nbytes / np.maximum(1, np.diff(self._cuts))
        """Bytes of a record on average, in each row group."""

    def _stretches(self, block: int) -> Iterator[RaggedSlice]:
        from streamload.formats.arrow_types.ragged_types import to_ragged

        self._rows.require_file(block)
        for first, (values, offsets), wrong in self._rows.stretches(
            block, max(1, int(STRETCH_NBYTES / max(1.0, self._sizes[block]))), to_ragged
        ):
            yield RaggedSlice(first, values, offsets, wrong)

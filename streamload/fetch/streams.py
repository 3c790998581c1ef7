"""The streams of a job as one process reads them: their files, where their records lie, and what the kernel is told ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError
from streamload.fetch.job import Job
from streamload.fetch.reading_time import ReadingTime
from streamload.fetch.window_tables import LaneTables
from streamload.order import StepPiece, WindowTable
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles

MOST_MAP_PAUSE = 256
"""Steps between two looks at whether the page cache holds enough of a file to map it."""


class OpenStreams:
    """All streams of a job: files that are opened when they are needed, block tables, and accounts of reading."""

    def __init__(self, job: Job, tables: LaneTables, meter: ReadStats) -> None:
        self._job = job
        self._tables = tables
        self.reading = ReadingTime(meter)
        """Entered while records are read."""
        self.files = [OpenFiles(stream.fingerprints, direct=job.direct) for stream in job.streams]
        self.advised: list[list[Reader]] = [[] for _ in job.streams]
        """Of each stream, the readers that are told ahead what steps will need."""
        self.unmapped: list[tuple[int, int]] = []
        """By stream and number, the files that may be mapped, and are not yet."""
        if job.mapped:
            self.unmapped = [(number, file) for number, files in enumerate(self.files) for file in range(len(files.fingerprints))]
        if job.mapped and not self.unmapped:
            self.reading.find_at_hand()
        self._map_pause, self._map_after = 1, 0

    def records(self, pieces: Sequence[StepPiece]) -> NDArray[np.int64]:
        """The record numbers of a step's pieces, each counted within its stream: shape (records,)."""
        if len(pieces) == 1:
            stream, lane, epoch, start, stop = pieces[0]
            if not self._tables:
                return self._job.streams[stream].lanes[lane].records(epoch, start, stop)
            return self._records(pieces[0])
        return np.concatenate([self._records(piece) for piece in pieces])

    def _records(self, piece: StepPiece) -> NDArray[np.int64]:
        tables = self._tables.get(piece[:2])
        if tables is not None:
            return tables.read(piece.epoch).records(piece.start, piece.stop)
        return self._job.records(piece)

    def verify(self) -> None:
        """Raise SourceChangedError where a file that is open is no longer what it was."""
        for files in self.files:
            files.verify()

    def advise(self, pieces: Sequence[StepPiece]) -> None:
        """Tell the kernel which stored bytes these positions will need. Never an error."""
        for piece in pieces:
            self._advise(piece)

    def _advise(self, piece: StepPiece) -> None:
        readers = self.advised[piece.stream]
        if not readers or (self._job.mapped and not self.unmapped):
            return
        try:
            tables = self._tables.get(piece[:2])
            if tables is not None:
                self._advise_blocks(readers, tables.read(piece.epoch), piece.start, piece.stop)
                return
            records = self._records(piece)
            for reader in readers:
                reader.advise(records)
        except StreamloadError:
            pass  # Whatever is wrong, the step that reads these records will say it.

    def _advise_blocks(self, readers: Sequence[Reader], table: WindowTable, start: int, stop: int) -> None:
        """The share of their windows' blocks that the positions [start, stop) are of the windows' positions."""
        for window in table.windows_between(start, stop, least=1):  # Some may hold nothing.
            low, high = int(table.starts[window]), int(table.starts[window + 1])
            blocks = table.blocks_of(window)
            first = len(blocks) * (max(start, low) - low) // (high - low)
            last = len(blocks) * (min(stop, high) - low) // (high - low)
            for block in blocks[first:last].tolist():
                records = table.block_records(block)
                for reader in readers:
                    reader.advise(records)

    def map_a_stretch(self) -> None:
        """Map a little more of the files, as long as the page cache holds them: reading is then a plain copy."""
        if self._map_after > 0:
            self._map_after -= 1
            return
        while self.unmapped:
            stream, file = self.unmapped[-1]
            mapping = self.files[stream].map(file)
            if mapping.populated:
                self.unmapped.pop()
                if not self.unmapped:
                    self.reading.find_at_hand()
                continue
            if mapping.populate():
                self._map_pause = 1
            else:
                # Looking costs as much as a small step: after a refusal, look half as often, and at another file.
                self.unmapped.insert(0, self.unmapped.pop())
                self._map_pause = min(2 * self._map_pause, MOST_MAP_PAUSE)
                self._map_after = self._map_pause
            return

    def close(self) -> None:
        """Let go of files and mappings."""
        for files in self.files:
            files.close()

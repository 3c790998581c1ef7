"""The streams of a job as one process reads them: open files, the record numbers of positions, advice and mapping."""

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
from streamload.storage.files import OpenFiles, most_descriptors

MOST_MAP_PAUSE = 256
"""The most steps between two attempts to map a file, which is done only where the page cache holds it."""


class OpenStreams:
    """All streams of a job in one process: files that are opened when they are first read, and the time that reading takes."""

    def __init__(self, job: Job, tables: LaneTables, meter: ReadStats) -> None:
        self._job = job
        self._tables = tables
        self.reading = ReadingTime(meter)
        """To be entered (`with`) while records are read."""
        most = most_descriptors(len(job.streams))
        self.files = [OpenFiles(stream.fingerprints, limit=most, direct=job.direct) for stream in job.streams]
        self.advised: list[list[Reader]] = [[] for _ in job.streams]
        """By stream, the readers that advice is passed to."""
        self.unmapped: list[tuple[int, int]] = []
        """(stream, file number) of the files that may be mapped and are not yet."""
        if job.mapped:
            self.unmapped = [(number, file) for number, files in enumerate(self.files) for file in range(len(files.fingerprints))]
        if job.mapped and not self.unmapped:
            self.reading.note_all_mapped()
        self._map_pause, self._map_after = 1, 0

    def records(self, pieces: Sequence[StepPiece]) -> NDArray[np.int64]:
        """The record numbers of a step's pieces, in their order, each counted within its stream: shape (records,)."""
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
        """Advise the operating system of the stored bytes that these positions will need. Raises nothing."""
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
            pass  # The step that reads these records raises what is wrong with them.

    def _advise_blocks(self, readers: Sequence[Reader], table: WindowTable, start: int, stop: int) -> None:
        """Advise of blocks of the windows that positions [start, stop) lie in: the same share of a window's blocks, in the order in which
        they are decoded, as these positions are of its positions. So all blocks of a window are advised of once."""
        for window in table.windows_between(start, stop, least=1):  # Windows of no positions are passed over.
            low, high = int(table.starts[window]), int(table.starts[window + 1])
            blocks = table.blocks_of(window)
            first = len(blocks) * (max(start, low) - low) // (high - low)
            last = len(blocks) * (min(stop, high) - low) // (high - low)
            for block in blocks[first:last].tolist():
                records = table.block_records(block)
                for reader in readers:
                    reader.advise(records)

    def map_a_stretch(self) -> None:
        """Map a little more of the files, if the page cache holds them: what is mapped is read by copying, without a system call.

        Called before every step until all files are mapped, so that no step waits long for it.
        """
        if self._map_after > 0:
            self._map_after -= 1
            return
        while self.unmapped:
            stream, file = self.unmapped[-1]
            mapping = self.files[stream].map(file)
            if mapping.populated:
                self.unmapped.pop()
                if not self.unmapped:
                    self.reading.note_all_mapped()
                continue
            if mapping.populate():
                self._map_pause = 1
            else:
                # An attempt takes as long as a small step: after one that failed, try half as often, and another file.
                self.unmapped.insert(0, self.unmapped.pop())
                self._map_pause = min(2 * self._map_pause, MOST_MAP_PAUSE)
                self._map_after = self._map_pause
            return

    def close(self) -> None:
        """Close files and mappings."""
        for files in self.files:
            files.close()

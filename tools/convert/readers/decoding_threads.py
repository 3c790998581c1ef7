"""Images of a source that are decoded on several threads, whatever order their stored bytes must be read in."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.source import Column, ReadStats, RecordDecoder, Source, stored_column
from streamload.storage.files import OpenFiles
from streamload.tools.files.direct_io import aligned_empty

TOGETHER = 8
"""Records that a thread takes at a time, at least: a word between threads costs as much as a tenth of an image."""


class DecodingThreads:
    """Threads that decode stored bytes, which the caller's thread reads: each has a decoder of its own."""

    def __init__(self, source: Source, stored: Source, threads: int) -> None:
        """`stored` is the source whose images are delivered as they are stored."""
        self._stored = stored
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._files = OpenFiles(source.fingerprints)
        self._images = [column for column in source.columns if stored_column(column) is not column]
        self._idle: dict[str, queue.SimpleQueue[RecordDecoder]] = {}
        for column in self._images:
            self._idle[column.field.name] = queue.SimpleQueue()
            for _ in range(threads):
                self._idle[column.field.name].put(column.reader(self._files, ReadStats()))

    def begin(self, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """Read records, and begin to decode them; what is returned waits for that, and raises what is wrong with one of the first."""
        taken = self._stored.take(records)
        rows = np.array_split(np.arange(len(records)), max(1, min(4 * self._threads, len(records) // TOGETHER)))
        waiting: list[Future[None]] = []
        for column in self._images:
            name, stored = column.field.name, taken[column.field.name]
            taken[name] = aligned_empty((len(records), *column.field.shape), column.field.dtype)
            waiting += [self._pool.submit(self._decode, column, records, stored, taken[name], some) for some in rows]

        def finish() -> dict[str, Any]:
            for one in waiting:
                one.result()
            return taken

        return finish

    def map(self, function: Callable[..., Any], *values: Iterable[Any]) -> Iterator[Any]:
        """What the function makes of each value, in their order."""
        return self._pool.map(function, *values)

    def _decode(self, column: Column, records: NDArray[np.int64], stored: Any, out: NDArray[Any], rows: NDArray[np.int64]) -> None:
        idle = self._idle[column.field.name]
        reader = idle.get()
        try:
            reader.decode(records[rows], stored.values, stored.offsets[rows], stored.lengths[rows], out, rows)
        finally:
            idle.put(reader)

    def close(self) -> None:
        """End the threads; the stored bytes are their owner's."""
        self._pool.shutdown(cancel_futures=True)
        for idle in self._idle.values():
            while not idle.empty():
                idle.get().close()
        self._files.close()

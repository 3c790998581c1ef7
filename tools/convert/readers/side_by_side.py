"""Records of a source that are taken on several threads: images are decoded side by side."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.ragged import Ragged
from streamload.source import Source

TOGETHER = 8
"""Records that a thread takes at a time, at least: a word between threads costs as much as a tenth of an image."""


class SideBySide:
    """Threads, each with readers of its own, since those of one source serve one thread at a time."""

    def __init__(self, source: Source, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._own = [source.replaced() for _ in range(threads)]
        self._idle: queue.SimpleQueue[Source] = queue.SimpleQueue()
        for one in self._own:
            self._idle.put(one)

    def begin(self, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """Begin to take records; what is returned waits for them. Of several that cannot be had, the first is the error."""
        count = max(1, min(4 * self._threads, len(records) // TOGETHER))
        parts = [self._pool.submit(self._take, part) for part in np.array_split(records, count)]
        return lambda: _joined([part.result() for part in parts])

    def map(self, function: Callable[..., Any], *values: Iterable[Any]) -> Iterator[Any]:
        """What the function makes of each value, in their order."""
        return self._pool.map(function, *values)

    def _take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        source = self._idle.get()
        try:
            return source.take(records)
        finally:
            self._idle.put(source)

    def close(self) -> None:
        """End the threads, and let go of files."""
        self._pool.shutdown(cancel_futures=True)
        for one in self._own:
            one.close()


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The same records in one array for each field."""
    if len(parts) == 1:
        return parts[0]
    made: dict[str, Any] = {}
    for name, first in parts[0].items():
        arrays = [part[name] for part in parts]
        if not isinstance(first, Ragged):
            made[name] = np.concatenate(arrays)
            continue
        ends = np.cumsum([0, *(len(one.values) for one in arrays)])
        offsets = [one.offsets[1:] + start for one, start in zip(arrays, ends.tolist(), strict=False)]
        made[name] = Ragged(np.concatenate([one.values for one in arrays]), np.concatenate([[0], *offsets]).astype(np.int64), first.kind)
    return made

"""The board: a few words of shared memory for each worker, which it alone writes and all may read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.shared import SharedBlock

COUNTERS = ("disk_ns", "decode_ns", "send_ns", "busy_ns", "idle_ns", "read_nbytes", "steps", "blocks")
"""What a worker has spent and done so far, a word each: waiting for storage; in codecs and functions; handing over; at work
in all; without work; and bytes read, steps filled, blocks decoded."""
PARTS = 56
"""Parts of the arena that a board has room for, unless there are more."""


class Board:
    """Counters and progress of every worker.

    A word is written whole by its worker and read whole by anybody: no lock, so a worker that dies holds none.
    A progress word is (serial << 24) | blocks done: it speaks of one opening of one window only.
    """

    WORDS = len(COUNTERS) + PARTS

    def __init__(self, block: SharedBlock, workers: int) -> None:
        self.block = block
        self._words: NDArray[np.int64] = np.ndarray((workers, block.nbytes // (8 * workers)), np.int64, block.bytes)

    @classmethod
    def create(cls, workers: int, *, parts: int = 0) -> Board:
        """A new board for that many workers, and an arena of so many parts."""
        words = cls.WORDS + max(0, parts - PARTS)
        return cls(SharedBlock.create(workers * words * 8, purpose="the workers' progress"), workers)

    def publish(self, worker: int, part: int, serial: int, done: int) -> None:
        """Say how many blocks of its share of a window this worker has decoded."""
        self._words[worker, len(COUNTERS) + part] = serial << 24 | done

    def published(self, worker: int, part: int, serial: int, done: int) -> bool:
        """Whether the worker has decoded its share, `done` blocks, of the window in that part."""
        return int(self._words[worker, len(COUNTERS) + part]) == serial << 24 | done

    def record(self, worker: int, **counters: int) -> None:
        """Set some of a worker's counters."""
        for name, value in counters.items():
            self._words[worker, COUNTERS.index(name)] = value

    def total(self) -> dict[str, int]:
        """The counters, summed over workers."""
        return dict(zip(COUNTERS, self._words[:, : len(COUNTERS)].sum(axis=0).tolist(), strict=True))

    def close(self) -> None:
        """Let go of the memory."""
        self._words = np.empty((0, self.WORDS), np.int64)
        self.block.close()

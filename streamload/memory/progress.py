"""Progress of workers: a few words of shared memory for each worker, which it alone writes and all may read."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from streamload.memory.shared_memory import SharedBlock

COUNTERS = ("disk_ns", "decode_ns", "read_nbytes", "steps", "blocks", "busy_ns", "idle_ns", "send_ns")
"""What a worker has spent and done so far, a word each: waiting for storage, in codecs and functions; bytes read, steps
filled, blocks decoded; at work in all, without work, handing over."""
PARTS = 56
"""Parts of the arena that there is room for, unless there are more."""


class WorkerProgress:
    """Counters and progress of every worker.

    A word is written whole by its worker and read whole by anybody: no lock, so a worker that dies holds none.
    A progress word is (serial << 24) | blocks done: it speaks of one opening of one window only.
    """

    WORDS = len(COUNTERS) + PARTS + 2
    """The last word is the task that was begun last, and one more; 0 for none. The one before it is 1 once a task was finished."""

    def __init__(self, block: SharedBlock, workers: int) -> None:
        self.block = block
        words: NDArray[np.int64] = np.ndarray((workers + 1, block.nbytes // (8 * (workers + 1))), np.int64, block.bytes)
        self._words = words[:workers]
        self._wanted = words[workers]
        self._gate = threading.Lock()
        self._retired: NDArray[np.int64] = np.zeros(len(COUNTERS), np.int64)

    @classmethod
    def create(cls, workers: int, *, parts: int = 0) -> WorkerProgress:
        """Memory for that many workers, and an arena of so many parts."""
        words = cls.WORDS + max(0, parts - PARTS)
        return cls(SharedBlock.create((workers + 1) * words * 8, purpose="the workers' progress"), workers)

    def publish(self, worker: int, part: int, serial: int, done: int) -> None:
        """Say how many blocks of its share of a window this worker has decoded."""
        self._words[worker, len(COUNTERS) + part] = serial << 24 | done

    def published(self, worker: int, part: int, serial: int, done: int) -> bool:
        """Whether the worker has decoded its share, `done` blocks, of the window in that part."""
        return int(self._words[worker, len(COUNTERS) + part]) == serial << 24 | done

    def blocks_done(self, worker: int, part: int, serial: int) -> int:
        """How many blocks of its share of the window in that part a worker of this number has decoded."""
        word = int(self._words[worker, len(COUNTERS) + part])
        return word & 0xFFFFFF if word >> 24 == serial else 0

    def begin(self, worker: int, task: int) -> None:
        """Say which task this worker is beginning."""
        self._words[worker, -1] = task + 1

    def finish(self, worker: int) -> None:
        """Say that this worker has finished a task."""
        self._words[worker, -2] = 1

    def finished(self, worker: int) -> bool:
        """Whether a worker of this number has finished any task since the last that died."""
        return bool(self._words[worker, -2])

    def want(self, first: int, enough: int) -> None:
        """Say that the loader sleeps until task `first` is finished, and would rather sleep until `enough` is."""
        self._wanted[1] = enough + 1
        self._wanted[0] = first + 1

    def want_nothing(self) -> None:
        """Say that the loader is awake."""
        self._wanted[0] = 0

    def wanted(self) -> tuple[int, int] | None:
        """What the loader sleeps for, as `want` says it; None while it is awake."""
        first = self._wanted.item(0)
        return (first - 1, self._wanted.item(1) - 1) if first else None

    def fence(self) -> None:
        """What was written before this is seen by others before anything is read after it.

        Words of shared memory are read and written without a lock. Two processes of which each writes its own word and then reads the
        other's need this between the two, or both may miss what the other wrote: a lock of one's own is the barrier that Python has.
        """
        gate = self._gate
        gate.acquire(False)
        gate.release()
        gate.acquire(False)

    def doing(self, worker: int) -> int | None:
        """The task that the worker began last."""
        return int(self._words[worker, -1]) - 1 if self._words[worker, -1] else None

    def retire(self, worker: int) -> None:
        """Add a dead worker's counters to the total, and reset its row for the one that takes its place."""
        self._retired += self._words[worker, : len(COUNTERS)]
        self._words[worker, : len(COUNTERS)] = 0
        self._words[worker, -2:] = 0

    def record(self, worker: int, counters: tuple[int, ...]) -> None:
        """Set a worker's counters, in the order of `COUNTERS`; those at the end may be left out."""
        self._words[worker, : len(counters)] = counters

    def total(self) -> dict[str, int]:
        """The counters, summed over workers, dead ones included."""
        return dict(zip(COUNTERS, (self._words[:, : len(COUNTERS)].sum(axis=0) + self._retired).tolist(), strict=True))

    def close(self) -> None:
        """Let go of the memory."""
        self._words = self._wanted = np.empty((0, self.WORDS), np.int64)
        self.block.close()

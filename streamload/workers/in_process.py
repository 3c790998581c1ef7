"""The same work without other processes: `num_workers=0` does each task in the calling process when it is asked for."""

from __future__ import annotations

import time
from collections import deque

from streamload.errors import StreamloadError, to_plain
from streamload.fetch.fetcher import BatchFetcher
from streamload.fetch.job import Job
from streamload.fetch.tasks import Failed, Filled, Overflowed, Reply, StepTask, WindowTask
from streamload.kernels import compile_kernels
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotViews
from streamload.transforms.record import received_error


class InProcessPool:
    """What `pool.ProcessPool` is, for the calling process itself."""

    def __init__(
        self, job: Job, *, ring: SharedBlock, board: WorkerProgress, arena: SharedBlock | None, tables: SharedBlock | None
    ) -> None:
        assert job.layout is not None
        compile_kernels()
        slots = [SlotViews(job.layout, ring, slot) for slot in range(ring.nbytes // job.layout.nbytes)]
        self._filler = BatchFetcher(job, index=0, board=board, slots=slots, arena=arena, tables=tables)
        self._board = board
        self._steps: deque[StepTask] = deque()
        self._done = 0
        self._decoded = 0
        self._busy_ns = 0

    @property
    def capacity(self) -> int:
        """One step at a time: what is asked for ahead would only be waited for."""
        return 1

    @property
    def pids(self) -> list[int]:
        """None: there are no other processes."""
        return []

    def send_step(self, task: StepTask) -> None:
        """Keep a step for later."""
        self._steps.append(task)

    def flush(self) -> None:
        """Nothing has to travel."""

    def send_window(self, task: WindowTask) -> None:
        """Keep a window for later."""
        self._filler.windows.open(task)

    def receive(self, waiting_for: int | None) -> list[Reply]:
        """Do the next step if it is waited for."""
        if waiting_for is None or not self._steps:
            return []
        began = time.perf_counter_ns()
        task = self._steps.popleft()
        try:
            while not self._filler.windows.ready(task):
                self._filler.windows.decode_next()
                self._decoded += 1
            self._filler.advise(task.advise_epoch, task.advise_start, task.advise_stop)
            reply: Reply = Filled(task.number, task.slot, self._filler.fill(task), tuple(self._filler.bad))
            if self._filler.overflow is not None:
                block, capacities = self._filler.overflow
                block.keep_for_forks()
                reply = Overflowed(reply.number, reply.slot, reply.records, capacities, block.nbytes, block.bytes, reply.bad)
                self._filler.leave_overflow()
        except StreamloadError as error:
            reply = Failed(task.number, task.slot, to_plain(error))
        finally:
            self._done += 1
            self._busy_ns += time.perf_counter_ns() - began
            self._board.record(0, (*self._filler.counters(), self._done, self._decoded, self._busy_ns))
        return [reply]

    def forget(self) -> list[Reply]:
        """Call off what has not been done."""
        replies: list[Reply] = [Failed(task.number, task.slot, {}) for task in self._steps]
        self._steps.clear()
        self._filler.windows.forget()
        self._filler.forget_tables()
        return replies

    def error_of(self, failed: Failed) -> StreamloadError:
        """The error that a task met."""
        return received_error(failed.error)

    def stop(self) -> None:
        """Let go of files and readers."""
        self._filler.close()

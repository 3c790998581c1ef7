"""The same work without other processes: `num_workers=0` does each task in the calling process when it is asked for."""

from __future__ import annotations

import time
from collections import deque

from streamload.errors import StreamloadError, to_plain
from streamload.fetch.fetcher import BatchFetcher
from streamload.fetch.job import Job
from streamload.fetch.tasks import Failed, Filled, Overflowed, Reply, StepTask, WindowTask
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged, RawRagged
from streamload.kernels import announce_compiling, augments_at_once, compile_kernels
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotViews
from streamload.transforms.record import received_error

PLAIN_NS = 250_000_000
"""Nanoseconds of work with the plain kernels after which the compiled ones are loaded, which takes twice as long."""
NEVER = 1 << 62


def is_plain(job: Job) -> bool:
    """Whether records are delivered as they are stored, by offset, or augmented by compiled kernels that are at hand without numba:
    plain kernels do the rest well for a while.
    """
    kinds = (RawRecords, InMemory, RawRagged, InMemoryRagged)
    lanes = [lane for stream in job.streams for lane in stream.lanes]
    made = (job.transform, job.batch_transform, job.collation)
    ours = all(one is None for one in made) and all(lane.mode != "user" for lane in lanes)
    plain = ours and not job.parts and all(type(column) in kinds for stream in job.streams for column in stream.columns)
    return plain and (job.augmentation is None or augments_at_once(job.augmentation.kernels))


class InProcessPool:
    """What `pool.ProcessPool` is, for the calling process itself."""

    def __init__(
        self,
        job: Job,
        *,
        ring: SharedBlock,
        progress: WorkerProgress,
        arena: SharedBlock | None,
        tables: SharedBlock | None,
        plain: bool = False,
    ) -> None:
        """With `plain` no kernels are ever compiled for this."""
        assert job.layout is not None
        self._busy_ns = 0
        self._plain_ns = NEVER if plain else PLAIN_NS if is_plain(job) else 0
        self._compile()
        slots = [SlotViews(job.layout, ring, slot) for slot in range(ring.nbytes // job.layout.nbytes)]
        self._fetcher = BatchFetcher(job, index=0, progress=progress, slots=slots, arena=arena, tables=tables)
        self._progress = progress
        self._ring, self._slot_nbytes = ring, job.layout.nbytes
        self._steps: deque[StepTask] = deque()
        self._done = 0
        self._decoded = 0

    @property
    def capacity(self) -> int:
        """One step at a time: what is asked for ahead would only be waited for."""
        return 1

    @property
    def in_turns(self) -> bool:
        """False: nobody sleeps."""
        return False

    @property
    def pids(self) -> list[int]:
        """None: there are no other processes."""
        return []

    def send_step(self, task: StepTask) -> None:
        """Keep a step for later."""
        self._steps.append(task)

    def send_window(self, task: WindowTask) -> None:
        """Keep a window for later."""
        self._fetcher.windows.open(task)

    def receive(self, waiting_for: int | None) -> list[Reply]:
        """Do the next step if it is waited for."""
        if waiting_for is None or not self._steps:
            return []
        began = time.perf_counter_ns()
        task = self._steps.popleft()
        try:
            self._ring.await_present((task.slot + 1) * self._slot_nbytes)
            while not self._fetcher.windows.ready(task):
                self._decoded += self._fetcher.windows.decode_next()
            self._fetcher.advise(task.advice)
            filled = self._fetcher.fill(task)
            reply: Reply = Filled(task.number, task.slot, filled.count, filled.bad, filled.valid)
            if filled.overflow is not None:
                block, capacities = filled.overflow
                block.keep_for_forks()
                reply = Overflowed(task.number, task.slot, filled.count, capacities, block.nbytes, block.bytes, filled.bad, filled.valid)
                block.close()
        except StreamloadError as error:
            reply = Failed(task.number, task.slot, to_plain(error))
        finally:
            self._done += 1
            self._busy_ns += time.perf_counter_ns() - began
            self._progress.record(0, (*self._fetcher.counters(), self._done, self._decoded, self._busy_ns))
            self._compile()
        return [reply]

    def _compile(self) -> None:
        """Load the compiled kernels, once the work has taken long enough for that to pay."""
        if self._busy_ns >= self._plain_ns:
            self._plain_ns = NEVER
            announce_compiling()
            compile_kernels()

    def forget(self) -> list[Reply]:
        """Call off what has not been done."""
        replies: list[Reply] = [Failed(task.number, task.slot, {}) for task in self._steps]
        self._steps.clear()
        self._fetcher.windows.forget()
        self._fetcher.forget_tables()
        return replies

    def error_of(self, failed: Failed) -> StreamloadError:
        """The error that a task met."""
        return received_error(failed.error)

    def stop(self) -> None:
        """Let go of files and readers."""
        self._fetcher.close()

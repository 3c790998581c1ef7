"""The engine of a loader: the ring of slots, the arena, the workers and the scheduler, which are made together and end together."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from streamload.fetch.job import ArenaLayout, Job, Stream
from streamload.fetch.ragged_collate import capacities_of
from streamload.fetch.tasks import LaneKey
from streamload.fetch.window_tables import LaneTables, tables_in, tables_nbytes
from streamload.kernels import announce_compiling
from streamload.loader.budget import Sizing
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import Slots
from streamload.order import WINDOWED, SharedSteps
from streamload.schedule.advice import Advice
from streamload.schedule.windows import LaneParts, WindowSchedule
from streamload.source import RaggedColumn, stored_column
from streamload.workers.in_process import InProcessPool, is_plain
from streamload.workers.scheduler import Scheduler, WorkerPool

if TYPE_CHECKING:
    from streamload.loader.first_steps import FirstSteps


class Engine:
    """The memory and the workers of one loader. An error of a worker breaks it; `delivery` then makes a new one."""

    def __init__(self, job: Job, sizing: Sizing, *, steps: SharedSteps, workers: int, timeout: float, restart: bool) -> None:
        """Allocate the memory and start the workers; 0 of them for the calling process itself. `timeout` in seconds.

        Raises ResourceError if memory, descriptors or processes do not suffice, and ConfigError if the job cannot be pickled.
        """
        assert job.layout is not None
        self.closed = False
        """Whether it has ended: also by itself, when the program does."""
        self._blocks: list[SharedBlock] = []
        self.slots: Slots | None = None
        self.progress: WorkerProgress | None = None
        self._pool: WorkerPool | None = None
        self._first: FirstSteps | None = None
        try:
            if workers:
                from streamload.workers.launcher import start_launcher

                start_launcher(workers)  # It imports what workers need while memory is taken here.
            plain = is_plain(job)
            self.slots = Slots(job.layout, count=sizing.slots, spare=sizing.spare, at_once=not plain)
            self.progress = WorkerProgress.create(job.workers, parts=job.parts)
            arena = self._block(job.arena_nbytes, "the arena of decoded blocks") if job.parts else None
            needed = tables_nbytes(job.streams)
            tables = self._block(needed, "the block tables") if needed else None
            ring = self.slots.ring
            if workers:
                from streamload.loader.first_steps import FirstSteps
                from streamload.workers.pool import ProcessPool

                announce_compiling()
                started = ProcessPool(job, ring=ring, progress=self.progress, arena=arena, tables=tables, timeout=timeout, restart=restart)
                self._pool = started
                if plain and not started.ready:
                    self._pool = self._first = FirstSteps(job, started, ring=ring, tables=tables)
                else:
                    ring.await_present()
            else:
                self._pool = InProcessPool(job, ring=ring, progress=self.progress, arena=arena, tables=tables)
            self.scheduler = Scheduler(
                steps=steps,
                pool=self._pool,
                slots=self.slots,
                windows=window_schedule(steps, tables_in(tables, job.streams), job),
                advice=Advice(steps, ahead=sizing.ahead, most=max(job.layout.batch_size, sizing.advised)),
                fills=job.fills,
            )
        except BaseException:
            self.close()
            if workers:
                from streamload.workers.launcher import Launcher

                Launcher.end_unused()
            raise

    def _block(self, nbytes: int, purpose: str) -> SharedBlock:
        block = SharedBlock.create(nbytes, purpose=purpose)
        block.keep_from_forks()
        self._blocks.append(block)
        return block

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return self._pool.pids if self._pool is not None else []

    def work(self) -> dict[str, int]:
        """The counters of all workers (`memory.progress`), by name: nanoseconds, bytes, steps and blocks. Empty after the end."""
        if self.progress is None or self.closed:
            return {}
        here = self._first.work() if self._first is not None else {}
        return {name: value + here.get(name, 0) for name, value in self.progress.total().items()}

    def close(self) -> None:
        """End the workers and free the memory. Arrays that the user holds stay valid. May be called again, and in a forked process."""
        if self.closed:
            return
        self.closed = True
        if self._pool is not None:
            self._pool.stop()
        if hasattr(self, "scheduler"):
            self.scheduler.close()
        if self.slots is not None:
            self.slots.close()
        if self.progress is not None:
            self.progress.close()
        for block in self._blocks:
            block.close()


def window_schedule(steps: SharedSteps, tables: LaneTables, job: Job) -> WindowSchedule:
    """The schedule of the windows of all lanes of a job, to each of which it gives its own parts of the arena."""
    lanes: dict[LaneKey, LaneParts] = {}
    first = 0
    for number, stream in enumerate(job.streams):
        for lane in range(len(stream.lanes)):
            stop = first + (stream.arena.lane_parts[lane] if stream.arena is not None else 0)
            if (number, lane) in tables:
                lanes[number, lane] = LaneParts(range(first, stop), stream.least)
            first = stop
    return WindowSchedule(steps, lambda lane, epoch: tables[lane].write(epoch), lanes)


def arena_of(stream: Stream, count: int, *, goes_on: bool) -> ArenaLayout | None:
    """The layout of the arena for a stream; None if its order has no windows, or none of its fields has to be decoded by blocks.

    `count` is the most positions that a step takes of a lane. With `goes_on`, a step may take them of two epochs.
    """
    decoded = [stored_column(column) for column in stream.columns if not column.addressable]
    windowed = {lane: order for lane, order in enumerate(stream.lanes) if lane in stream.own and isinstance(order, WINDOWED) and order.n}
    if not windowed or not decoded:
        return None
    ragged = [cast(RaggedColumn, column) for column in decoded if column.field.ragged]
    first = next(iter(windowed.values()))
    rooms = {column.field.name: capacities_of(column, first.layout, first.block_cuts) for column in ragged}
    return ArenaLayout.of(
        [column.field for column in decoded],
        records=max(order.most_window_records for order in windowed.values()),
        lane_parts=[
            1 + windowed[lane].most_touched(count, goes_on=goes_on) if lane in windowed else 0 for lane in range(len(stream.lanes))
        ],
        rooms=rooms,
        capacities={name: max(order.most_in_window(room) for order in windowed.values()) for name, room in rooms.items()},
    )

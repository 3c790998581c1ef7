"""A loader's machinery for as long as nothing breaks it: ring, arena, workers and pipeline, made together and ended together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from streamload.fetch.job import ArenaLayout, Job
from streamload.fetch.ragged_collate import capacities_of
from streamload.fetch.window_tables import Tables
from streamload.kernels import announce_compiling
from streamload.loader.budget import Sizing
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import Slots
from streamload.order import WINDOWED
from streamload.source import RaggedColumn, kept_column
from streamload.workers.in_process import InProcessPool, is_plain
from streamload.workers.scheduler import Scheduler, WorkerPool

if TYPE_CHECKING:
    from streamload.loader.first_steps import FirstSteps


class Engine:
    """Everything that runs behind one loader."""

    def __init__(self, job: Job, shape: Sizing, *, end: int, workers: int, timeout: float, restart: bool) -> None:
        assert job.layout is not None
        self._closed = False
        self._blocks: list[SharedBlock] = []
        self.slots: Slots | None = None
        self.board: WorkerProgress | None = None
        self._pool: WorkerPool | None = None
        self._first: FirstSteps | None = None
        try:
            self.slots = Slots(job.layout, count=shape.slots, spare=shape.spare)
            self.board = WorkerProgress.create(job.workers, parts=job.arena.parts if job.arena else 0)
            arena = self._block(job.arena.nbytes, "the arena of decoded blocks") if job.arena else None
            tables = self._block(Tables.nbytes(job.order), "the block tables") if isinstance(job.order, WINDOWED) else None
            ring = self.slots.ring
            if workers:
                from streamload.loader.first_steps import FirstSteps
                from streamload.workers.pool import ProcessPool

                announce_compiling()
                started = ProcessPool(job, ring=ring, board=self.board, arena=arena, tables=tables, timeout=timeout, restart=restart)
                self._pool = started
                if is_plain(job) and not started.ready:
                    self._pool = self._first = FirstSteps(job, started, ring=ring, tables=tables)
            else:
                self._pool = InProcessPool(job, ring=ring, board=self.board, arena=arena, tables=tables)
            self.pipeline = Scheduler(
                batch_size=job.layout.batch_size,
                end=end,
                pool=self._pool,
                slots=self.slots,
                tables=Tables(job.order, tables) if isinstance(job.order, WINDOWED) and tables is not None else None,
                arena=job.arena,
                ahead=shape.ahead,
                advised=shape.advised,
            )
        except BaseException:
            self.close()
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
        """What the workers have spent and done so far."""
        if self.board is None or self._closed:
            return {}
        here = self._first.work() if self._first is not None else {}
        return {name: value + here.get(name, 0) for name, value in self.board.total().items()}

    def close(self) -> None:
        """End the workers and let go of the memory; arrays that the user holds stay valid. Safe to call again, and in a fork."""
        if self._closed:
            return
        self._closed = True
        if self._pool is not None:
            self._pool.stop()
        if hasattr(self, "pipeline"):
            self.pipeline.close()
        if self.slots is not None:
            self.slots.close()
        if self.board is not None:
            self.board.close()
        for block in self._blocks:
            block.close()


def arena_of(job: Job, batch_size: int) -> ArenaLayout | None:
    """The arena that a job needs: for block order over fields that must be decoded; None where there are none."""
    order = job.order
    columns = [kept_column(column) for column in job.columns if not column.addressable]
    if not isinstance(order, WINDOWED) or not columns or not order.n:
        return None
    ragged = [cast(RaggedColumn, column) for column in columns if column.field.ragged]
    rooms = {column.field.name: capacities_of(column, order.layout, order.cuts) for column in ragged}
    touched = min(order.windows, 1 + math.ceil((batch_size - 1) / max(1, order.least_window_records)))
    return ArenaLayout.of(
        [column.field for column in columns],
        records=order.most_window_records,
        parts=touched + 1,
        rooms=rooms,
        capacities={name: order.most_in_window(room) for name, room in rooms.items()},
    )

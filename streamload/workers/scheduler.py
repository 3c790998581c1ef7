"""Asks for steps ahead of the user, and hands them out in order.

Rules:

1. Steps are asked for in the order in which they will be handed out, across the border of epochs, as slots and sockets allow.
2. At most the epoch after the one being handed out is asked for: two block tables exist, and no task may look at a third.
3. A window is opened when a part of the arena is free, in the order of use, and retired when the last step that touches it
   is filled. There is one part more than a batch can touch, so the oldest unfilled step always has its windows.
4. What has been filled is handed out before an error is raised; after an error the same error is raised again.
5. Beginning anywhere else than where the asking would go on anyway first calls everything off, and waits until nothing is
   under way.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError, WorkerError, without_frames
from streamload.fetch.job import ArenaLayout
from streamload.fetch.tasks import Failed, Filled, Overflowed, Reply, StepPiece, StepTask, WindowTask
from streamload.fetch.window_tables import Tables
from streamload.memory.slots import Slots

NO_ADVICE: tuple[StepPiece, ...] = ()


class WorkerPool(Protocol):
    """Whoever does the tasks: `pool.ProcessPool`, or `in_process.InProcessPool` in the calling process."""

    @property
    def capacity(self) -> int:
        """The most steps that may be asked for and not answered."""
        ...

    @property
    def pids(self) -> list[int]:
        """Process ids, if there are other processes."""
        ...

    def send_step(self, task: StepTask) -> None:
        """Ask for a step; it may wait for `flush`."""
        ...

    def flush(self) -> None:
        """Let everything that was asked for go out."""
        ...

    def send_window(self, task: WindowTask) -> None:
        """Ask for a window."""
        ...

    def receive(self, waiting_for: int | None) -> list[Reply]:
        """Replies; at least one if `waiting_for` names a task."""
        ...

    def forget(self) -> list[Reply]:
        """Call everything off."""
        ...

    def error_of(self, failed: Failed) -> StreamloadError:
        """The error of a reply."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class Step(NamedTuple):
    """A step as it is handed out."""

    epoch: int
    start: int
    stop: int
    fields: dict[str, Any]
    """By name, an array, or a Ragged."""
    records: NDArray[np.int64]
    bad: tuple[tuple[int, int, str], ...]
    """Records that could not be delivered, as `wire.Filled` has them."""


class _Asked:
    """A step that has been asked for."""

    __slots__ = ("reply", "task")

    def __init__(self, task: StepTask) -> None:
        self.task = task
        self.reply: Reply | None = None


class _Open:
    """A window in the arena, and how many positions of it are still to be filled."""

    __slots__ = ("left", "part")

    def __init__(self, part: int, left: int) -> None:
        self.part = part
        self.left = left


class Scheduler:
    """The order of work for one loader."""

    def __init__(
        self,
        *,
        batch_size: int,
        end: int,
        pool: WorkerPool,
        slots: Slots,
        tables: Tables | None,
        arena: ArenaLayout | None,
        ahead: int,
        advised: int,
    ) -> None:
        self._batch_size = batch_size
        self._end = end
        self._pool = pool
        self._slots = slots
        self._tables = tables
        self._arena = arena
        self._ahead = ahead
        self._share = max(batch_size, advised)
        self._number = 0
        self._serial = 0
        self._queue: deque[_Asked] = deque()
        self._waiting: dict[int, _Asked] = {}
        self._capacity = pool.capacity
        # Waking a worker costs more than asking it: a few steps go out together, long before they are needed.
        self._worthwhile = max(1, (len(slots) - slots.spare) // 4)
        self._at = (0, 0)
        self._advised = (0, 0)
        self._next_window = (0, 0)
        self._floor = (0, 0)
        self._windows: dict[tuple[int, int], _Open] = {}
        self._parts = list(range(arena.parts)) if arena else []
        self._stop: int | None = 0
        self._epoch = 0
        self._started = False
        self.broken: BaseException | None = None
        self.wait_ns = 0
        self.copies = 0
        self.copied_nbytes = 0
        self.overflows = 0
        self.overflown_nbytes = 0
        self.ragged_nbytes = 0
        self._ragged = slots.layout.schema.ragged

    def begin(self, epoch: int, position: int, stop: int | None) -> None:
        """Hand out from here on, up to epoch `stop` (None: without end)."""
        failed = bool(self._queue) and isinstance(self._queue[0].reply, Failed)
        if not self._started or failed or self._next() != (epoch, position):
            try:
                self._restart(epoch, position)
            except StreamloadError as error:
                self._break(error)
                raise
        self._epoch, self._stop = epoch, stop
        self._ask()

    def _next(self) -> tuple[int, int]:
        """Where the step that will be handed out next begins."""
        return self._queue[0].task.pieces[0][2:4] if self._queue else self._at

    def _restart(self, epoch: int, position: int) -> None:
        """Call everything off, and stand at a position (rule 5)."""
        if self._started:
            for reply in self._pool.forget():
                self._take(reply)
            for asked in self._queue:
                if isinstance(asked.reply, (Filled, Overflowed)):
                    self._slots.drop(asked.task.slot)
        self._queue.clear()
        self._windows.clear()
        self._parts = list(range(self._arena.parts)) if self._arena else []
        self._started = True
        self._at = self._floor = self._advised = (epoch, position)
        if self._tables is not None and position < self._end:
            table = self._tables.write(epoch)
            window = table.window_of(position)
            self._next_window = (epoch, window)
            self._advised = (epoch, int(table.starts[window]))

    def step(self) -> Step | None:
        """The next step of the epoch that was begun, or None at its end. Raises what its work met."""
        if not self._queue or self._queue[0].reply is None:
            self._listen()
        elif self._slots.available >= self._worthwhile and self.broken is None:
            self._ask()
        if not self._queue or self._queue[0].task.epoch != self._epoch:
            if self.broken is not None and self._at < (self._epoch, self._end):
                raise without_frames(self.broken)
            return None
        asked = self._queue[0]
        if asked.reply is None:
            began = time.perf_counter_ns()
            try:
                while asked.reply is None:
                    if self.broken is not None:
                        raise without_frames(self.broken)
                    for reply in self._pool.receive(asked.task.number):
                        self._take(reply)
                    if self._slots.available >= self._worthwhile or self._parts:
                        self._ask()
            except StreamloadError as error:
                self._break(error)
                raise
            finally:
                self.wait_ns += time.perf_counter_ns() - began
        if isinstance(asked.reply, Failed):
            raise self._pool.error_of(asked.reply)
        task = asked.task
        self._queue.popleft()
        copied = False
        if isinstance(asked.reply, Overflowed):
            fields, records = self._overflown(task, asked.reply)
        else:
            fields, records, copied = self._slots.lease(task.slot, asked.reply.records)
        for field in self._ragged:
            self.ragged_nbytes += fields[field.name].nbytes
        if copied:
            self.copies += 1
            self.copied_nbytes += sum(array.nbytes for array in fields.values())
        piece = task.pieces[0]
        return Step(task.epoch, piece.start, piece.stop, fields, records, asked.reply.bad)

    def _overflown(self, task: StepTask, reply: Overflowed) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """A step that lies in memory of its own."""
        self.overflows += 1
        self.overflown_nbytes += reply.nbytes
        return self._slots.overflown(task.slot, reply.records, reply.capacities, reply.memory)

    def close(self) -> None:
        """Let go of batches that were filled and not handed out: some lie in memory of their own."""
        self._queue.clear()
        self._waiting.clear()

    def _listen(self) -> None:
        """Take in what has arrived, and ask for more."""
        if self.broken is not None:
            return
        try:
            for reply in self._pool.receive(None):
                self._take(reply)
            self._ask()
        except StreamloadError as error:
            self._break(error)

    def _break(self, error: StreamloadError) -> None:
        """Nothing can go on: what is filled will still be handed out, and nobody works any more."""
        self.broken = self.broken or without_frames(error)
        self._pool.stop()

    def _take(self, reply: Reply) -> None:
        """Note a reply: its slot, and the windows that it leaves."""
        asked = self._waiting.pop(reply.number, None)
        if asked is None:
            raise WorkerError(f"a worker answered task {reply.number}, which nobody asked for: a fault in streamload.")
        asked.reply = reply
        if isinstance(reply, Failed):
            self._slots.failed(reply.slot)
        elif reply.slot != asked.task.slot or not self._slots.answered(reply.slot, reply.number):
            raise WorkerError(
                f"slot {reply.slot} does not hold what task {reply.number} should have put there.",
                hint="A function of yours, or a column of your own, wrote past the end of its array.",
            )
        if self._windows:
            self._leave_windows(asked.task)

    # Asking

    def _ask(self) -> None:
        """Ask for as many steps as there is room for, and open the windows that they will need."""
        if self.broken is not None:
            return
        self._open_windows()
        slots, pool, queue, waiting = self._slots, self._pool, self._queue, self._waiting
        while self._has_more() and len(waiting) < self._capacity and (slot := slots.ask()) is not None:
            epoch, start = self._at
            stop = min(start + self._batch_size, self._end)
            if self._tables is not None:
                self._tables.write(epoch)
            advice = self._advice(epoch, stop) if self._ahead else NO_ADVICE
            piece = StepPiece(0, 0, epoch, start, stop)
            task = StepTask(self._number, slot, epoch, start // self._batch_size, (piece,), advice)
            self._number += 1
            asked = waiting[task.number] = _Asked(task)
            queue.append(asked)
            self._at = (epoch, stop) if stop < self._end else (epoch + 1, 0)
            pool.send_step(task)
        pool.flush()

    def _has_more(self) -> bool:
        """Whether there is a step to ask for (rule 2)."""
        return self._end > 0 and self._allowed(self._at[0])

    def _allowed(self, epoch: int) -> bool:
        return epoch <= self._epoch + 1 and (self._stop is None or epoch < self._stop)

    def _advice(self, epoch: int, stop: int) -> tuple[StepPiece, ...]:
        """The positions that the kernel should hear of now. Shares the first ones out."""
        at_epoch, at = self._advised
        if at >= self._end:
            at_epoch, at = at_epoch + 1, 0
        if not self._allowed(at_epoch):
            return NO_ADVICE
        if at_epoch > epoch:
            limit = stop + self._ahead - self._end
        else:
            limit = stop + self._ahead if at_epoch == epoch else 0
        upto = min(max(limit, 0), at + self._share, self._end)
        if upto <= at:
            return NO_ADVICE
        if self._tables is not None:
            self._tables.write(at_epoch)
        self._advised = (at_epoch, upto)
        return (StepPiece(0, 0, at_epoch, at, upto),)

    # Windows

    def _open_windows(self) -> None:
        """Open windows while parts of the arena are free (rule 3)."""
        while self._tables is not None and self._parts and self._end:
            epoch, window = self._next_window
            if not self._allowed(epoch):
                return
            table = self._tables.write(epoch)
            if window + 1 >= len(table.starts):
                self._next_window = (epoch + 1, 0)
                continue
            self._next_window = (epoch, window + 1)
            floor = self._floor[1] if epoch == self._floor[0] else 0
            left = min(int(table.starts[window + 1]), self._end) - max(int(table.starts[window]), floor)
            if left <= 0:
                continue
            part = self._parts.pop()
            self._windows[epoch, window] = _Open(part, left)
            self._serial += 1
            self._pool.send_window(WindowTask(self._serial, 0, 0, epoch, window, part))

    def _leave_windows(self, task: StepTask) -> None:
        """A step is done with its windows; those with nothing left to give are retired."""
        assert self._tables is not None
        _, _, epoch, start, stop = task.pieces[0]
        table = self._tables.write(epoch)
        for window in range(table.window_of(start), table.window_of(stop - 1) + 1):
            held = self._windows.get((epoch, window))
            if held is None:
                continue
            held.left -= min(stop, int(table.starts[window + 1])) - max(start, int(table.starts[window]))
            if held.left == 0:
                self._parts.append(held.part)
                del self._windows[epoch, window]

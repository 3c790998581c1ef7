"""Asks for steps ahead of the user, and hands them out in order; what comes next is worked out in `schedule`.

Rules:

1. Steps are asked for in the order in which they will be handed out, across the border of epochs, as slots and sockets allow.
2. At most the epoch after the one being handed out is asked for, and never more than two epochs of a lane: it has two block
   tables, and no task may look at a third.
3. A window is opened when a part of the arena is free, in the order of use, and closed when the last step that touches it
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
from streamload.fetch.tasks import Failed, Filled, Overflowed, Reply, SegmentRows, StepTask, WindowTask
from streamload.memory.slots import Slots
from streamload.order import PlannedStep, SharedSteps, Standing
from streamload.schedule.advice import Advice
from streamload.schedule.windows import WindowSchedule

_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""


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


class FinishedStep(NamedTuple):
    """A step as it is handed out."""

    planned: PlannedStep
    """What it consists of, and where a run stands before and after it."""
    valid: tuple[int, ...]
    """Rows of each segment that count, where records were left out; else none."""
    fields: dict[str, Any]
    """By name, an array, or a Ragged."""
    records: NDArray[np.int64]
    bad: tuple[tuple[int, int, str], ...]
    """Records that could not be delivered, as `tasks.Filled` has them."""

    @property
    def epoch(self) -> int:
        """The epoch, as the user counts."""
        return self.planned.begin.epoch

    @property
    def step(self) -> int:
        """Its number in the epoch."""
        return self.planned.begin.step


class _PendingStep:
    """A step that has been asked for, and its reply once there is one."""

    __slots__ = ("planned", "reply", "task")

    def __init__(self, planned: PlannedStep, task: StepTask) -> None:
        self.planned = planned
        self.task = task
        self.reply: Reply | None = None


class Scheduler:
    """The order of work for one loader."""

    def __init__(self, *, steps: SharedSteps, pool: WorkerPool, slots: Slots, windows: WindowSchedule, advice: Advice, fills: bool) -> None:
        """`fills`: whether a record that is left out leaves a row that does not count, so that all ranks stay in step."""
        self._steps = steps
        self._fills = fills
        self._pool = pool
        self._slots = slots
        self._windows = windows
        self._advice = advice
        self._number = 0
        self._queue: deque[_PendingStep] = deque()
        self._waiting: dict[int, _PendingStep] = {}
        self._capacity = pool.capacity
        # Waking a worker costs more than asking it: a few steps go out together, long before they are needed. More of them where
        # workers had done all that they were asked for when somebody looked: they are ahead of the user, and can sleep longer.
        self._least_group = max(1, (len(slots) - slots.spare) // 4)
        self._idle_group = max(1, (len(slots) - slots.spare) // 2)
        self._group = self._least_group
        self._at = steps.begin()
        """Where the step begins that is asked for next."""
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

    def begin(self, at: Standing, stop: int | None) -> None:
        """Hand out from here on, up to epoch `stop` (None: without end)."""
        failed = bool(self._queue) and isinstance(self._queue[0].reply, Failed)
        if not self._started or failed or self._next(at) != at._replace(total_step=0):
            try:
                self._restart(at)
            except StreamloadError as error:
                self._break(error)
                raise
        self._epoch, self._stop = at.epoch, stop
        self._ask()

    def _next(self, wanted: Standing) -> Standing:
        """Where the step that will be handed out next begins, whatever total step that is."""
        at = self._queue[0].planned.begin if self._queue else self._at
        if at.epoch < wanted.epoch and self._steps.step(at) is None:
            at = self._steps.next_epoch(at)
        return at._replace(total_step=0)

    def _restart(self, at: Standing) -> None:
        """Call everything off, and stand here (rule 5)."""
        if self._started:
            for reply in self._pool.forget():
                self._take(reply)
            for asked in self._queue:
                if isinstance(asked.reply, (Filled, Overflowed)):
                    self._slots.discard(asked.task.slot)
        self._queue.clear()
        self._started = True
        self._at = at
        self._advice.begin(at, self._windows.begin(at) if self._steps.left(at) else ())

    def step(self) -> FinishedStep | None:
        """The next step of the epoch that was begun, or None at its end. Raises what its work met."""
        queue, slots, windows = self._queue, self._slots, self._windows
        if not queue:
            self._listen()
        elif queue[0].reply is not None and slots.available >= self._group:
            self._ask()
        if not queue or queue[0].planned.begin.epoch != self._epoch:
            if self.broken is not None and (self._at.epoch < self._epoch or self._steps.left(self._at)):
                raise without_frames(self.broken)
            return None
        asked = queue[0]
        if asked.reply is None:
            began = time.perf_counter_ns()
            try:
                if slots.available or (windows.needed and windows.has_room):
                    self._ask()
                while asked.reply is None:
                    if self.broken is not None:
                        raise without_frames(self.broken)
                    for reply in self._pool.receive(asked.task.number):
                        self._take(reply)
                    self._group = self._least_group if self._waiting else self._idle_group
                    if slots.available >= self._least_group or (windows.needed and windows.has_room):
                        self._ask()
            except StreamloadError as error:
                self._break(error)
                raise
            finally:
                self.wait_ns += time.perf_counter_ns() - began
        task, reply = asked.task, asked.reply
        if isinstance(reply, Failed):
            raise self._pool.error_of(reply)
        queue.popleft()
        copied = False
        if isinstance(reply, Overflowed):
            fields, records = self._overflown(task, reply)
        else:
            fields, records, copied = self._slots.lease(task.slot, reply.records)
        for field in self._ragged:
            self.ragged_nbytes += fields[field.name].nbytes
        if copied:
            self.copies += 1
            self.copied_nbytes += sum(array.nbytes for array in fields.values())
        return _made(FinishedStep, (asked.planned, reply.valid, fields, records, reply.bad))

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
            self._slots.abort(reply.slot)
        elif reply.slot != asked.task.slot or not self._slots.commit(reply.slot, reply.number):
            raise WorkerError(
                f"slot {reply.slot} does not hold what task {reply.number} should have put there.",
                hint="A function of yours, or a column of your own, wrote past the end of its array.",
            )
        if self._windows.needed:
            self._windows.leave(asked.task.pieces, asked.task.advice)

    # Asking

    def _ask(self) -> None:
        """Ask for as many steps as there is room for, and open the windows that they will need."""
        if self.broken is not None or not len(self._steps):
            return
        until = self._epoch + 2 if self._stop is None else min(self._epoch + 2, self._stop)
        for window in self._windows.due(until):
            self._pool.send_window(window)
        slots, pool, queue, waiting, windows = self._slots, self._pool, self._queue, self._waiting, self._windows
        advice, by_windows, steps, at = self._advice, windows.needed, self._steps, self._at
        remembers = advice.remembers
        room = self._capacity - len(waiting)
        while room and at.epoch < until and (slot := slots.reserve()) is not None:
            planned = (advice.planned(at) if remembers else None) or steps.step(at)
            if planned is None:
                slots.abort(slot)
                self._at = at = steps.next_epoch(at)
                continue
            pieces = planned.pieces
            if by_windows and not windows.may_use(pieces):
                slots.abort(slot)
                advice.put_back(planned)
                break
            if by_windows:
                windows.ask(pieces, planned.end)
            told = advice.due(planned, until, windows.may_use)
            if by_windows:
                windows.use(told)
            segments = self._filled_up(planned) if self._fills or planned.short else ()
            number = self._number
            task = _made(StepTask, (number, slot, at.epoch, at.step, pieces, told, segments))
            self._number = number + 1
            asked = waiting[number] = _PendingStep(planned, task)
            queue.append(asked)
            self._at = at = planned.end
            room -= 1
            pool.send_step(task)
        pool.flush()

    def _filled_up(self, planned: PlannedStep) -> tuple[SegmentRows, ...]:
        """What a worker must know of a step's segments, where not every row counts, or one is made up for that is left out."""
        return tuple(SegmentRows(one.stream, one.valid, one.rows) for one in planned.segments)

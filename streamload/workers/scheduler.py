"""Sends steps to workers ahead of the user, and hands filled ones out in order.

Which positions a step takes is computed in `order.steps`; which windows are decoded, and what is read ahead, in `schedule`.

Rules:

1. Steps are sent in the order in which they will be handed out, across the ends of epochs, as far as slots and sockets have room.
2. Steps are sent of the epoch that is being handed out and of the one after it, and never of more than two epochs of a lane: the
   window tables of only two are kept.
3. A window is opened when a part of the arena is free, in the order of use, and closed when the last step that touches it
   is filled. There is one part more than a step can touch windows, so the windows of the oldest unfilled step are always open.
4. Steps that have been filled are handed out before an error is raised. After an error, the same error is raised again.
5. A run that begins at another position than that of the next step first cancels all tasks, and waits until none is under way.
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
from streamload.order import PlannedStep, RunPosition, SharedSteps
from streamload.schedule.advice import Advice
from streamload.schedule.windows import WindowSchedule

_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""
LEAST_IN_USE = 3
"""Slots beside those that the user may hold that are never held back."""


class WorkerPool(Protocol):
    """What does the tasks: `pool.ProcessPool` in worker processes, `in_process.InProcessPool` in the calling one."""

    @property
    def capacity(self) -> int:
        """The most steps that may have been sent and not answered."""
        ...

    @property
    def in_turns(self) -> bool:
        """Whether steps are filled only while the caller waits for them, since workers have its core then: it is no use to be far ahead."""
        ...

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers; none in the calling process."""
        ...

    def send_step(self, task: StepTask) -> None:
        """Send a step to the workers."""
        ...

    def send_window(self, task: WindowTask) -> None:
        """Send a window to every worker: each decodes its share of the blocks."""
        ...

    def receive(self, waiting_for: int | None) -> list[Reply]:
        """The replies that have arrived. With `waiting_for`, the number of a task, it waits until there is at least one."""
        ...

    def forget(self) -> list[Reply]:
        """Cancel all tasks; returns the replies of those that were done all the same, when none is under way any more."""
        ...

    def error_of(self, failed: Failed) -> StreamloadError:
        """The error that a reply speaks of, to be raised."""
        ...

    def stop(self) -> None:
        """End the workers."""
        ...


class FinishedStep(NamedTuple):
    """A step as it is handed out."""

    planned: PlannedStep
    """What it consists of, and where a run stands before and after it."""
    valid: tuple[int, ...]
    """By segment, the rows that count, if records were left out; otherwise empty."""
    fields: dict[str, Any]
    """By name: an array of shape (count, *shape), or a `Ragged` of count records. They lie in a slot of shared memory, or in memory
    of the step's own."""
    records: NDArray[np.int64]
    """The record number of each row, shape (count,). They may lie in the slot, and hold it."""
    bad: tuple[tuple[int, int, str], ...]
    """Records that could not be delivered, as `tasks.Filled` has them."""

    @property
    def epoch(self) -> int:
        """The epoch of the run."""
        return self.planned.begin.epoch

    @property
    def step(self) -> int:
        """The number of the step in that epoch, from 0."""
        return self.planned.begin.step


class _PendingStep:
    """A step that has been sent, and its reply once there is one."""

    __slots__ = ("planned", "reply", "task")

    def __init__(self, planned: PlannedStep, task: StepTask) -> None:
        self.planned = planned
        self.task = task
        self.reply: Reply | None = None


class Scheduler:
    """Keeps the workers of one loader busy, and hands its steps out in order."""

    def __init__(self, *, steps: SharedSteps, pool: WorkerPool, slots: Slots, windows: WindowSchedule, advice: Advice, fills: bool) -> None:
        """`fills`: whether a record that is left out leaves a row that does not count, so that all ranks stay in step."""
        self._steps = steps
        self._fills = fills
        self._pool = pool
        self._slots = slots
        self._windows = windows
        self._advice = advice
        in_use = len(slots) - slots.spare
        self._held_back = 0 if windows.needed else max(0, min(slots.spare - 1 + in_use // 4, in_use - LEAST_IN_USE))
        """Slots that stay free where workers and this process take turns."""
        self._number = 0
        self._queue: deque[_PendingStep] = deque()
        self._waiting: dict[int, _PendingStep] = {}
        self._capacity = pool.capacity
        # Every asking costs something beside its steps, so several are sent together, long before they are needed.
        self._group = max(1, (len(slots) - slots.spare) // 4)
        self._at = steps.begin()
        """The position of the next step to be sent."""
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

    def begin(self, at: RunPosition, stop: int | None) -> None:
        """Hand out the epoch at this position from its next step on. Steps are sent ahead of it up to epoch `stop`, which is left out;
        None sets no end. Raises StreamloadError where tasks could not be cancelled; after that, nothing works any more."""
        failed = bool(self._queue) and isinstance(self._queue[0].reply, Failed)
        if not self._started or failed or self._next(at) != at._replace(total_step=0):
            try:
                self._restart(at)
            except StreamloadError as error:
                self._break(error)
                raise
        self._epoch, self._stop = at.epoch, stop
        self._send()

    def _next(self, wanted: RunPosition) -> RunPosition:
        """The position of the step that would be handed out next, with a total step of 0. Between two epochs it is the beginning of
        the later one, if `wanted` is."""
        at = self._queue[0].planned.begin if self._queue else self._at
        if at.epoch < wanted.epoch and self._steps.step(at) is None:
            at = self._steps.next_epoch(at)
        return at._replace(total_step=0)

    def _restart(self, at: RunPosition) -> None:
        """Cancel all tasks, and begin again at this position (rule 5)."""
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
        """The next step of the epoch that was begun, or None at its end. Waits for it. Raises the error of a step that failed."""
        queue, slots, windows = self._queue, self._slots, self._windows
        if not queue:
            self._listen()
        elif queue[0].reply is not None and slots.available >= self._group:
            self._send()
        if not queue or queue[0].planned.begin.epoch != self._epoch:
            if self.broken is not None and (self._at.epoch < self._epoch or self._steps.left(self._at)):
                raise without_frames(self.broken)
            return None
        asked = queue[0]
        if asked.reply is None:
            began = time.perf_counter_ns()
            try:
                if slots.available > 0 or (windows.needed and windows.has_room):
                    self._send()
                while asked.reply is None:
                    if self.broken is not None:
                        raise without_frames(self.broken)
                    for reply in self._pool.receive(asked.task.number):
                        self._take(reply)
                    if slots.available >= self._group or (windows.needed and windows.has_room):
                        self._send()
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
        """The fields and record numbers of a step that did not fit its slot, and lies in memory of its own."""
        self.overflows += 1
        self.overflown_nbytes += reply.nbytes
        return self._slots.overflown(task.slot, reply.records, reply.capacities, reply.memory)

    def close(self) -> None:
        """Forget steps that were filled and not handed out, and free the memory of those that did not fit their slots."""
        self._queue.clear()
        self._waiting.clear()

    def _listen(self) -> None:
        """Note the replies that have arrived without waiting, and send more."""
        if self.broken is not None:
            return
        try:
            for reply in self._pool.receive(None):
                self._take(reply)
            self._send()
        except StreamloadError as error:
            self._break(error)

    def _break(self, error: StreamloadError) -> None:
        """End the workers after an error that nothing can go on from. Steps that are filled will still be handed out."""
        self.broken = self.broken or without_frames(error)
        self._pool.stop()

    def _take(self, reply: Reply) -> None:
        """Note a reply: its slot is filled, and its windows have a user less."""
        asked = self._waiting.pop(reply.number, None)
        if asked is None:
            raise WorkerError(f"a worker answered task {reply.number}, which was not sent: a fault in streamload.")
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

    def _send(self) -> None:
        """Send as many steps as there is room for, and the windows that they will need."""
        if self.broken is not None or not len(self._steps):
            return
        until = self._epoch + 2 if self._stop is None else min(self._epoch + 2, self._stop)
        for window in self._windows.due(until):
            self._pool.send_window(window)
        self._slots.held_back = self._held_back if self._pool.in_turns else 0
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
            segments = self._segments_of(planned) if self._fills or planned.short else ()
            number = self._number
            task = _made(StepTask, (number, slot, at.epoch, at.step, pieces, told, segments))
            self._number = number + 1
            asked = waiting[number] = _PendingStep(planned, task)
            queue.append(asked)
            self._at = at = planned.end
            room -= 1
            pool.send_step(task)

    def _segments_of(self, planned: PlannedStep) -> tuple[SegmentRows, ...]:
        """The segments of a step as a worker needs them: only if some rows do not count, or may come not to."""
        return tuple(SegmentRows(one.stream, one.valid, one.rows) for one in planned.segments)

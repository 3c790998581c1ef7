"""Steps that have been sent to workers and are not answered yet."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from streamload.fetch.tasks import Filled, Reply, StepTask
from streamload.memory.slots import NOT_FILLED, flawed
from streamload.workers.step_queue import StepQueue

_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""


class OpenSteps:
    """The open steps of a loader, and the queue that workers take them from.

    A step is answered by the head of its slot, if it was filled just as it was asked for; by a message otherwise.
    """

    def __init__(self, heads: NDArray[np.int64], *, workers: int) -> None:
        """`heads` are those of the slots, shape (slots,)."""
        self.queue = StepQueue()
        self.heads = heads
        """What slots say of the steps that filled them, shape (slots,)."""
        self._workers = workers
        self._tasks: dict[int, StepTask] = {}
        """By number, rising."""
        self._unsent: deque[StepTask] = deque()
        """The last of them, for which there was no room in the queue."""

    def __len__(self) -> int:
        return len(self._tasks)

    def send(self, task: StepTask, *, now: bool) -> None:
        """Put a step into the queue, as soon as there is room in it, or leave that to `send_again`."""
        self._tasks[task[0]] = task
        self.heads[task[1]] = NOT_FILLED
        if now and (self._unsent or not self.queue.put(task)):
            self._unsent.append(task)

    def take_back(self) -> None:
        """Take every step out of the queue that no worker has taken."""
        self._unsent.clear()
        self.queue.clear()

    def send_again(self) -> None:
        """Put every step into the queue that is not filled. No worker may have any, nor the queue."""
        self._unsent.extend(task for task in self._tasks.values() if self.heads.item(task.slot) != task.number)
        self._send_more()

    def _send_more(self) -> None:
        """Put steps into the queue for which there was no room. Where there is none now, workers have something to do."""
        while self._unsent and self.queue.put(self._unsent[0]):
            self._unsent.popleft()

    def filled(self) -> list[Reply]:
        """The answers of steps whose slots say that they are filled; each is given once. Sends steps for which there was no room.

        A head that says anything else was written over: that counts as an answer, which `Slots.commit` finds to be wrong.
        """
        if self._unsent:
            self._send_more()
        found: list[Reply] = []
        head, open_steps = self.heads.item, 0
        for number, task in self._tasks.items():
            if (said := head(task[1])) == number or said not in (NOT_FILLED, flawed(number)):
                found.append(_made(Filled, (number, task[1], task.rows, (), ())))
            elif (open_steps := open_steps + 1) >= self._workers:
                break  # Steps are begun in their order: each worker is at one of these, and none is begun behind them.
        for reply in found:
            del self._tasks[reply.number]
        return found

    def answered(self, number: int) -> None:
        """A message has answered this step."""
        self._tasks.pop(number, None)

    def not_done(self, number: int | None) -> StepTask | None:
        """The step of this number, unless it is answered or filled."""
        task = self._tasks.get(number) if number is not None else None
        return None if task is None or self.heads.item(task.slot) == task.number else task

    @property
    def oldest(self) -> StepTask | None:
        """The step that was sent first."""
        return next(iter(self._tasks.values()), None)

    def call_off(self) -> list[StepTask]:
        """Forget all steps; returns them."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        self._unsent.clear()
        return tasks

    def close(self) -> None:
        """Close the queue. What is filled can still be asked for."""
        self._unsent.clear()
        self.queue.close()

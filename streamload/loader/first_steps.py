"""The first steps of a loader while its workers are still starting: the calling process fills them itself.

Rules:

1. Only where records are read by offset as they are stored (`workers.in_process.is_plain`): no codec, no function and no column of the
   user's runs here, and no file is mapped. The plain kernels do it, which give the same bytes as the compiled ones, so that
   nothing heavy is imported. So do those of augmentation whose machine code needs no numba: they are the compiled ones.
2. A step is either done here or sent to a worker, never both: a worker that comes late must not write where the user looks.
3. Memory of a slot may still be on its way: it is waited for before a step is done here, all of it before workers have any.
4. Once workers can be forked they get everything but the next few steps, which are done here while those workers come up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamload.errors import StreamloadError
from streamload.fetch.job import Job
from streamload.fetch.tasks import Failed, Reply, StepTask, WindowTask
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.transforms.record import received_error
from streamload.workers.in_process import InProcessPool
from streamload.workers.pool import ProcessPool

KEPT_STEPS = 2
"""Steps that are still done here once workers can be forked: these take some 20 ms to come up."""


class FirstSteps:
    """What `pool.ProcessPool` is, with help from the calling process until the workers are up."""

    def __init__(self, job: Job, workers: ProcessPool, *, ring: SharedBlock, tables: SharedBlock | None) -> None:
        self._workers = workers
        self._ring = ring
        self._progress = WorkerProgress.create(1)
        alone = replace(job, workers=1, mapped=False, direct=False)
        self._here: InProcessPool | None = InProcessPool(alone, ring=ring, progress=self._progress, arena=None, tables=tables, plain=True)
        self._kept: dict[int, StepTask] = {}
        """Steps that no worker was given, by their numbers, in the order in which they were asked for."""
        self._worked: Mapping[str, int] = {}
        self._done: set[int] = set()

    @property
    def capacity(self) -> int:
        """The most steps that may be asked for and not answered."""
        return self._workers.capacity

    @property
    def in_turns(self) -> bool:
        """Whether steps are filled only while the caller waits for them."""
        return self._workers.in_turns

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that have started."""
        return self._workers.pids

    def work(self) -> Mapping[str, int]:
        """What was spent and done here, by the names of workers' counters."""
        return self._progress.total() if self._here is not None else self._worked

    def send_step(self, task: StepTask) -> None:
        """Keep a step while workers cannot be forked; else give it to one of them."""
        if self._workers.ready:
            self._ring.await_present()
            self._workers.send_step(task)
        else:
            self._kept[task.number] = task

    def send_window(self, task: WindowTask) -> None:
        """Have all workers decode their shares of a window."""
        self._workers.send_window(task)

    def receive(self, waiting_for: int | None) -> list[Reply]:
        """Replies; at least one if `waiting_for` names a task, which is done here if no worker was given it."""
        here = self._here
        assert here is not None
        replies = self._workers.receive(None)  # Raises what became of the launcher.
        if self._workers.ready:
            self._hand_over()
        if replies or waiting_for is None:
            return replies
        task = self._kept.pop(waiting_for, None)
        if task is None:
            return self._workers.receive(waiting_for)
        here.send_step(task)
        self._done.add(task.number)
        replies = here.receive(task.number)
        if self._workers.ready and not self._kept:
            self._ring.await_present()
            self._leave()
        return replies

    def _hand_over(self) -> None:
        """Give the workers all steps but the next few (rule 4)."""
        self._ring.await_present()
        for number in list(self._kept)[KEPT_STEPS:]:
            self._workers.send_step(self._kept.pop(number))
        if not self._kept:
            self._leave()

    def _leave(self) -> None:
        """Let go of what only steps that are done here need: from now on nothing stands between the workers and whoever asks."""
        here, self._here = self._here, None
        self.send_step, self.receive = self._workers.send_step, self._workers.receive
        if here is not None:
            here.stop()
            self._worked = self._progress.total()
            self._progress.close()

    def forget(self) -> list[Reply]:
        """Call everything off. While workers cannot be forked, none of them has anything to forget."""
        replies: list[Reply] = [Failed(task.number, task.slot, {}) for task in self._kept.values()]
        self._kept.clear()
        if self._here is None or self._workers.ready:
            replies += self._workers.forget()
        if self._here is not None:
            self._here.forget()
        return replies

    def error_of(self, failed: Failed) -> StreamloadError:
        """The error of a step, of whoever did it."""
        return received_error(failed.error) if failed.number in self._done else self._workers.error_of(failed)

    def stop(self) -> None:
        """End the workers, and let go of everything here."""
        self._leave()
        self._workers.stop()

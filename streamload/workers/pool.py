"""The workers of one loader, as its process sees them: tasks go out, replies come in, and a death is named at once.

Rules:

1. Sends never block: no more than `MOST_TASKS` tasks are with a worker at a time, and each is some 70 bytes.
2. A worker's socket is held by that worker alone, so its end of file means its death, however it died.
3. No lock, queue or counter is shared between workers: one that is killed holds nothing that another needs.
4. After `forget`, nothing is under way: every slot that was asked for has been answered.
5. After an error here the workers are killed, and never answer again.
6. A worker that replaces a dead one has its number, its unanswered steps and its windows. Blocks that the dead one had
   announced are not decoded again: others may be reading them.
7. A step that two workers died of is poison. Three deaths in a row before a worker has done anything are too many, too.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from streamload.errors import ResourceError, StreamloadError, WorkerError
from streamload.fetch.job import Job, write_job
from streamload.fetch.tasks import Failed, Kind, Reply, StepTask, WindowTask, pack_step, pack_text, pack_window
from streamload.fetch.window_shares import shares_of
from streamload.memory.limits import check_descriptors
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.schema import Field, Schema, dtype_of
from streamload.transforms.record import received_error
from streamload.workers.crash_reports import WorkerExit, crashed, timed_out
from streamload.workers.handle import WorkerHandle
from streamload.workers.launcher import Launcher

MOST_TASKS = 64
MOST_DEATHS = 2
"""How many workers may die one after the other before they have done anything, and be replaced."""
LISTEN_S = 1.0
"""The longest single wait."""
STACK_S = 0.3
"""How long a worker is given to say where it is."""
GRACE_S = 1.0
"""How long a worker is given to end by itself before it is killed."""
WORKER_DESCRIPTORS = 3
"""A socket, and two files for last words."""
SPARE_DESCRIPTORS = 12
"""The launcher's, the job's, and what comes and goes while workers are started."""


def start_launcher(workers: int) -> Launcher:
    """The launcher, which need not be ready yet. Raises ResourceError where there are too few descriptors for so many workers."""
    check_descriptors(workers * WORKER_DESCRIPTORS + SPARE_DESCRIPTORS, purpose=f"{workers} workers")
    return Launcher.current()


class ProcessPool:
    """The worker processes of one loader."""

    def __init__(
        self,
        job: Job,
        *,
        ring: SharedBlock,
        progress: WorkerProgress,
        arena: SharedBlock | None,
        tables: SharedBlock | None,
        timeout: float,
        restart: bool = False,
        probe: bool = False,
    ) -> None:
        self._job = job
        self._progress = progress
        self._timeout = timeout
        self._owner = os.getpid()
        self._handles: list[WorkerHandle] = []
        self._stopped = False
        self._token = 0
        self._forgetting = False
        self._restart = restart
        self._probing = probe
        self._suspects: set[int] = set()
        self._windows: dict[int, WindowTask] = {}
        self._probed: list[list[Any]] | None = None
        self._blocks = {"ring": ring, "progress": progress.block}
        if arena is not None:
            self._blocks["arena"] = arena
        if tables is not None:
            self._blocks["tables"] = tables
        self._own: list[SharedBlock] = []
        with Launcher.in_use():
            self._launcher = start_launcher(job.workers)
            self._fork_all(job, probe)
        self._poll = select.poll()
        self._by_fd: dict[int, WorkerHandle] = {}
        for handle in self._handles:
            self._watch(handle)
        self._poll.register(self._launcher.control, select.POLLIN)

    def _fork_all(self, job: Job, probe: bool) -> None:
        overflows = job.layout is not None and bool(job.layout.schema.ragged)
        try:
            self._blocks["job"] = write_job(job)
            self._own.append(self._blocks["job"])
            for number in range(job.workers):
                self._handles.append(WorkerHandle(self._launcher, number, self._blocks, probe=probe, overflows=overflows))
        except BaseException:
            self.stop()
            raise

    def _watch(self, handle: WorkerHandle) -> None:
        self._poll.register(handle.channel, select.POLLIN)
        self._by_fd[handle.channel.fileno()] = handle

    # Tasks

    def send_step(self, task: StepTask) -> None:
        """Give a step to the worker that has the least to do; `flush` sends it."""
        handle = self._handles[0] if len(self._handles) == 1 else self._idlest()
        handle.tasks[task.number] = task
        handle.unsent += pack_step(task)

    def flush(self) -> None:
        """Send the steps that were given since the last call, one send a worker."""
        for handle in self._handles:
            if handle.unsent:
                frames, handle.unsent = handle.unsent, b""
                handle.send(frames)

    def send_window(self, task: WindowTask) -> None:
        """Have all workers decode their shares of a window: those have less of it that have more left of others."""
        self._windows.pop(task.part, None)
        if len(self._handles) > 1:
            task = task._replace(shares=shares_of(task.blocks, self._left(task.stream)))
        self._windows[task.part] = task
        for handle in self._handles:
            handle.send(pack_window(task))

    def _left(self, stream: int) -> list[int]:
        """Of each worker, the blocks of a stream's windows that it was given and has not decoded."""
        windows = [window for window in self._windows.values() if window.stream == stream]
        return [
            sum(window.shares[number] - self._progress.blocks_done(number, window.part, window.serial) for window in windows)
            for number in range(len(self._handles))
        ]

    @property
    def capacity(self) -> int:
        """The most steps that may be asked for and not answered (rule 1: even if one worker had them all)."""
        return MOST_TASKS

    def _idlest(self) -> WorkerHandle:
        least = self._handles[0]
        for handle in self._handles:
            if len(handle.tasks) < len(least.tasks):
                least = handle
        return least

    def receive(self, waiting_for: int | None) -> list[Reply]:
        """Replies that have arrived; waits for at least one if `waiting_for` names a task. Raises when a worker died or hangs."""
        try:  # As `_stopping_on_error` does it: this is called for every few steps.
            if waiting_for is None:
                return self._take(0)
            waited, done = 0.0, -1
            while True:
                replies, seconds = self._listen(self._timeout - waited)
                if replies:
                    return replies
                counted = self._progress.total()
                if counted["steps"] + counted["blocks"] != done or not self._launcher.ready:
                    done, waited = counted["steps"] + counted["blocks"], 0.0
                elif (waited := waited + seconds) >= self._timeout:
                    raise self._timed_out(waiting_for)
        except StreamloadError:
            self.stop(grace_s=0.0)
            raise

    def probed(self) -> Schema:
        """What the transform makes of the first record, as the probing worker found."""
        with self._stopping_on_error():
            waited = 0.0
            while self._probed is None:
                _, seconds = self._listen(self._timeout - waited)
                waited += seconds if self._launcher.ready else 0.0
                if self._probed is None and waited >= self._timeout:
                    raise self._timed_out(None)
        return Schema(tuple(Field(name, dtype_of(dtype), tuple(shape), ragged) for name, dtype, shape, ragged in self._probed))

    def forget(self) -> list[Reply]:
        """Call everything off, and wait until nothing is under way; returns the replies of tasks that were."""
        with self._stopping_on_error():
            self._token += 1
            self._forgetting = True
            self._windows.clear()
            for handle in self._handles:
                handle.send(pack_text(Kind.FORGET, {"token": self._token}))
            replies: list[Reply] = []
            waited = 0.0
            while any(handle.forgotten != self._token for handle in self._handles):
                some, seconds = self._listen(self._timeout - waited)
                replies += some
                waited += seconds if self._launcher.ready else 0.0
                if waited >= self._timeout and not some:
                    raise self._timed_out(None)
            self._forgetting = False
        for handle in self._handles:
            replies += [Failed(task.number, task.slot, {}) for task in handle.tasks.values()]
            handle.tasks.clear()
        self._suspects.clear()
        return replies

    @contextmanager
    def _stopping_on_error(self) -> Generator[None, None, None]:
        """Whatever is raised, the workers are killed: nobody waits for them any more (rule 5)."""
        try:
            yield
        except StreamloadError:
            self.stop(grace_s=0.0)
            raise

    def _listen(self, left: float) -> tuple[list[Reply], float]:
        """Replies that arrive soon, and the seconds that were waited for them.

        If all processes are frozen meanwhile (a paused container, a debugger), that time counts for no more than a moment.
        """
        if self._launcher.starting_too_long():
            raise self._launcher.start_error()
        moment, began = min(max(left, 0.001), LISTEN_S, self._timeout / 8), time.monotonic()
        replies = self._take(moment)
        return replies, min(time.monotonic() - began, 2 * moment)

    def _take(self, seconds: float) -> list[Reply]:
        """Replies that arrive within `seconds`, as soon as there is one."""
        replies: list[Reply] = []
        for fd, _ in self._poll.poll(seconds * 1000):
            handle = self._by_fd.get(fd)
            if handle is None:
                self._look_at_launcher()
                continue
            frames = handle.receive()
            if frames is None:
                self._ended(handle)
                continue
            for kind, content in frames:
                handle.deaths = 0
                if kind is Kind.FORGOTTEN:
                    handle.forgotten = content["token"]
                elif kind is Kind.PROBED:
                    self._probed = content["fields"]
                elif kind is Kind.BROKEN:
                    raise self._completed(content["error"], handle)
                else:
                    handle.tasks.pop(content.number, None)
                    replies.append(content)
        return replies

    def _look_at_launcher(self) -> None:
        for handle in self._handles:
            report = self._launcher.report(handle.key)
            if report.refused:
                raise ResourceError(
                    f"worker {handle.number} could not be started: {report.refused}.",
                    hint="Lower num_workers, free memory, or raise `ulimit -u`.",
                    errno=report.errno,
                )
        if not self._launcher.alive:
            raise self._launcher.start_error()

    # Errors

    def error_of(self, failed: Failed) -> StreamloadError:
        """The error that a worker reported for a task."""
        return self._completed(failed.error, None)

    def _completed(self, plain: dict[str, Any], handle: WorkerHandle | None) -> StreamloadError:
        error = received_error(plain)
        index = error.details.get("worker_id", handle.number if handle else None)
        if isinstance(error, WorkerError) and index is not None:
            error.worker_id = index
            error.pid = self._handles[index].pid
        return error

    def _ended(self, handle: WorkerHandle) -> None:
        """A worker's socket has ended: put another in its place if that is wanted and may help. Raises what it died of."""
        self._launcher.await_end([handle.key], seconds=2.0)
        self._look_at_launcher()
        report = self._launcher.report(handle.key)
        if report.status is None and not self._launcher.alive:
            raise self._launcher.start_error()
        doing = self._progress.doing(handle.number)
        blamed = handle.tasks.get(doing) if doing is not None else None
        death = WorkerExit(
            worker=handle.number, pid=handle.pid, status=report.status or 0, task=blamed or handle.oldest, trace=handle.said("trace")
        )
        poison = blamed is not None and blamed.number in self._suspects
        if not self._restart or self._probing or poison or handle.deaths >= MOST_DEATHS:
            raise crashed(self._job, death, others=self._others_dead(handle), before=handle.deaths, poison=poison)
        if blamed is not None:
            self._suspects.add(blamed.number)
        self._replace(handle)

    def _others_dead(self, first: WorkerHandle) -> list[int]:
        """Process ids of other workers that have died as well, or do so within a moment."""
        self._launcher.await_end([handle.key for handle in self._handles], seconds=0.02)
        reports = [self._launcher.report(handle.key) for handle in self._handles if handle is not first]
        return [report.pid for report in reports if report.status is not None and report.pid is not None]

    def _replace(self, dead: WorkerHandle) -> None:
        """Start a worker in a dead one's place, and give it what that one had not done (rule 6)."""
        self._poll.unregister(dead.channel)
        del self._by_fd[dead.channel.fileno()]
        dead.forget()
        self._progress.retire(dead.number)
        handle = self._handles[dead.number] = WorkerHandle(self._launcher, dead.number, self._blocks, probe=False, overflows=dead.overflows)
        handle.tasks, handle.deaths = dead.tasks, dead.deaths + 1
        self._watch(handle)
        if self._forgetting:
            handle.forgotten = self._token
            return
        for window in sorted(self._windows.values()):
            handle.send(pack_window(window))
        for task in sorted(handle.tasks.values()):
            handle.send(pack_step(task))

    def _timed_out(self, number: int | None) -> StreamloadError:
        """The error for a worker that does not answer, with where it is."""
        for handle in self._handles:
            handle.signal(signal.SIGUSR1)
        deadline = time.monotonic() + STACK_S
        while time.monotonic() < deadline and not all(handle.said("stack") for handle in self._handles):
            time.sleep(0.02)
        time.sleep(0.02)  # What has begun to be written is written.
        stacks = {handle.number: handle.said("stack") for handle in self._handles}
        holders = [handle for handle in self._handles if number is None or number in handle.tasks] or self._handles
        busy = [handle for handle in holders if "_listen" not in stacks[handle.number]] or [
            h for h in self._handles if "_listen" not in stacks[h.number]
        ]
        handle = (busy or holders)[0]
        return timed_out(
            self._job, worker=handle.number, pid=handle.pid, task=handle.oldest, stack=stacks[handle.number], timeout=self._timeout
        )

    # The end

    @property
    def ready(self) -> bool:
        """Whether workers can be forked: the launcher has loaded what they need, as far as has been heard."""
        return self._launcher.ready

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that have started."""
        return [pid for handle in self._handles if (pid := handle.pid) is not None]

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """End the workers: by themselves within `grace_s`, else by SIGKILL. May be called twice, and in a forked child."""
        if self._stopped:
            return
        self._stopped = True
        for handle in self._handles:
            handle.channel.close()
        if self._owner == os.getpid() and self._launcher.alive:
            keys = [handle.key for handle in self._handles]
            self._launcher.await_end(keys, seconds=0.0)  # Takes in what has been said.
            # One that is not ready has forked nobody. When it is, they find the end of their sockets at once.
            if self._launcher.ready and not self._launcher.await_end(keys, seconds=grace_s):
                for handle in self._handles:
                    handle.kill()
                self._launcher.await_end(keys, seconds=GRACE_S)
        for handle in self._handles:
            handle.forget()
        for block in self._own:
            block.close()


def probe_schema(job: Job, *, timeout: float) -> Schema:
    """What the job's transform makes of a record, found in a worker of its own: a function that dies takes nothing along."""
    progress = WorkerProgress.create(1)
    pool = ProcessPool(job, ring=progress.block, progress=progress, arena=None, tables=None, timeout=timeout, probe=True)
    try:
        return pool.probed()
    finally:
        pool.stop()
        progress.close()

"""The workers of one loader, as its process sees them: tasks go out, replies come in, and a death is named at once.

Rules:

1. Sends never block: what there is no room for is kept, and sent when workers have taken something.
2. A worker's socket is held by that worker alone, so its end of file means its death, however it died.
3. No lock or counter is shared between workers, and of the queue of steps the kernel takes care: one that is killed holds nothing
   that another needs.
4. After `forget`, nothing is under way: every slot that was asked for has been answered.
5. After an error here the workers are killed, and never answer again.
6. A worker that replaces a dead one has its number and its windows. Blocks that the dead one had announced are not decoded again:
   others may be reading them. What it had taken from the queue of steps nobody knows: all that are not done are recalled, and when
   every worker has confirmed that it has none in hand, they are asked for again.
7. A step that two workers died of is poison. Three deaths in a row before a worker has done anything are too many, too.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from streamload.errors import StreamloadError, WorkerError, without_frames
from streamload.fetch.job import Job, write_job
from streamload.fetch.tasks import Failed, Kind, Reply, StepTask, WindowTask, pack_text, pack_window
from streamload.fetch.window_shares import shared
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import NO_HEADS, heads_of
from streamload.transforms.record import received_error
from streamload.workers.crash_reports import WorkerExit, crashed, not_started, timed_out
from streamload.workers.handle import WorkerHandle, stacks_of
from streamload.workers.launcher import Launcher, start_launcher
from streamload.workers.open_steps import OpenSteps
from streamload.workers.waking import Waking

MOST_TASKS, MOST_DEATHS = 64, 2
"""How many steps may be under way; how many workers may die one after the other before they have done anything, and be replaced."""
LOOK_S = 0.2
"""For how long no socket is looked at while something is always filled."""
LISTEN_S, RETRY_S = 1.0, 0.002
"""The longest single wait, and the longest while there is no room for what a worker should be sent."""
GRACE_S = 1.0
"""How long a worker is given to end by itself before it is killed."""


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
        self._blocks.update((name, one) for name, one in (("arena", arena), ("tables", tables)) if one is not None)
        self._own: list[SharedBlock] = []
        self._replies: list[Reply] = []
        self._recalling = False
        self._error: BaseException | None = None
        """What ended the workers."""
        self._look_at = 0.0
        """When sockets are to be looked at again, by the monotonic clock: who never waits should learn of a death, too."""
        self._steps = OpenSteps(NO_HEADS if probe or job.layout is None else heads_of(job.layout, ring), workers=job.workers)
        self._waking = Waking(len(self._steps.heads))
        try:
            with Launcher.in_use():
                self._launcher = start_launcher(job.workers)
                self._fork_all(job, probe)
        except BaseException:
            self._steps.close()
            raise
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
            # One by one: those that were made are ended if another cannot be.
            self._handles.extend(self._handle(number, probe=probe, overflows=overflows) for number in range(job.workers))
        except BaseException:
            self.stop()
            raise

    def _handle(self, number: int, *, probe: bool, overflows: bool) -> WorkerHandle:
        return WorkerHandle(self._launcher, number, self._blocks, steps=self._steps.queue, probe=probe, overflows=overflows)

    def _watch(self, handle: WorkerHandle) -> None:
        self._poll.register(handle.channel, select.POLLIN)
        self._by_fd[handle.channel.fileno()] = handle

    # Tasks

    def send_step(self, task: StepTask) -> None:
        """Put a step into the queue that all workers take from."""
        self._steps.send(task, now=not self._recalling and self._error is None)

    def send_window(self, task: WindowTask) -> None:
        """Have all workers decode their shares of a window: those have less of it that have more left of others."""
        task = self._windows[task.part] = shared(task, self._windows.values(), self._progress, len(self._handles))
        for handle in self._handles if self._error is None else ():
            handle.send(pack_window(task))

    @property
    def capacity(self) -> int:
        """The most steps that may be asked for and not answered."""
        return MOST_TASKS

    @property
    def in_turns(self) -> bool:
        """Whether workers fill steps only while the loader sleeps, since it has the core that they need."""
        return self._waking.in_turns

    def receive(self, waiting_for: int | None) -> list[Reply]:
        """Replies; waits for one if `waiting_for` names a task. Raises when a worker died or hangs, once what is filled was returned."""
        if replies := self._steps.filled():
            self._waking.found()
            if time.monotonic() < self._look_at:
                return replies
        try:
            if self._error is not None:
                raise without_frames(self._error)
            if replies or waiting_for is None:
                return replies + self._take(0)
            waited, done = 0.0, -1
            while True:
                replies, seconds = self._listen(self._timeout - waited, waiting_for)
                if replies:
                    return replies
                counted = self._progress.total()
                if (now := counted["steps"] + counted["blocks"]) != done or not self._launcher.ready:
                    done, waited = now, 0.0
                elif (waited := waited + seconds) >= self._timeout:
                    raise self._timed_out(waiting_for)
        except StreamloadError as error:
            self.stop(grace_s=0.0)
            self._error = without_frames(error)
            if replies := replies + self._replies + self._steps.filled():
                self._replies = []
                return replies
            raise

    def probed(self) -> list[list[Any]]:
        """What the transform makes of the first record, as the probing worker found: name, dtype, shape and kind of each field."""
        with self._stopping_on_error():
            waited = 0.0
            while self._probed is None:
                _, seconds = self._listen(self._timeout - waited)
                waited += seconds if self._launcher.ready else 0.0
                if self._probed is None and waited >= self._timeout:
                    raise self._timed_out(None)
        return self._probed

    def forget(self) -> list[Reply]:
        """Call everything off, and wait until nothing is under way; returns the replies of tasks that were."""
        with self._stopping_on_error():
            if self._error is not None:
                raise without_frames(self._error)
            self._token += 1
            self._forgetting = True
            self._windows.clear()
            self._recalling = False
            self._steps.take_back()
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
        replies += self._steps.filled()
        replies += [Failed(task.number, task.slot, {}) for task in self._steps.call_off()]
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

    def _listen(self, left: float, waiting_for: int | None = None) -> tuple[list[Reply], float]:
        """Replies that arrive soon, and the seconds that were waited for them; steps that are filled only where one is waited for.

        If all processes are frozen meanwhile (a paused container, a debugger), that time counts for no more than a moment.
        """
        if self._launcher.starting_too_long():
            raise self._launcher.start_error()
        moment, began = min(max(left, 0.001), LISTEN_S, self._timeout / 8), time.monotonic()
        if waiting_for is None:
            replies = self._take(moment)
        else:
            progress, waking = self._progress, self._waking
            asked = waking.sleep(len(self._steps))
            progress.want(waiting_for, waiting_for + asked - 1)
            progress.fence()
            if not (replies := self._steps.filled()):
                replies = self._take(moment)
                replies += self._steps.filled()
                waking.woke(filled=len(replies), asked=asked)
            progress.want_nothing()
        return replies, min(time.monotonic() - began, 2 * moment)

    def _take(self, seconds: float) -> list[Reply]:
        """Replies that arrive within `seconds`, as soon as there is one."""
        replies = self._replies
        self._look_at = time.monotonic() + LOOK_S
        if [handle for handle in self._handles if handle.unsent and handle.send_more()]:
            seconds = min(seconds, RETRY_S)
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
                if kind is Kind.FINISHED:
                    pass
                elif kind is Kind.FORGOTTEN:
                    handle.forgotten = content["token"]
                    if self._recalling:
                        self._ask_again()
                elif kind is Kind.PROBED:
                    self._probed = content["fields"]
                elif kind is Kind.BROKEN:
                    raise self._completed(content["error"], handle)
                else:
                    self._steps.answered(content.number)
                    replies.append(content)
        self._replies = []
        return replies

    def _look_at_launcher(self) -> None:
        for handle in self._handles:
            report = self._launcher.report(handle.key)
            if report.refused:
                raise not_started(handle.number, report.refused, report.errno)
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
        blamed = self._steps.not_done(doing)
        if self._progress.finished(handle.number):
            handle.deaths = 0
        death = WorkerExit(
            worker=handle.number, pid=handle.pid, status=report.status or 0, task=blamed or self._steps.oldest, trace=handle.said("trace")
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
        if not self._forgetting:
            self._recall(dead)
        handle = self._handles[dead.number] = self._handle(dead.number, probe=False, overflows=dead.overflows)
        handle.forgotten, handle.deaths = self._token, dead.deaths + 1
        self._watch(handle)
        for window in () if self._forgetting else sorted(self._windows.values()):
            handle.send(pack_window(window))
        if self._recalling:
            self._ask_again()

    def _recall(self, dead: WorkerHandle) -> None:
        """Have every other worker let go of steps that it has taken and not begun."""
        self._steps.take_back()
        self._recalling = True
        self._token += 1
        for handle in self._handles:
            if handle is not dead:
                handle.send(pack_text(Kind.RECALL, {"token": self._token}))

    def _ask_again(self) -> None:
        """Ask again for every step that was recalled, once no worker has any in hand."""
        if any(handle.forgotten != self._token for handle in self._handles):
            return
        self._recalling = False
        self._steps.send_again()

    def _timed_out(self, number: int | None) -> StreamloadError:
        """The error for a worker that does not answer, with where it is."""
        stacks = stacks_of(self._handles)
        doing = {handle.number: self._steps.not_done(self._progress.doing(handle.number)) for handle in self._handles}
        holders = [handle for handle in self._handles if (task := doing[handle.number]) is not None and number in (None, task.number)]
        busy = [handle for handle in holders or self._handles if "_wait" not in stacks[handle.number]]
        handle = (busy or holders or self._handles)[0]
        return timed_out(
            self._job,
            worker=handle.number,
            pid=handle.pid,
            task=doing[handle.number] or self._steps.oldest,
            stack=stacks[handle.number],
            timeout=self._timeout,
        )

    # The end

    @property
    def ready(self) -> bool:
        """Whether workers can be forked: the launcher has said that it has loaded what they need."""
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
        self._steps.close()
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

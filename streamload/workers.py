"""The workers of one loader, as its process sees them: tasks go out, replies come in, and a death is named at once.

Rules:

1. Sends never block: no more than `MOST_TASKS` tasks are with a worker at a time, and each is some 70 bytes.
2. A worker's socket is held by that worker alone, so its end of file means its death, however it died.
3. No lock, queue or counter is shared between workers: one that is killed holds nothing that another needs.
4. After `forget`, nothing is under way: every slot that was asked for has been answered.
5. After an error here the workers are killed, and never answer again.
6. A worker that replaces a dead one has its number, its unanswered steps and its windows. Blocks that the dead one had
   announced are not decoded again: others may be reading them.
7. A step that two workers died of is poison. So is whatever kills two workers in a row before they have done anything.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import numpy as np

from streamload.board import Board
from streamload.deaths import Death, crashed, timed_out
from streamload.errors import ResourceError, StreamloadError, WorkerError
from streamload.job import Job, write_job
from streamload.launcher import Launcher
from streamload.schema import Field, Schema
from streamload.shared import Scrap, SharedBlock
from streamload.transforms import received_error
from streamload.wire import Failed, Filled, Frames, Kind, StepTask, WindowTask, pack_step, pack_text, pack_window

MOST_TASKS = 64
LISTEN_S = 1.0
"""The longest single wait."""
WORKER_DESCRIPTORS = 3
"""A socket, and two files for last words."""
SPARE_DESCRIPTORS = 12
"""The launcher's, and what comes and goes while workers are started."""
GRACE_S = 1.0
"""How long a worker is given to end by itself before it is killed."""


class Hand:
    """One worker, and what it has been asked for."""

    __slots__ = ("channel", "forgotten", "frames", "key", "number", "tasks", "unsent")

    def __init__(self, number: int, channel: socket.socket, key: int) -> None:
        self.number = number
        self.channel = channel
        self.key = key
        self.frames = Frames()
        self.tasks: dict[int, StepTask] = {}
        self.unsent = b""
        self.forgotten = -1
        self.deaths = 0
        """Workers of this number that died in a row without having done anything."""


def _load(hand: Hand) -> int:
    return len(hand.tasks)


class Workers:
    """The worker processes of one loader."""

    def __init__(
        self, job: Job, *, ring: SharedBlock, board: Board, arena: SharedBlock | None, tables: SharedBlock | None,
        timeout: float, restart: bool = False, probe: bool = False,
    ) -> None:
        self._job = job
        self._board = board
        self._timeout = timeout
        self._owner = os.getpid()
        self._hands: list[Hand] = []
        self._stopped = False
        self._token = 0
        self._forgetting = False
        self._restart = restart
        self._probing = probe
        self._suspects: set[int] = set()
        self._windows: dict[int, WindowTask] = {}
        self._pids: dict[int, int] = {}
        self._probed: list[list[Any]] | None = None
        self._blocks = {"ring": ring, "board": board.block}
        if arena is not None:
            self._blocks["arena"] = arena
        if tables is not None:
            self._blocks["tables"] = tables
        _check_descriptors(job.workers, len(self._blocks) + 1)
        self._launcher = Launcher.current()
        self._own: list[SharedBlock] = []
        self._texts: list[dict[str, Scrap]] = []
        try:
            self._blocks["job"] = write_job(job)
            self._own.append(self._blocks["job"])
            for number in range(job.workers):
                self._texts.append({name: Scrap() for name in ("trace", "stack")})
                self._hands.append(self._start(number))
        except BaseException:
            self.stop()
            raise
        self._poll = select.poll()
        self._by_fd: dict[int, Hand] = {}
        for hand in self._hands:
            self._watch(hand)
        self._poll.register(self._launcher.control, select.POLLIN)

    def _watch(self, hand: Hand) -> None:
        self._poll.register(hand.channel, select.POLLIN)
        self._by_fd[hand.channel.fileno()] = hand

    def _start(self, number: int) -> Hand:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise ResourceError(
                f"no descriptor for worker {number}: {error.strerror}.", hint="Raise `ulimit -n`, or lower num_workers.", errno=error.errno
            ) from error
        descriptors = {"channel": theirs.fileno(), **{name: text.fd for name, text in self._texts[number].items()}}
        descriptors.update({name: block.fd for name, block in self._blocks.items()})
        sizes = {name: block.nbytes for name, block in self._blocks.items()}
        try:
            key = self._launcher.fork({"worker": number, "blocks": sizes, "probe": self._probing}, descriptors)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Hand(number, ours, key)

    # Tasks

    def send_step(self, task: StepTask) -> None:
        """Give a step to the worker that has the least to do; `flush` sends it."""
        hand = min(self._hands, key=_load)
        hand.tasks[task.number] = task
        hand.unsent += pack_step(task)

    def flush(self) -> None:
        """Send the steps that were given since the last call, one send a worker."""
        for hand in self._hands:
            if hand.unsent:
                frames, hand.unsent = hand.unsent, b""
                self._send(hand, frames)

    def send_window(self, task: WindowTask) -> None:
        """Have all workers decode their shares of a window."""
        self._windows[task.part] = task
        for hand in self._hands:
            self._send(hand, pack_window(task))

    def _send(self, hand: Hand, frame: bytes) -> None:
        try:
            sent = hand.channel.send(frame, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))
        except (BrokenPipeError, ConnectionResetError):
            return  # It is dead; `receive` will find its end of file, and name it.
        except BlockingIOError:
            sent = 0
        if sent != len(frame):
            raise WorkerError(f"the socket of worker {hand.number} is full ({len(hand.tasks)} tasks): a fault in streamload.")

    @property
    def room(self) -> bool:
        """Whether another step may be sent (rule 1)."""
        return min(len(hand.tasks) for hand in self._hands) < MOST_TASKS

    def receive(self, waiting_for: int | None) -> list[Filled | Failed]:
        """Replies that have arrived; waits for at least one if `waiting_for` names a task. Raises when a worker died or hangs."""
        with self._stopping_on_error():
            replies = self._take(0)
            if waiting_for is None:
                return replies
            waited, done = 0.0, -1
            while not replies:
                replies, seconds = self._listen(self._timeout - waited)
                progress = self._board.total()
                if progress["steps"] + progress["blocks"] != done or not self._launcher.ready:
                    done, waited = progress["steps"] + progress["blocks"], 0.0
                elif not replies and (waited := waited + seconds) >= self._timeout:
                    raise self._timed_out(waiting_for)
            return replies

    def probed(self) -> Schema:
        """What the transform makes of the first record, as the probing worker found."""
        with self._stopping_on_error():
            waited = 0.0
            while self._probed is None:
                _, seconds = self._listen(self._timeout - waited)
                waited += seconds if self._launcher.ready else 0.0
                if self._probed is None and waited >= self._timeout:
                    raise self._timed_out(None)
        return Schema(tuple(Field(name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in self._probed))

    def forget(self) -> list[Filled | Failed]:
        """Call everything off, and wait until nothing is under way; returns the replies of tasks that were."""
        with self._stopping_on_error():
            self._token += 1
            self._forgetting = True
            self._windows.clear()
            for hand in self._hands:
                self._send(hand, pack_text(Kind.FORGET, {"token": self._token}))
            replies: list[Filled | Failed] = []
            waited = 0.0
            while any(hand.forgotten != self._token for hand in self._hands):
                some, seconds = self._listen(self._timeout - waited)
                replies += some
                waited += seconds if self._launcher.ready else 0.0
                if waited >= self._timeout and not some:
                    raise self._timed_out(None)
            self._forgetting = False
        for hand in self._hands:
            replies += [Failed(task.number, task.slot, {}) for task in hand.tasks.values()]
            hand.tasks.clear()
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

    def _listen(self, left: float) -> tuple[list[Filled | Failed], float]:
        """Replies that arrive soon, and the seconds that were waited for them.

        If all processes are frozen meanwhile (a paused container, a debugger), that time counts for no more than a moment.
        """
        if self._launcher.starting_too_long():
            raise self._launcher.start_error()
        moment, began = min(max(left, 0.001), LISTEN_S), time.monotonic()
        replies = self._take(moment)
        return replies, min(time.monotonic() - began, 2 * moment)

    def _take(self, seconds: float) -> list[Filled | Failed]:
        """Replies that arrive within `seconds`, as soon as there is one."""
        replies: list[Filled | Failed] = []
        for fd, _ in self._poll.poll(seconds * 1000):
            hand = self._by_fd.get(fd)
            if hand is None:
                self._look_at_launcher()
                continue
            try:
                received = hand.channel.recv(1 << 16, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                received = b""
            if not received:
                self._ended(hand)
                continue
            hand.deaths = 0
            for kind, content in hand.frames.feed(received):
                if kind is Kind.FORGOTTEN:
                    hand.forgotten = content["token"]
                elif kind is Kind.PROBED:
                    self._probed = content["fields"]
                elif kind is Kind.BROKEN:
                    raise self._completed(content["error"], hand)
                else:
                    hand.tasks.pop(content.number, None)
                    replies.append(content)
        return replies

    def _look_at_launcher(self) -> None:
        for hand in self._hands:
            report = self._launcher.report(hand.key)
            if report.refused:
                raise ResourceError(
                    f"worker {hand.number} could not be started: {report.refused}.",
                    hint="Lower num_workers, free memory, or raise `ulimit -u`.",
                    errno=report.errno,
                )
        if not self._launcher.alive:
            raise self._launcher.start_error()

    # Errors

    def error_of(self, failed: Failed) -> StreamloadError:
        """The error that a worker reported for a task."""
        return self._completed(failed.error, None)

    def _completed(self, plain: dict[str, Any], hand: Hand | None) -> StreamloadError:
        error = received_error(plain)
        index = error.details.get("worker_id", hand.number if hand else None)
        if isinstance(error, WorkerError) and index is not None:
            error.worker_id = index
            error.pid = self._pid(self._hands[index])
        return error

    def _ended(self, hand: Hand) -> None:
        """A worker's socket has ended: put another in its place if that is wanted and may help. Raises what it died of."""
        self._launcher.await_end([hand.key], seconds=2.0)
        report = self._launcher.report(hand.key)
        if report.status is None and not self._launcher.alive:
            raise self._launcher.start_error()
        task = min(hand.tasks.values(), default=None, key=lambda task: task.number)
        doing = self._board.doing(hand.number)
        blamed = hand.tasks.get(doing) if doing is not None else None
        death = Death(
            worker=hand.number,
            pid=report.pid,
            status=report.status if report.status is not None else 0,
            task=blamed or task,
            trace=self._texts[hand.number]["trace"].text(),
        )
        poison = hand.deaths > 0 or (blamed is not None and blamed.number in self._suspects)
        if not self._restart or self._probing or poison:
            raise crashed(self._job, death, others=self._others_dead(hand), poison=poison)
        if blamed is not None:
            self._suspects.add(blamed.number)
        self._replace(hand)

    def _others_dead(self, first: Hand) -> list[int]:
        """Process ids of other workers that have died as well."""
        reports = [self._launcher.report(hand.key) for hand in self._hands if hand is not first]
        return [report.pid for report in reports if report.status is not None and report.pid is not None]

    def _replace(self, dead: Hand) -> None:
        """Start a worker in a dead one's place, and give it what that one had not done (rule 6)."""
        number = dead.number
        self._poll.unregister(dead.channel)
        del self._by_fd[dead.channel.fileno()]
        dead.channel.close()
        self._launcher.forget(dead.key)
        for text in self._texts[number].values():
            text.close()
        self._texts[number] = {name: Scrap() for name in self._texts[number]}
        self._board.bury(number)
        hand = self._hands[number] = self._start(number)
        hand.tasks, hand.deaths = dead.tasks, dead.deaths + 1
        self._watch(hand)
        if self._forgetting:
            hand.forgotten = self._token
            return
        for window in sorted(self._windows.values()):
            self._send(hand, pack_window(window))
        for task in sorted(hand.tasks.values()):
            self._send(hand, pack_step(task))

    def _timed_out(self, number: int | None) -> StreamloadError:
        """The error for a worker that does not answer, with where it is."""
        pids = {hand.number: self._pid(hand) for hand in self._hands}
        for pid in pids.values():
            _signal(pid, signal.SIGUSR1)
        time.sleep(0.3)
        stacks = {hand.number: self._texts[hand.number]["stack"].text() for hand in self._hands}
        holders = [hand for hand in self._hands if number is None or number in hand.tasks] or self._hands
        busy = [hand for hand in holders if "_listen" not in stacks[hand.number]] or [h for h in self._hands if "_listen" not in stacks[h.number]]
        hand = (busy or holders)[0]
        task = min(hand.tasks.values(), default=None, key=lambda task: task.number)
        return timed_out(
            self._job, worker=hand.number, pid=pids[hand.number], task=task, stack=stacks[hand.number], timeout=self._timeout
        )

    # The end

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that have started."""
        return [pid for hand in self._hands if (pid := self._pid(hand)) is not None]

    def _pid(self, hand: Hand) -> int | None:
        """A worker's process id, also after it was forgotten."""
        pid = self._launcher.report(hand.key).pid
        if pid is not None:
            self._pids[hand.key] = pid
        return self._pids.get(hand.key)

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """End the workers: by themselves within `grace_s`, else by SIGKILL. May be called twice, and in a forked child."""
        if self._stopped:
            return
        self._stopped = True
        for hand in self._hands:
            hand.channel.close()
        if self._owner == os.getpid() and self._launcher.alive:
            keys = [hand.key for hand in self._hands]
            self._pids.update({hand.key: pid for hand in self._hands if (pid := self._pid(hand)) is not None})
            if not self._launcher.await_end(keys, seconds=grace_s):
                self._kill(keys)
                self._launcher.await_end(keys, seconds=GRACE_S)
            for key in keys:
                self._launcher.forget(key)
        for block in (*self._own, *(text for texts in self._texts for text in texts.values())):
            block.close()

    def _kill(self, keys: Iterable[int]) -> None:
        for key in keys:
            report = self._launcher.report(key)
            if report.status is None:
                _signal(report.pid, signal.SIGKILL)


def _signal(pid: int | None, number: int) -> None:
    """Send a signal to a worker that is perhaps not there."""
    if pid is not None:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def _check_descriptors(workers: int, blocks: int) -> None:
    """Raise ResourceError, before any worker is started, where this process may not open enough descriptors."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd")) - 1
    except OSError:
        return
    needed = used + workers * WORKER_DESCRIPTORS + blocks + SPARE_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise ResourceError(
            f"{workers} workers need about {needed} descriptors in this process ({used} are open), and its limit is {limit}.",
            hint=f"Raise it with `ulimit -n {max(1024, 2 * needed)}`, or lower num_workers.",
            errno=errno.EMFILE,
        )


def probe_schema(job: Job, *, timeout: float) -> Schema:
    """What the job's transform makes of a record, found in a worker of its own: a function that dies takes nothing along."""
    board = Board.create(1)
    pool = Workers(job, ring=board.block, board=board, arena=None, tables=None, timeout=timeout, probe=True)
    try:
        return pool.probed()
    finally:
        pool.stop()
        board.close()

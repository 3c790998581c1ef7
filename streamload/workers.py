"""The workers of one loader, as its process sees them: tasks go out, replies come in, and a death is named at once.

Rules:

1. Sends never block: no more than `MOST_TASKS` tasks are with a worker at a time, and each is some 70 bytes.
2. A worker's socket is held by that worker alone, so its end of file means its death, however it died.
3. No lock, queue or counter is shared between workers: one that is killed holds nothing that another needs.
4. After `forget`, nothing is under way: every slot that was asked for has been answered.
5. After an error here the workers are stopped, and never answer again.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from streamload.board import Board
from streamload.errors import (
    ResourceError,
    SourceChangedError,
    StreamloadError,
    WorkerCrashedError,
    WorkerError,
    WorkerTimeoutError,
    from_plain,
)
from streamload.files import recheck
from streamload.job import Job, write_job
from streamload.launcher import Launcher
from streamload.schema import Field, Schema
from streamload.shared import Scrap, SharedBlock
from streamload.transforms import received_error
from streamload.wire import Failed, Filled, Frames, Kind, StepTask, WindowTask, pack_step, pack_text, pack_window

MOST_TASKS = 64
GRACE_S = 1.0
"""How long a worker is given to end by itself before it is killed."""


class Hand:
    """One worker, and what it has been asked for."""

    __slots__ = ("channel", "forgotten", "frames", "key", "number", "tasks")

    def __init__(self, number: int, channel: socket.socket, key: int) -> None:
        self.number = number
        self.channel = channel
        self.key = key
        self.frames = Frames()
        self.tasks: dict[int, StepTask] = {}
        self.forgotten = -1


class Workers:
    """The worker processes of one loader."""

    def __init__(
        self, job: Job, *, ring: SharedBlock, board: Board, arena: SharedBlock | None, tables: SharedBlock | None,
        timeout: float, probe: bool = False,
    ) -> None:
        self._job = job
        self._board = board
        self._timeout = timeout
        self._owner = os.getpid()
        self._hands: list[Hand] = []
        self._stopped = False
        self._token = 0
        self._probed: list[list[Any]] | None = None
        self._blocks = {"ring": ring, "board": board.block}
        if arena is not None:
            self._blocks["arena"] = arena
        if tables is not None:
            self._blocks["tables"] = tables
        self._launcher = Launcher.current()
        self._own: list[SharedBlock] = []
        self._texts: list[dict[str, Scrap]] = []
        try:
            self._blocks["job"] = write_job(job)
            self._own.append(self._blocks["job"])
            for number in range(job.workers):
                self._texts.append({name: Scrap() for name in ("trace", "stack")})
                self._hands.append(self._start(number, probe=probe))
        except BaseException:
            self.stop()
            raise
        self._poll = select.poll()
        self._by_fd: dict[int, Hand] = {}
        for hand in self._hands:
            self._poll.register(hand.channel, select.POLLIN)
            self._by_fd[hand.channel.fileno()] = hand
        self._poll.register(self._launcher.control, select.POLLIN)

    def _start(self, number: int, *, probe: bool) -> Hand:
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
            key = self._launcher.fork({"worker": number, "blocks": sizes, "probe": probe}, descriptors)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Hand(number, ours, key)

    # Tasks

    def send_step(self, task: StepTask) -> None:
        """Give a step to the worker that has the least to do."""
        hand = min(self._hands, key=lambda hand: len(hand.tasks))
        hand.tasks[task.number] = task
        self._send(hand, pack_step(task))

    def send_window(self, task: WindowTask) -> None:
        """Have all workers decode their shares of a window."""
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
        replies = self._take(0)
        if replies or waiting_for is None:
            return replies
        deadline, done = time.monotonic() + self._timeout, -1
        while not replies:
            left = deadline - time.monotonic()
            replies = self._take(min(max(left, 0.0), 5.0))
            progress = self._board.total()
            if progress["steps"] + progress["blocks"] != done or not self._launcher.ready:
                done, deadline = progress["steps"] + progress["blocks"], time.monotonic() + self._timeout
            elif not replies and left <= 0:
                raise self._timed_out(waiting_for)
            if self._launcher.starting_too_long():
                raise self._launcher.start_error()
        return replies

    def probed(self) -> Schema:
        """What the transform makes of the first record, as the probing worker found."""
        deadline: float | None = None
        while self._probed is None:
            self._take(0.5)
            if self._launcher.ready:
                deadline = deadline or time.monotonic() + self._timeout
            if self._launcher.starting_too_long():
                raise self._launcher.start_error()
            if deadline and time.monotonic() > deadline:
                raise self._timed_out(None)
        return Schema(tuple(Field(name, np.dtype(dtype), tuple(shape)) for name, dtype, shape in self._probed))

    def forget(self) -> list[Filled | Failed]:
        """Call everything off, and wait until nothing is under way; returns the replies of tasks that were."""
        self._token += 1
        for hand in self._hands:
            self._send(hand, pack_text(Kind.FORGET, {"token": self._token}))
        replies: list[Filled | Failed] = []
        deadline = time.monotonic() + self._timeout
        while any(hand.forgotten != self._token for hand in self._hands):
            replies += self._take(0.5)
            if time.monotonic() > deadline:
                raise self._timed_out(None)
        for hand in self._hands:
            replies += [Failed(task.number, task.slot, {}) for task in hand.tasks.values()]
            hand.tasks.clear()
        return replies

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
                raise self._crashed(hand)
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
            error.pid = self._launcher.report(self._hands[index].key).pid
        return error

    def _crashed(self, hand: Hand) -> StreamloadError:
        """The error for a worker whose socket ended: who, how, doing what, and why if the files tell."""
        self._launcher.await_end([hand.key], seconds=2.0)
        report = self._launcher.report(hand.key)
        if report.status is None and not self._launcher.alive:
            return self._launcher.start_error()
        status = report.status if report.status is not None else 0
        task = min(hand.tasks.values(), default=None, key=lambda task: task.number)
        size = self._job.layout.batch_size if self._job.layout else 1
        doing = f"while preparing batch {task.start // size} of epoch {task.epoch}" if task else "before its work was done"
        name = signal.Signals(-status).name if status < 0 else None
        how = f"was killed by {name}" if name else f"exited with status {status}"
        hint = ""
        try:
            for was in self._job.fingerprints if len(self._job.fingerprints) <= 1000 else ():
                recheck(was)
        except SourceChangedError as error:
            hint = f"{error.message} A mapped file that shrinks kills whoever reads it."
        if not hint and name == "SIGKILL":
            hint = "This is often the kernel's out-of-memory killer: lower `memory=` or num_workers, and look at the system log."
        elif not hint and not name:
            hint = "A function of yours, or a library that it uses, ended the process: look for os._exit or sys.exit."
        trace = self._texts[hand.number]["trace"].text()
        return WorkerCrashedError(
            f"worker {hand.number} (pid {report.pid}) {how} {doing}{self._where()}.",
            hint=hint or "The native traceback is in `error.native_traceback`.",
            worker_id=hand.number,
            pid=report.pid,
            epoch=task.epoch if task else None,
            batch_index=task.start // size if task else None,
            files=[was.path for was in self._job.fingerprints[:10]],
            positions=[task.start, task.stop] if task else None,
            exitcode=status,
            signal_name=name,
            native_traceback=trace or None,
        )

    def _where(self) -> str:
        names = [os.path.basename(was.path) for was in self._job.fingerprints]
        if not names:
            return ""
        return f" ({names[0]})" if len(names) == 1 else f" ({names[0]} and {len(names) - 1} more files)"

    def _timed_out(self, number: int | None) -> StreamloadError:
        """The error for a worker that does not answer, with where it is."""
        for hand in self._hands:
            pid = self._launcher.report(hand.key).pid
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGUSR1)
                except OSError:
                    pass
        time.sleep(0.3)
        stacks = {hand.number: self._texts[hand.number]["stack"].text() for hand in self._hands}
        holders = [hand for hand in self._hands if number is None or number in hand.tasks] or self._hands
        busy = [hand for hand in holders if "_listen" not in stacks[hand.number]] or [h for h in self._hands if "_listen" not in stacks[h.number]]
        hand = (busy or holders)[0]
        task = min(hand.tasks.values(), default=None, key=lambda task: task.number)
        size = self._job.layout.batch_size if self._job.layout else 1
        doing = f"batch {task.start // size} of epoch {task.epoch}" if task else "its work"
        stack = stacks[hand.number]
        return WorkerTimeoutError(
            f"worker {hand.number} has not finished {doing} within {self._timeout:g} s{self._where()}."
            + (f"\nIt is here:\n{stack}" if stack else " It does not say where it is: it may be stopped, or wait for a disk."),
            hint="Raise `timeout=` if the work is really that slow.",
            worker_id=hand.number,
            pid=self._launcher.report(hand.key).pid,
            epoch=task.epoch if task else None,
            batch_index=task.start // size if task else None,
            stack=stack or None,
        )

    # The end

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that have started."""
        return [pid for hand in self._hands if (pid := self._launcher.report(hand.key).pid) is not None]

    def stop(self) -> None:
        """End the workers: by themselves within a second, else by SIGKILL. May be called twice, and in a forked child."""
        if self._stopped:
            return
        self._stopped = True
        for hand in self._hands:
            hand.channel.close()
        if self._owner == os.getpid() and self._launcher.alive:
            keys = [hand.key for hand in self._hands]
            if not self._launcher.await_end(keys, seconds=GRACE_S):
                self._kill(keys)
                self._launcher.await_end(keys, seconds=GRACE_S)
            for key in keys:
                self._launcher.forget(key)
        for block in (*self._own, *(text for texts in self._texts for text in texts.values())):
            block.close()

    def _kill(self, keys: Iterable[int]) -> None:
        for key in keys:
            report = self._launcher.report(key)
            if report.pid is not None and report.status is None:
                try:
                    os.kill(report.pid, signal.SIGKILL)
                except OSError:
                    pass


def probe_schema(job: Job, *, timeout: float) -> Schema:
    """What the job's transform makes of a record, found in a worker of its own: a function that dies takes nothing along."""
    board = Board.create(1)
    pool = Workers(job, ring=board.block, board=board, arena=None, tables=None, timeout=timeout, probe=True)
    try:
        return pool.probed()
    finally:
        pool.stop()
        board.close()

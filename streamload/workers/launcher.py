"""The launcher as the user's process sees it: one process, started once, that forks workers for every loader.

Rules:

1. The user's process is never forked, and its main module is never run again: the launcher is a fresh interpreter that
   imports what workers need, and forks while it has one thread.
2. One launcher a process. A child that the user forks inherits this object but not the launcher: it starts its own.
3. The launcher ends when this process closes its end of the control socket or dies, however it dies; workers end with it.
4. Reports of the launcher (started, ended, refused) are read by whichever loader looks first, and kept for the others.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from streamload.errors import ConfigError, ResourceError, WorkerStartError
from streamload.kernels import do_without
from streamload.memory.limits import check_descriptors
from streamload.processes.child_process import ChildProcess

START_LIMIT_S = 120.0
"""Compiling every kernel on a slow machine takes some 15 seconds; nothing should take longer than this."""
_BOOT = (
    "import sys, json; said = json.loads(sys.argv[1]); sys.path[:] = said['path']; "
    "from streamload.workers.fork_server import main; main(said['control'], said['parent'], said['stderr'])"
)
_CLEARED = ("NUMBA_DISABLE_JIT", "NUMBA_CACHE_DIR")


@dataclass(slots=True)
class ExitReport:
    """What the launcher has said of one worker."""

    pid: int | None = None
    status: int | None = None
    """How it ended: an exit status, or minus a signal's number; None while it runs."""
    refused: str | None = None
    """Why it could not be forked."""
    errno: int | None = None


WORKER_DESCRIPTORS = 3
"""A socket, and two files for last words."""
SPARE_DESCRIPTORS = 12
"""The launcher's, the job's, and what comes and goes while workers are started."""


class Launcher:
    """This process's launcher."""

    _current: ClassVar[Launcher | None] = None
    _starting: ClassVar[threading.RLock] = threading.RLock()
    _users: ClassVar[int] = 0
    """How many are about to ask something of the launcher, in any thread."""

    @classmethod
    def current(cls) -> Launcher:
        """The launcher of this process, started if there is none that works."""
        with cls._starting:
            previous = cls._current
            if previous is not None and previous._child.ours and previous.alive:
                return previous
            launcher = cls._current = cls()
            if previous is not None:
                previous.disconnect()
            return launcher

    @classmethod
    def shutdown(cls) -> None:
        """End the launcher of this process, and with it every worker. Does nothing where there is none."""
        launcher, cls._current = cls._current, None
        if launcher is not None:
            launcher.close()

    @classmethod
    def end_unused(cls) -> None:
        """End the launcher of this process if nothing has been asked of it: whoever started it had no use for it after all.

        Not where somebody else is about to ask.
        """
        with cls._starting:
            launcher = cls._current
            if launcher is not None and launcher._child.ours and not launcher._next_key and not cls._users:
                cls.shutdown()

    @classmethod
    @contextmanager
    def in_use(cls) -> Generator[None]:
        """Meanwhile nobody ends a launcher because nothing has been asked of it yet."""
        with cls._starting:
            cls._users += 1
        try:
            yield
        finally:
            with cls._starting:
                cls._users = max(0, cls._users - 1)  # A fork begins anew.

    @classmethod
    def leave_to_parent(cls) -> None:
        """In a child that the user forked: the launcher is the parent's."""
        inherited, cls._current = cls._current, None
        cls._starting, cls._users = threading.RLock(), 0
        if inherited is not None:
            inherited._lock = threading.RLock()
            inherited.close()

    def __init__(self) -> None:
        if not sys.executable:
            raise ConfigError(
                "worker processes cannot be started: sys.executable is empty (a frozen or embedded Python).", hint="Use num_workers=0."
            )
        self._lock = threading.RLock()
        self._reports: dict[int, ExitReport] = {}
        self._next_key = 0
        self._ready = False
        self._closed = False
        said = {"path": [entry if entry else os.getcwd() for entry in sys.path], "parent": os.getpid()}
        name, instead = "the worker launcher", "; num_workers=0 needs fewer"
        try:
            self._child = ChildProcess(name, _BOOT, said, cleared=_CLEARED, heard=True, instead=instead)
        except ResourceError:
            raise
        except OSError as error:
            raise WorkerStartError(
                f"the worker launcher could not be started with {sys.executable}: {error.strerror}.",
                hint="Check memory, `ulimit -u` and `ulimit -n`; num_workers=0 needs no other process.",
            ) from error
        self.control = self._child.control
        self._began = time.monotonic()

    @property
    def pid(self) -> int:
        """The launcher's process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the launcher can still be asked for workers."""
        return not self._closed and self._child.running

    def fork(self, request: dict[str, Any], descriptors: dict[str, int]) -> int:
        """Ask for a worker that is handed `descriptors`; returns the key under which it will be reported."""
        with self._lock:
            key = self._next_key
            self._next_key += 1
            self._reports[key] = ExitReport()
            message = json.dumps({**request, "key": key, "descriptors": list(descriptors)}).encode()
            try:
                socket.send_fds(self.control, [message], list(descriptors.values()))
            except OSError:
                raise self.start_error() from None
        return key

    def report(self, key: int) -> ExitReport:
        """What is known of a worker by now; nothing of one that was forgotten."""
        self._read()
        return self._reports.get(key) or ExitReport()

    def await_end(self, keys: list[int], *, seconds: float) -> bool:
        """Wait until all these workers are known to have ended, or time is up."""
        deadline = time.monotonic() + seconds
        waiting = select.poll()
        waiting.register(self.control, select.POLLIN)
        while True:
            self._read()
            known = [self._reports.get(key) for key in keys]
            if all(report is None or report.status is not None or report.refused for report in known) or not self.alive:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            waiting.poll(left * 1000)

    def forget(self, key: int) -> None:
        """Nobody will ask for this worker's report again."""
        self._reports.pop(key, None)

    def _read(self) -> None:
        """Take in what the launcher has said."""
        with self._lock:
            while not self._closed:
                try:
                    said = self.control.recv(1 << 16, socket.MSG_DONTWAIT)
                except (BlockingIOError, InterruptedError):
                    return
                except OSError:
                    said = b""
                if not said:
                    return
                self._take(json.loads(said))

    def _take(self, said: dict[str, Any]) -> None:
        if "ready" in said:
            self._ready = True
            if said["missing"] is not None:
                do_without(said["missing"])
        elif "started" in said and said["started"] in self._reports:
            self._reports[said["started"]].pid = said["pid"]
        elif "ended" in said and said["ended"] in self._reports:
            report = self._reports[said["ended"]]
            report.pid, report.status = said["pid"], said["status"]
        elif "refused" in said and said["refused"] in self._reports:
            report = self._reports[said["refused"]]
            report.refused, report.errno = said["why"], said["errno"]

    def start_error(self) -> WorkerStartError:
        """The error for a launcher that is gone, with the last it said."""
        status, tail = self._child.ended(seconds=1.0), self._child.complaints()[-4000:].strip()
        when = "after it had started" if self._ready else "while it was starting"
        return WorkerStartError(
            f"the worker launcher (pid {self.pid}) ended {when}, with status {status}." + (f" It said:\n{tail}\n" if tail else ""),
            hint="num_workers=0 needs no other process."
            if tail
            else "Something killed it; often that is the kernel's out-of-memory killer.",
            pid=self.pid,
            exitcode=status,
        )

    def starting_too_long(self) -> bool:
        """Whether the launcher is still not ready, well after it should be."""
        return not self._ready and time.monotonic() - self._began > START_LIMIT_S

    @property
    def ready(self) -> bool:
        """Whether the launcher has loaded everything, and forks."""
        return self._ready

    def disconnect(self) -> None:
        """Close this end of the socket of a launcher that is gone; what it said last can still be read."""
        with self._lock:
            self._read()
            self._closed = True
            self.control.close()

    def close(self) -> None:
        """End the launcher and wait for it; in a forked child, only let go of what was inherited."""
        if self._closed:
            return
        if self._child.ours:
            self._read()
            if not self._ready:
                self._child.terminate()  # It does not look at its socket yet; what it has begun it clears away.
        self._closed = True
        self._child.close(seconds=1.0)


def start_launcher(workers: int) -> Launcher:
    """The launcher, which need not be ready yet. Raises ResourceError where there are too few descriptors for so many workers."""
    check_descriptors(workers * WORKER_DESCRIPTORS + SPARE_DESCRIPTORS, purpose=f"{workers} workers")
    return Launcher.current()


atexit.register(Launcher.shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Launcher.leave_to_parent)

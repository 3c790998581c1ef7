"""The process that forks workers: it has one thread, has imported what they need, and never imports the user's main module.

The user's process starts it (`workers.launcher` has the rules).
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

from streamload.kernels import compile_kernels, missing
from streamload.processes.fault_points import fault_point
from streamload.processes.parent_death import die_with_parent, noticing_death
from streamload.workers.worker import work


class ForkServer:
    """One process with one thread: it forks workers when asked, reaps them, says how each ended, and dies with its parent."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control = control
        self._parent = parent
        self._workers: dict[int, int] = {}
        self._poll = select.poll()

    def run(self) -> None:
        """Serve until the parent closes its end or dies."""
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        watched = {self._control.fileno(), woken.fileno()}
        try:
            watched.add(os.pidfd_open(self._parent))
        except (OSError, AttributeError):
            pass  # Then the end of the control socket alone says that the parent is gone.
        for fd in watched:
            self._poll.register(fd, select.POLLIN)
        ours = {self._control.fileno(), woken.fileno()}
        self._say({"ready": os.getpid(), "missing": missing()})
        while os.getppid() == self._parent:
            events = self._poll.poll(None if hasattr(os, "pidfd_open") else 500)
            if any(fd not in ours for fd, _ in events):
                break
            if any(fd == woken.fileno() for fd, _ in events):
                woken.recv(4096)
            self._reap()
            if any(fd == self._control.fileno() for fd, _ in events) and not self._serve():
                break
        for pid in self._workers:
            _kill(pid)
        os._exit(0)

    def _serve(self) -> bool:
        """Do what one message asks; False at the end of the socket."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 16)
        except OSError:
            return False
        if not message:
            return False
        request = json.loads(message)
        try:
            pid = os.fork()
        except OSError as error:
            for fd in descriptors:
                os.close(fd)
            self._say({"refused": request["key"], "errno": error.errno, "why": error.strerror})
            return True
        if pid == 0:
            self._become_worker(request, descriptors)
        self._workers[pid] = int(request["key"])
        for fd in descriptors:
            os.close(fd)
        self._say({"started": request["key"], "pid": pid})
        return True

    def _become_worker(self, request: dict[str, Any], descriptors: list[int]) -> None:
        """In the new process: leave everything of the launcher's behind, work, and never return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            die_with_parent()
            self._control.close()
            work(request, dict(zip(request["descriptors"], descriptors, strict=True)))
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except Exception:
                    pass
            os._exit(status & 0xFF)

    def _reap(self) -> None:
        """Collect workers that ended, and whatever they started and left behind."""
        for pid in list(self._workers):
            try:
                ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                continue
            if ended is None:
                continue
            _kill(pid)
            _, status = os.waitpid(pid, 0)
            self._say({"ended": self._workers.pop(pid), "pid": pid, "status": os.waitstatus_to_exitcode(status)})

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except OSError:
            pass  # The parent is gone; the loop will see it.


def _ignore(number: int, frame: object) -> None:
    """A signal that only has to wake the loop."""


def _kill(pid: int) -> None:
    """Kill a worker and its process group: what a user's function started does not outlive it."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def _leave(*_: object) -> None:
    """Told to end before there is anybody to serve: kernels that are compiled for this run alone lie in a temporary folder."""
    raise SystemExit(0)


def main(control_fd: int, parent: int, stderr_fd: int) -> None:
    """Be the launcher: import what workers need, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    control = socket.socket(fileno=control_fd)
    with noticing_death(parent, _leave):
        fault_point("import")
        compile_kernels()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(stderr_fd, 2)
    os.close(stderr_fd)
    gc.freeze()  # What the imports made stays; a worker that looked through it for garbage would copy every page of it.
    ForkServer(control, parent).run()

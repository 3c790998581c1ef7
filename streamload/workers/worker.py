"""What runs in the other processes: a launcher with one thread that forks workers, and the loop of a worker.

The user's process starts the launcher (`workers.Launcher` has the rules); neither ever imports the user's main module.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from typing import Any

from streamload.errors import StreamloadError, WorkerStartError, shortened, to_plain
from streamload.fault_points import arm, fault_point
from streamload.fetch.draft import FilledStep, Overflow
from streamload.fetch.fetcher import BatchFetcher, unexpected_error
from streamload.fetch.job import Job, read_job
from streamload.fetch.probe import probe
from streamload.fetch.tasks import Filled, Frames, Kind, Overflowed, StepTask, pack_filled, pack_overflown, pack_text, pack_whole
from streamload.kernels import compile_kernels, draw_kernels, missing
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotViews
from streamload.order import DRAWN
from streamload.schema import dtype_text

PATIENCE_S = 0.0003
"""How long a worker sleeps when it waits for another's blocks: much shorter than a block takes to decode."""
UNSENT = {"copied": (4, 600_000), "read": (3, 150_000), "transformed": (1, 0)}
"""How many replies are sent together while there is more to do, and after how many nanoseconds at the latest: whoever is woken
takes a core from a worker, and none should wait for a step that may take as long as a disk or a transform does."""
RECORD_NS = 500_000
"""How old the counters of progress may be while there is work."""
DEAF_NS = 500_000
"""How long a worker with enough to do goes without looking at its socket."""
PR_SET_PDEATHSIG = 1


class Worker:
    """The loop of one worker: whatever can be done next, until the socket ends."""

    def __init__(self, channel: socket.socket, fetcher: BatchFetcher, progress: WorkerProgress) -> None:
        self._channel = channel
        self._fetcher = fetcher
        self._progress = progress
        self._frames = Frames()
        self._steps: deque[StepTask] = deque()
        self._ended = False
        self._done = 0
        self._blocks = 0
        self._busy_ns = 0
        self._idle_ns = 0
        self._send_ns = 0
        self._heard_ns = 0
        self._recorded_ns = 0
        self._unsent: list[bytes] = []
        self._unsent_ns = 0
        self._most_unsent, self._unsent_limit_ns = UNSENT[fetcher.pace]

    def run(self) -> None:
        """Work until the loader closes its end."""
        began = time.perf_counter_ns()
        while not self._ended:
            busy = self._work()
            now = time.perf_counter_ns()
            self._busy_ns += now - began
            if self._unsent and (
                not self._steps or len(self._unsent) >= self._most_unsent or now - self._unsent_ns > self._unsent_limit_ns
            ):
                self._flush()
            began = now
            if not busy or now - self._recorded_ns > RECORD_NS:
                self._recorded_ns = now
                counters = self._fetcher.counters()
                self._progress.record(
                    self._fetcher.index, (*counters, self._done, self._blocks, self._busy_ns, self._idle_ns, self._send_ns)
                )
            if not busy:
                self._listen(PATIENCE_S if self._steps else None)
                began = self._heard_ns = time.perf_counter_ns()
                self._idle_ns += began - now
            elif not self._steps or now - self._heard_ns > DEAF_NS:
                self._listen(0)
                self._heard_ns = now

    def _work(self) -> bool:
        """Do one thing: a step whose blocks are ready, else a block or a few. False if there is nothing to do."""
        # Windows are decoded in the order of steps: what lies behind a step that is not ready is not ready either.
        steps, windows = self._steps, self._fetcher.windows
        if steps and (not windows.parts or windows.ready(steps[0])):
            self._do(steps.popleft())
            self._done += 1
            return True
        if self._unsent:
            self._flush()  # A block takes longer than anyone should wait.
        try:
            if decoded := windows.decode_next():
                self._blocks += decoded
                return True
        except StreamloadError as error:
            self._fail_waiting(error)
            return True
        except Exception as error:
            self._fail_waiting(unexpected_error(error))
            return True
        return False

    def _do(self, task: StepTask) -> None:
        try:
            if task.advice:
                self._fetcher.advise(task.advice)
            filled = self._fetcher.fill(task)
        except StreamloadError as error:
            self._send(pack_text(Kind.FAILED, {"number": task.number, "slot": task.slot, "error": to_plain(error)}))
            return
        began = time.perf_counter_ns()
        fault_point("after_write_before_publish")
        if filled.overflow is not None:
            self._hand_over(task, filled, filled.overflow)
            return
        count, bad, _, valid = filled
        if bad or valid:
            self._unsent.append(pack_filled(Filled(task.number, task.slot, count, bad, valid)))
        else:
            self._unsent.append(pack_whole(task.number, task.slot, count))
        if len(self._unsent) == 1:
            self._unsent_ns = began
        if not self._steps:
            self._flush()
        fault_point("after_publish")
        self._send_ns += time.perf_counter_ns() - began

    def _hand_over(self, task: StepTask, filled: FilledStep, overflow: Overflow) -> None:
        """Send a batch that did not fit its slot: the descriptor of its memory goes along with the frame that speaks of it."""
        block, capacities = overflow
        self._flush()
        reply = Overflowed(task.number, task.slot, filled.count, capacities, block.nbytes, None, filled.bad, filled.valid)
        frame = pack_overflown(reply)
        try:
            sent = socket.send_fds(self._channel, [frame], [block.fd])
            self._channel.sendall(frame[sent:])
        except OSError:
            self._ended = True
        finally:
            block.close()

    def _fail_waiting(self, error: StreamloadError) -> None:
        """A block does not decode: every step that this loader may still ask for fails the same way."""
        error.details.setdefault("worker_id", self._fetcher.index)
        self._send(pack_text(Kind.BROKEN, {"error": to_plain(error)}))
        self._fetcher.windows.forget()

    def _send(self, frame: bytes) -> None:
        self._unsent.append(frame)
        self._flush()

    def _flush(self) -> None:
        """Send every reply that waits for company: waking the loader costs it more than the reply does."""
        frames, self._unsent = b"".join(self._unsent), []
        try:
            self._channel.sendall(frames)
        except OSError:
            self._ended = True

    def _listen(self, timeout: float | None) -> None:
        """Take in every task that has arrived; wait for one for up to `timeout` seconds (None: for ever)."""
        fault_point("idle")
        if timeout:
            select.select([self._channel], [], [], timeout)
        try:
            received = self._channel.recv(1 << 16, 0 if timeout is None else socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = b""
        if not received:
            self._ended = True
            return
        for kind, content in self._frames.feed(received):
            if kind is Kind.STEP:
                self._steps.append(content)
            elif kind is Kind.WINDOW:
                self._fetcher.windows.open(content)
            elif kind is Kind.FORGET:
                self._steps.clear()
                self._fetcher.windows.forget()
                self._fetcher.forget_tables()
                self._send(pack_text(Kind.FORGOTTEN, content))


def work(request: dict[str, Any], descriptors: dict[str, int]) -> None:
    """The life of a worker: take what the request names, then run until the socket ends."""
    index = int(request["worker"])
    arm(index)
    fault_point("start")
    channel = socket.socket(fileno=descriptors["channel"])
    if _is_closed(channel):
        return  # The loader was closed before there was anybody to fork workers.
    faulthandler.enable(descriptors["trace"], all_threads=True)
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, descriptors["stack"], all_threads=True)
    blocks = {name: SharedBlock(descriptors[name], nbytes, writable=name != "job") for name, nbytes in request["blocks"].items()}
    try:
        job = _job(blocks["job"])
        if request.get("probe"):
            fields = [[f.name, dtype_text(f.dtype), list(f.shape), f.ragged] for f in probe(job)]
            channel.sendall(pack_text(Kind.PROBED, {"fields": fields}))
            return
        progress = WorkerProgress(blocks["progress"], job.workers)
        assert job.layout is not None
        slots = [SlotViews(job.layout, blocks["ring"], slot) for slot in range(blocks["ring"].nbytes // job.layout.nbytes)]
        if any(isinstance(order, DRAWN) for stream in job.streams for order in stream.lanes):
            draw_kernels()  # They are compiled on first use: that must not look like a step that stalls.
        fetcher = BatchFetcher(job, index=index, progress=progress, slots=slots, arena=blocks.get("arena"), tables=blocks.get("tables"))
    except StreamloadError as error:
        channel.sendall(pack_text(Kind.BROKEN, {"error": to_plain(error)}))
        return
    except Exception as error:
        channel.sendall(pack_text(Kind.BROKEN, {"error": to_plain(unexpected_error(error))}))
        return
    fault_point("open")
    Worker(channel, fetcher, progress).run()
    fault_point("close")


def _is_closed(channel: socket.socket) -> bool:
    """Whether the other end is closed, whatever it has sent before."""
    ends = select.poll()
    ends.register(channel, 0)  # That an end is closed is told unasked.
    return bool(ends.poll(0))


def _job(block: SharedBlock) -> Job:
    """The job, rebuilt here. Raises WorkerStartError where this process lacks something that it refers to."""
    try:
        return read_job(block)
    except Exception as error:
        raise WorkerStartError(
            f"a worker cannot rebuild what it was sent: {type(error).__name__}: {shortened(str(error))}.",
            hint="Workers import modules as this program does: what they need must be importable, not made while the program runs.",
            traceback=shortened(traceback.format_exc()),
        ) from error


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
            _die_with_parent()
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


def _die_with_parent() -> None:
    """Ask the kernel to kill this worker when the launcher dies (the launcher has one thread, so the request is safe)."""
    if sys.platform == "linux":
        import ctypes

        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent or parent == 1:
            os._exit(0)


def _leave(*_: object) -> None:
    """Told to end before there is anybody to serve: kernels that are compiled for this run alone lie in a temporary folder."""
    raise SystemExit(0)


def main(control_fd: int, parent: int, stderr_fd: int) -> None:
    """Be the launcher: import what workers need, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    control = socket.socket(fileno=control_fd)
    fault_point("import")
    compile_kernels()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(stderr_fd, 2)
    os.close(stderr_fd)
    gc.freeze()  # What the imports made stays; a worker that looked through it for garbage would copy every page of it.
    ForkServer(control, parent).run()

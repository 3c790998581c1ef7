"""What runs in a worker: its loop, from the messages of the loader to filled slots and decoded blocks."""

from __future__ import annotations

import faulthandler
import select
import signal
import socket
import time
import traceback
from typing import Any

from streamload.errors import StreamloadError, WorkerStartError, shortened, to_plain
from streamload.fetch.draft import FilledStep, Overflow
from streamload.fetch.fetcher import BatchFetcher, unexpected_error
from streamload.fetch.job import Job, read_job
from streamload.fetch.probe import probe
from streamload.fetch.tasks import FINISHED_FRAME, Filled, Frames, Kind, Overflowed, StepTask, pack_flawed, pack_overflown, pack_text
from streamload.kernels import draw_kernels
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotViews
from streamload.order import DRAWN
from streamload.processes.fault_points import arm, fault_point
from streamload.schema import dtype_text
from streamload.workers.step_queue import StepTaker

PATIENCE_S = 0.0003
"""How long a worker sleeps when it waits for another's blocks: much shorter than a block takes to decode."""
KEPT_WAITING_NS = {"copied": 600_000, "read": 150_000, "transformed": 0}
"""By the pace of steps, for how many nanoseconds the loader may be left asleep after the step that it sleeps for is filled: whoever
is woken takes a core from a worker, and none should wait for a step that takes as long as a disk or a transform does."""
RECORD_NS = 500_000
"""How old the counters of progress may be while there is work."""
DEAF_NS = 500_000
"""How long a worker with enough to do goes without looking at its socket."""
SLOW_NS = 2_000_000
"""From when on a step is so slow that it pays to look whether others wait for blocks of this worker's."""


class Worker:
    """The loop of one worker: whatever can be done next, until the socket ends."""

    def __init__(self, channel: socket.socket, steps: StepTaker, fetcher: BatchFetcher, progress: WorkerProgress) -> None:
        self._channel = channel
        self._queue = steps
        self._fetcher = fetcher
        self._progress = progress
        self._frames = Frames()
        self._step: StepTask | None = None
        """The step that was taken from the queue last, and is not begun."""
        self._is_ahead = False
        """Whether a step was in the queue at the last look, whose blocks were not ready."""
        self._unannounced = -1
        """The last step that was filled, if the loader was not woken then; else -1."""
        self._ended = False
        self._done = 0
        self._blocks = 0
        self._busy_ns = 0
        self._idle_ns = 0
        self._send_ns = 0
        self._heard_ns = 0
        self._recorded_ns = 0
        self._kept_waiting_ns = KEPT_WAITING_NS[fetcher.pace]
        self._step_ns = 0
        """What the last step took; 0 before there was one."""
        self._block_ns = 0
        """What a block took that was decoded last."""

    def run(self) -> None:
        """Work until the loader closes its end."""
        began = time.perf_counter_ns()
        while not self._ended:
            busy = self._work()
            now = time.perf_counter_ns()
            self._busy_ns += now - began
            began = now
            if not busy or now - self._recorded_ns > RECORD_NS:
                self._recorded_ns = now
                counters = self._fetcher.counters()
                self._progress.record(
                    self._fetcher.index, (*counters, self._done, self._blocks, self._busy_ns, self._idle_ns, self._send_ns)
                )
            if not busy:
                self._wait()
                began = self._heard_ns = time.perf_counter_ns()
                self._idle_ns += began - now
            elif now - self._heard_ns > DEAF_NS:
                self._listen()
                self._heard_ns = now

    def _work(self) -> bool:
        """Do one thing: a step whose blocks are ready, else a block or a few. False if there is nothing to do."""
        windows, step = self._fetcher.windows, self._step
        if not windows.parts:
            step = step or self._queue.take()
        else:
            step = self._take_ready() if step is None else self._held()
        if step is not None:
            self._step = None
            self._do(step)
            self._done += 1
            return True
        self._wake_if_awaited()  # A block takes longer than anyone should wait.
        try:
            began = time.perf_counter_ns()
            if decoded := windows.decode_next():
                self._block_ns = (time.perf_counter_ns() - began) // decoded
                self._blocks += decoded
                return True
        except StreamloadError as error:
            self._fail_waiting(error)
            return True
        except Exception as error:
            self._fail_waiting(unexpected_error(error))
            return True
        return False

    def _take_ready(self) -> StepTask | None:
        """The next step if its blocks are ready. Until they are it stays in the queue, for whoever has time for it first: the loader
        waits for that very step, and this worker may be in the middle of other blocks when the last of these is decoded.

        Windows are decoded in the order of steps: what lies behind a step that is not ready is not ready either.
        """
        seen = self._queue.look()
        self._is_ahead = seen is not None
        if seen is None:
            return None
        self._listen()  # Its windows were sent before it was.
        if not self._may_do(seen):
            return None
        step = self._queue.take()
        if step is None or step.number == seen.number:
            return step
        self._step = step  # Another worker has taken the one that was seen.
        self._listen()
        return self._held()

    def _held(self) -> StepTask | None:
        """The step that was taken and is not begun, if its blocks are ready."""
        return self._step if self._step is not None and self._may_do(self._step) else None

    def _may_do(self, step: StepTask) -> bool:
        """Whether a step of windows is to be filled now: its blocks are ready, and nobody waits for others of this worker's."""
        return self._fetcher.windows.ready(step) and not self._is_awaited(step)

    def _is_awaited(self, task: StepTask) -> bool:
        """Whether others that do the steps after this one would wait for blocks of this worker's for longer than these take."""
        if self._step_ns < SLOW_NS:
            return False
        left = self._fetcher.windows.left_of_share(task.pieces, steps=self._fetcher.job.workers)
        return 0 < left * self._block_ns < self._step_ns

    def _do(self, task: StepTask) -> None:
        began = time.perf_counter_ns()
        try:
            if task.advice:
                self._fetcher.advise(task.advice)
            filled = self._fetcher.fill(task)
        except StreamloadError as error:
            self._send(pack_text(Kind.FAILED, {"number": task.number, "slot": task.slot, "error": to_plain(error)}))
            return
        self._step_ns = time.perf_counter_ns() - began
        if filled.overflow is not None:
            self._hand_over(task, filled, filled.overflow)
        elif not filled.whole:
            self._send(pack_flawed(Filled(task.number, task.slot, filled.count, filled.bad, filled.valid)))
        else:
            self._announce(task.number)
        fault_point("after_publish")

    def _announce(self, number: int) -> None:
        """Wake the loader if enough is filled of what it sleeps for, or if another step like this one would keep it waiting too long."""
        self._unannounced = number
        progress = self._progress
        progress.fence()
        wanted = progress.wanted()
        if wanted is not None and number >= wanted[0] and (number >= wanted[1] or self._step_ns > self._kept_waiting_ns):
            self._wake()

    def _wake_if_awaited(self) -> None:
        """Wake the loader if a step is filled that it sleeps for."""
        if self._unannounced >= 0 and (wanted := self._progress.wanted()) is not None and self._unannounced >= wanted[0]:
            self._wake()

    def _wake(self) -> None:
        began = time.perf_counter_ns()
        self._unannounced = -1
        self._send(FINISHED_FRAME)
        self._send_ns += time.perf_counter_ns() - began

    def _hand_over(self, task: StepTask, filled: FilledStep, overflow: Overflow) -> None:
        """Send a batch that did not fit its slot: the descriptor of its memory goes along with the frame that speaks of it."""
        block, capacities = overflow
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
        try:
            self._channel.sendall(frame)
        except OSError:
            self._ended = True

    def _wait(self) -> None:
        """Sleep until there is something to do: for a moment only where a step waits for blocks that others decode."""
        fault_point("idle")
        if self._step is None and not self._is_ahead:
            self._step = self._queue.take_soon()
            if self._step is not None:
                return
            self._queue.wait()
        else:
            select.select([self._channel], [], [], PATIENCE_S)
        self._listen()

    def _listen(self) -> None:
        """Take in what has arrived on the worker's own socket."""
        try:
            received = self._channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = b""
        if not received:
            self._ended = True
            return
        for kind, content in self._frames.feed(received):
            if kind is Kind.WINDOW:
                self._fetcher.windows.open(content)
                continue
            self._step = None
            if kind is Kind.FORGET:
                self._fetcher.windows.forget()
                self._fetcher.forget_tables()
            self._send(pack_text(Kind.FORGOTTEN, content))


def work(request: dict[str, Any], descriptors: dict[str, int]) -> None:
    """The life of a worker: take what the request names, then run until the socket ends."""
    index = int(request["worker"])
    arm(index)
    fault_point("start")
    channel, steps = (socket.socket(fileno=descriptors[name]) for name in ("channel", "steps"))
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
    Worker(channel, StepTaker(steps, channel), fetcher, progress).run()
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

"""The queue of steps that all workers of a loader take from: each message is one step, and goes to one worker.

The kernel hands out a message whole, to whoever asks first, so that a worker that has nothing to do takes what comes next, whatever
the others are at. It is a queue without a lock: a worker that is killed takes the one message along that it had taken, and no more.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from functools import partial

from streamload.errors import ConfigError, ResourceError, WorkerError
from streamload.fetch.tasks import StepTask, pack_step, step_of

MESSAGE_NBYTES, MOST_PIECES = 1 << 17, 5_000
"""The most bytes of a step, and how many pieces it may have, those of its advice included."""
ROOM_NBYTES = 8 * MESSAGE_NBYTES
"""What is asked for as room of the queue. The kernel may give less, and counts some 700 bytes for the smallest message."""
MOST_AWAKE_NS, LEAST_AWAKE_NS = 30_000, 2_000
"""For how long a worker without a step looks for one before it sleeps."""
SHARED_NS = 15_000
"""A worker that lets others run and comes back later than this shares its core with them."""
_let_others_run: Callable[[], None] = getattr(os, "sched_yield", partial(time.sleep, 0))
_FLAGS = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)
_LOOKING = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)


class StepQueue:
    """The loader's end of it."""

    def __init__(self) -> None:
        """Raises ResourceError where there is no descriptor for it."""
        try:
            self._given, self.taken = socket.socketpair(socket.AF_UNIX, getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM))
        except OSError as error:
            raise ResourceError(
                f"no descriptor for the queue of steps: {error.strerror}.", hint="Raise `ulimit -n`.", errno=error.errno
            ) from error
        self._given.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_NBYTES)

    def put(self, task: StepTask) -> bool:
        """Add a step; False if there is no room for it before workers have taken others.

        Advice is left out where the step would be too long with it. Raises ConfigError for a step of too many pieces.
        """
        if len(task[4]) + len(task[5]) > MOST_PIECES:
            if len(task.pieces) > MOST_PIECES:
                raise _too_many_pieces(task)
            task = task._replace(advice=())
        try:
            self._given.send(pack_step(task), _FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            raise WorkerError(f"the queue of steps takes none ({error.strerror}): a fault in streamload.") from error
        return True

    def clear(self) -> None:
        """Take out every step that no worker has taken."""
        while True:
            try:
                self.taken.recv(1, socket.MSG_DONTWAIT)
            except InterruptedError:
                continue
            except OSError:
                return

    def close(self) -> None:
        """Let go of both ends."""
        self._given.close()
        self.taken.close()


def _too_many_pieces(task: StepTask) -> ConfigError:
    pieces = len(task.pieces)
    return ConfigError(
        f"a batch is put together from {pieces:,} stretches of records, and workers can be asked for {MOST_PIECES:,}.",
        hint="There is one for each lane, and for each epoch that a small part of a mixture goes through in a batch: use fewer lanes, take "
        "fewer records of small parts, or use num_workers=0.",
        pieces=pieces,
    )


class StepTaker:
    """A worker's end of it, beside the socket that is its own."""

    def __init__(self, steps: socket.socket, channel: socket.socket) -> None:
        self._steps = steps
        self._buffer = bytearray(MESSAGE_NBYTES)
        self._view = memoryview(self._buffer)
        self._awake_ns = MOST_AWAKE_NS
        if hasattr(select, "epoll") and hasattr(select, "EPOLLEXCLUSIVE"):
            self._ready = select.epoll()
            self._ready.register(channel.fileno(), select.EPOLLIN)
            self._ready.register(steps.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)  # One step wakes one worker.
        else:
            self._ready = select.poll()
            self._ready.register(channel.fileno(), select.POLLIN)
            self._ready.register(steps.fileno(), select.POLLIN)

    def look(self) -> StepTask | None:
        """The step that comes next, which stays in the queue for whoever takes it first; None where there is none now."""
        return self._received(_LOOKING)

    def take(self) -> StepTask | None:
        """The next step, or None where there is none now."""
        return self._received(socket.MSG_DONTWAIT)

    def _received(self, flags: int) -> StepTask | None:
        try:
            length = self._steps.recv_into(self._buffer, 0, flags)
        except (BlockingIOError, InterruptedError):
            return None
        return step_of(self._view[:length]) if length else None

    def take_soon(self) -> StepTask | None:
        """The next step if it comes within a moment, for which this process stays awake: putting it to sleep and waking it takes longer.

        The moment is doubled whenever a step has come, and halved whenever none has: who waits for long soon sleeps at once. So does
        who shares its core: where others ran meanwhile, they had work to do, and being awake kept them from it.
        """
        now = time.perf_counter_ns()
        until = now + self._awake_ns
        while now < until:
            _let_others_run()
            began, now = now, time.perf_counter_ns()
            if now - began > SHARED_NS:
                break
            if (task := self.take()) is not None:
                self._awake_ns = min(2 * self._awake_ns, MOST_AWAKE_NS)
                return task
        self._awake_ns = max(self._awake_ns // 2, LEAST_AWAKE_NS)
        return self.take()

    def wait(self) -> None:
        """Sleep until there is a step, or a message on the worker's own socket."""
        self._ready.poll()

"""One worker as the loader's process sees it: its socket, its process, its last words, and what it has been asked for."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from streamload.errors import ResourceError
from streamload.fetch.tasks import Frames, Kind, Overflowed
from streamload.memory.shared_memory import AnonymousFile, SharedBlock
from streamload.workers.launcher import Launcher
from streamload.workers.step_queue import StepQueue

MOST_DESCRIPTORS = 8
"""That are taken with one look at a socket; a worker sends one at a time."""
STACK_S = 0.3
"""How long a worker is given to say where it is."""


class WorkerHandle:
    """A worker."""

    def __init__(
        self, launcher: Launcher, number: int, blocks: Mapping[str, SharedBlock], *, steps: StepQueue, probe: bool, overflows: bool
    ) -> None:
        """Ask the launcher for worker `number`, which is handed the blocks, and the queue that it takes steps from."""
        self.number = number
        self.overflows = overflows
        """Whether its batches may come in memory of their own, whose descriptors come along with its replies."""
        self._descriptors: deque[int] = deque()
        self.unsent = b""
        """Frames for which there was no room in its socket."""
        self.forgotten = -1
        """The last token whose calling-off, or recall, it has confirmed."""
        self.deaths = 0
        """Workers of this number that died in a row without having done anything."""
        self._launcher = launcher
        self._frames = Frames()
        self._pid: int | None = None
        self._texts = {name: AnonymousFile() for name in ("trace", "stack")}
        try:
            self.channel, theirs = socket.socketpair()
        except OSError as error:
            raise ResourceError(
                f"no descriptor for worker {number}: {error.strerror}.", hint="Raise `ulimit -n`, or lower num_workers.", errno=error.errno
            ) from error
        descriptors = {"channel": theirs.fileno(), "steps": steps.taken.fileno(), **{name: text.fd for name, text in self._texts.items()}}
        descriptors.update({name: block.fd for name, block in blocks.items()})
        sizes = {name: block.nbytes for name, block in blocks.items()}
        try:
            self.key = launcher.fork({"worker": number, "blocks": sizes, "probe": probe}, descriptors)
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()

    def send(self, frame: bytes) -> None:
        """Hand over a frame, or keep what there is no room for. Does nothing if the worker is dead: `receive` will find that out."""
        frames = self.unsent + frame if self.unsent else frame
        try:
            sent = self.channel.send(frames, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))
        except (BrokenPipeError, ConnectionResetError):
            sent = len(frames)
        except BlockingIOError:
            sent = 0
        self.unsent = frames[sent:]

    def send_more(self) -> bool:
        """Hand over what was kept. Returns whether something still is."""
        self.send(b"")
        return bool(self.unsent)

    def receive(self) -> list[tuple[Kind, Any]] | None:
        """What has arrived from it, or None at the end of its socket, which is its death."""
        try:
            received = self._received() if self.overflows else self.channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            received = b""
        if not received:
            return None
        frames = self._frames.feed(received)
        if self.overflows:
            return [(kind, self._found(content) if kind is Kind.OVERFLOWN else content) for kind, content in frames]
        return frames

    def _received(self) -> bytes:
        """Bytes that have arrived; descriptors that came along are kept until the frames that speak of them are whole."""
        received, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, MOST_DESCRIPTORS, socket.MSG_DONTWAIT)
        self._descriptors.extend(descriptors)
        return received

    def _found(self, reply: Overflowed) -> Overflowed:
        """The reply with the memory that its batch lies in."""
        if not self._descriptors:
            raise ResourceError(
                f"no descriptor for the memory of a batch that worker {self.number} filled.",
                hint="Close other files or loaders, or raise `ulimit -n`.",
                errno=errno.EMFILE,
            )
        fd = self._descriptors.popleft()
        try:
            block = SharedBlock(fd, reply.nbytes)
        except OSError as error:
            os.close(fd)
            raise ResourceError(
                f"no room to map the {reply.nbytes:,} bytes of a batch that worker {self.number} filled: {error.strerror}.",
                hint="Free memory on this machine, or lower batch_size.",
                errno=error.errno,
            ) from error
        block.keep_for_forks()
        memory = block.bytes
        block.close()
        return reply._replace(memory=memory)

    @property
    def pid(self) -> int | None:
        """Its process id, once that is known; also after its end."""
        self._pid = self._launcher.report(self.key).pid or self._pid
        return self._pid

    def said(self, name: str) -> str:
        """What it wrote under "trace" (dying) or "stack" (asked where it is)."""
        return self._texts[name].text()

    def signal(self, number: int) -> None:
        """Send it a signal, if it is known to have started and not known to have ended."""
        report = self._launcher.report(self.key)
        if report.pid is not None and report.status is None:
            try:
                os.kill(report.pid, number)
            except OSError:
                pass

    def kill(self) -> None:
        """Kill it, whatever it does."""
        self.signal(signal.SIGKILL)

    def forget(self) -> None:
        """Let go of everything; its process must have ended, or be about to."""
        self._pid = self.pid
        self.channel.close()
        self._launcher.forget(self.key)
        while self._descriptors:
            os.close(self._descriptors.popleft())
        for text in self._texts.values():
            text.close()


def stacks_of(handles: Sequence[WorkerHandle]) -> dict[int, str]:
    """Where each worker is, by its number: the stacks of its threads, as far as it says within a moment."""
    for handle in handles:
        handle.signal(signal.SIGUSR1)
    deadline = time.monotonic() + STACK_S
    while time.monotonic() < deadline and not all(handle.said("stack") for handle in handles):
        time.sleep(0.02)
    time.sleep(0.02)  # What has begun to be written is written.
    return {handle.number: handle.said("stack") for handle in handles}

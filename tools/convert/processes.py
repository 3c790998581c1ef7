"""Tasks of a conversion, each in a process of its own, several at a time; the first that fails ends them all."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import IO, Any

from streamload.errors import ConversionError, from_plain
from streamload.storage.owned_files import anonymous_file

MODULE = "streamload.tools.convert.tasks"
ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
KEEPING = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""Settings of the C library with which memory of records serves the next ones: fresh pages cost a fifth of decoding an image."""


class Children:
    """The processes that are at work."""

    def __init__(self, saw: Callable[[int], None]) -> None:
        self._saw = saw
        self._alive: list[subprocess.Popen[str]] = []
        self._ending = False
        self._lock = threading.Lock()

    def run(self, tasks: Sequence[dict[str, Any]], workers: int, done: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        """Do all tasks, so many at a time; `done` hears of each as it is finished. Raises what the first failing one raised."""
        waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        with ThreadPoolExecutor(max(1, min(workers, len(tasks)))) as pool:
            futures: list[Future[None]] = [pool.submit(self._child, waiting, done) for _ in range(min(workers, len(tasks)))]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # Also when this thread is interrupted: nobody is left to write where nobody looks.
                if any(not future.done() or future.exception() for future in futures):
                    self._end()
        failed = [error for error in (future.exception() for future in futures) if error is not None]
        first = next((error for error in failed if not isinstance(error, _EndedError)), None) or next(iter(failed), None)
        if first is not None:
            raise first

    def _end(self) -> None:
        with self._lock:
            self._ending = True
            for child in self._alive:
                child.kill()

    def _child(self, waiting: queue.SimpleQueue[dict[str, Any]], done: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        """Start a process, and give it tasks until there are none."""
        with anonymous_file() as complaints, self._started(complaints) as child:
            while True:
                try:
                    task = waiting.get_nowait()
                except queue.Empty:
                    return
                message = self._talk(child, task)
                if "answer" in message:
                    done(task, message["answer"])
                    continue
                if self._ending:
                    raise _EndedError
                if "error" in message:
                    raise from_plain(message["error"])
                complaints.seek(0)
                raise _crashed(task, child.wait(), complaints.read()[-2000:].decode(errors="replace"))

    @contextmanager
    def _started(self, complaints: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
        """A process that does tasks; it is ended on the way out, whatever it is doing."""
        with self._lock:
            if self._ending:
                raise _EndedError
            child = start(complaints)
            self._alive.append(child)
        try:
            yield child
        finally:
            end(child)
            with self._lock:
                self._alive.remove(child)

    def _talk(self, child: subprocess.Popen[str], task: dict[str, Any]) -> dict[str, Any]:
        """Give a task, listen until the child answers or ends; its answer, or nothing."""
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(task) + "\n")
            child.stdin.flush()
        except BrokenPipeError:
            return {}
        for line in child.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "done" not in message:
                return dict(message)
            self._saw(int(message["done"]))
        return {}


def start(complaints: IO[bytes]) -> subprocess.Popen[str]:
    """A process that does tasks, one after the other, until its standard input ends."""
    environment = KEEPING | os.environ | ALONE
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        text=True,
        env=environment,
    )


def end(child: subprocess.Popen[str]) -> None:
    """End a process, whatever it is doing, and wait for it."""
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            _close(stream)


def _close(stream: IO[str]) -> None:
    """Close a pipe; what could not be sent to a dead child is of no use any more."""
    try:
        stream.close()
    except BrokenPipeError:
        pass


class _EndedError(Exception):
    """A task that was ended because another failed."""


def _crashed(task: dict[str, Any], code: int, complaints: str) -> ConversionError:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    last = complaints.strip().splitlines()
    return ConversionError(
        f"The process that reads {task['request']['path']} for {os.path.basename(task['path'])} {how}"
        + (f": {last[-1]}." if last else "."),
        hint="Too little memory, or a file that crashes a codec? The same command does what is missing.",
        exitcode=code,
    )

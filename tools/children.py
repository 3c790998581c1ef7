"""Tasks of a conversion, each in a process of its own, several at a time; the first that fails ends them all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

from streamload.errors import ConversionError, from_plain

MODULE = "streamload.tools.convert_work"


class Children:
    """The processes that are at work."""

    def __init__(self, saw: Callable[[int], None]) -> None:
        self._saw = saw
        self._alive: dict[int, subprocess.Popen[str]] = {}
        self._ending = False
        self._lock = threading.Lock()

    def run(self, tasks: Sequence[dict[str, Any]], workers: int, done: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        """Do all tasks, so many at a time; `done` hears of each as it is finished. Raises what the first failing one raised."""
        if not tasks:
            return
        with ThreadPoolExecutor(min(workers, len(tasks))) as pool:
            futures: list[Future[None]] = [pool.submit(self._one, task, done) for task in tasks]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # Also when this thread is interrupted: nobody is left to write where nobody looks.
                unfinished = any(not future.done() or future.exception() for future in futures)
                if unfinished:
                    self._end()
                    for future in futures:
                        future.cancel()
        failed = [future.exception() for future in futures if not future.cancelled() and future.exception() is not None]
        first = next((error for error in failed if not isinstance(error, _EndedError)), None) or next(iter(failed), None)
        if first is not None:
            raise first

    def _end(self) -> None:
        with self._lock:
            self._ending = True
            for child in self._alive.values():
                child.kill()

    def _one(self, task: dict[str, Any], done: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with tempfile.TemporaryFile() as complaints:
            with self._lock:
                if self._ending:
                    raise _EndedError
                child = subprocess.Popen(
                    [sys.executable, "-P", "-m", MODULE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    text=True,
                    env=environment,
                )
                self._alive[child.pid] = child
            try:
                message = self._talk(child, task)
            finally:
                child.kill()
                code = child.wait()
                with self._lock:
                    del self._alive[child.pid]
                for stream in (child.stdin, child.stdout):
                    if stream is not None:
                        stream.close()
            if "answer" in message:
                done(task, message["answer"])
                return
            if self._ending:
                raise _EndedError
            if "error" in message:
                raise from_plain(message["error"])
            complaints.seek(0)
            raise _crashed(task, code, complaints.read()[-2000:].decode(errors="replace"))

    def _talk(self, child: subprocess.Popen[str], task: dict[str, Any]) -> dict[str, Any]:
        """Give the task, listen until the child answers or ends; its answer, or nothing."""
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
            if "done" in message:
                self._saw(int(message["done"]))
            else:
                child.wait()
                return dict(message)
        child.wait()
        return {}


class _EndedError(Exception):
    """A task that was ended because another failed."""


def _crashed(task: dict[str, Any], code: int, complaints: str) -> ConversionError:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    last = complaints.strip().splitlines()
    return ConversionError(
        f"The process that reads {task['request']['path']} for {os.path.basename(task['path'])} {how}"
        + (f": {last[-1]}." if last else "."),
        hint="Too little memory, or a file that crashes a codec? The same command goes on where it was.",
        exitcode=code,
    )

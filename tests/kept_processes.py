"""Conversions of one test run share a process: each would take 0.3 s of processor time to start one of its own.

Only those that are begun in the test's own process, and that would give theirs the same environment, folder and limits. One that
had to be killed, or that failed, is not used again. What a process is like that nobody has used is tested by commands in processes
of their own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

LIMITS = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)


class Kept:
    """The process that waits for the next conversion."""

    child: subprocess.Popen[str] | None = None
    complaints: IO[bytes] | None = None
    settings: Any = None
    """What it was started with."""

    @classmethod
    def taken(cls) -> tuple[subprocess.Popen[str], IO[bytes], Any]:
        """A process that does tasks, what it says on standard error, and what it was started with: the one that waits, or another."""
        from streamload.storage.owned_files import anonymous_file
        from streamload.tools.convert import processes

        wanted = settings()
        if cls.child is not None and (cls.settings != wanted or cls.child.poll() is not None):
            cls.end()
        child, complaints = cls.child, cls.complaints
        cls.child = cls.complaints = None
        if child is None or complaints is None:
            complaints = anonymous_file()
            child = processes.start(complaints)
        return child, complaints, wanted

    @classmethod
    def end(cls) -> None:
        """End it, if there is one."""
        if cls.child is not None and cls.complaints is not None:
            sys.modules["streamload.tools.convert.processes"].end(cls.child)
            cls.complaints.close()
        cls.child = cls.complaints = None

    @classmethod
    def descriptors(cls) -> list[int]:
        """What this process holds of it."""
        held = (cls.child.stdin, cls.child.stdout, cls.complaints) if cls.child is not None else ()
        return [stream.fileno() for stream in held if stream is not None]


def settings() -> Any:
    """What a process takes over from the one that starts it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return os.getpid(), os.getcwd(), os.geteuid(), list(sys.path), environment, [resource.getrlimit(limit) for limit in LIMITS]


@contextmanager
def started(children: Any, complaints: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """In place of `Children._started`: a process that waits is taken, and waits again where all went well."""
    from streamload.tools.convert import processes

    with children._lock:
        if children._ending:
            raise processes._EndedError
        child, said, began_with = Kept.taken()
        children._alive.append(child)
    os.dup2(said.fileno(), complaints.fileno(), inheritable=False)
    well = False
    try:
        yield child
        well = not children._ending and child.poll() is None
    finally:
        with children._lock:
            children._alive.remove(child)
            if well and Kept.child is None:
                Kept.child, Kept.complaints, Kept.settings = child, said, began_with
            else:
                processes.end(child)
                said.close()


def share_processes() -> None:
    """Have conversions of this process share one from here on."""
    from streamload.tools.convert.processes import Children

    Children._started = started

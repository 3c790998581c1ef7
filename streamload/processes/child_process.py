"""An interpreter that this process starts, talks to over a socket, and ends.

The launcher of workers and the inspector of HDF5 files are such. They stay two processes. The inspector loads the HDF5
library, which a damaged file can crash or hang, is ended when it gets nowhere, and is replaced when the environment changes:
workers may share none of that. And opening a file should not wait for the launcher, which loads all that workers need.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from streamload.errors import ResourceError
from streamload.memory.shared_memory import AnonymousFile

_CLEARED = ("PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONPROFILEIMPORTTIME", "PYTHONBREAKPOINT")
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


class ChildProcess:
    """A child in a process group of its own. Both ends see it when the other closes the socket or dies."""

    control: socket.socket
    """This process's end: whole messages, with descriptors."""

    def __init__(
        self,
        name: str,
        boot: str,
        said: Mapping[str, Any],
        *,
        flags: Sequence[str] = (),
        cleared: Sequence[str] = (),
        heard: bool = False,
        instead: str = "",
    ) -> None:
        """Start it: `boot` is the Python that it runs, which finds `said` and its end's descriptor, "control", as JSON in sys.argv[1].

        `flags` are the interpreter's, `cleared` names more variables that it does not inherit. It writes to no stream of this process's
        unless it is to be `heard`: then its standard output is the same, and "stderr" a descriptor of this process's standard error.
        Raises ResourceError where there is no descriptor for `name` (`instead` ends the hint), OSError and SubprocessError where the
        interpreter cannot be run.
        """
        self._owner = os.getpid()
        environment = {name: value for name, value in os.environ.items() if name not in (*_CLEARED, *cleared)}
        with ExitStack() as undone, ExitStack() as passed:
            try:
                self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                undone.callback(self.control.close)
                passed.callback(theirs.close)
                self._stderr = AnonymousFile()
                undone.callback(self._stderr.close)
                descriptors = {"control": theirs.fileno()}
                if heard:
                    descriptors["stderr"] = _own_stderr()
                    passed.callback(os.close, descriptors["stderr"])
            except ResourceError:
                raise
            except OSError as error:
                what = f"no descriptor for {name}: {error.strerror}."
                raise ResourceError(what, hint=f"Raise `ulimit -n`{instead}.", errno=error.errno) from error
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-P", "-c", boot, json.dumps({**said, **descriptors})],
                stdin=subprocess.DEVNULL,
                stdout=None if heard else subprocess.DEVNULL,
                stderr=self._stderr.fd,
                pass_fds=tuple(descriptors.values()),
                env=environment | dict.fromkeys(_ONE_THREAD, "1"),
                process_group=0,
            )
            undone.pop_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ours(self) -> bool:
        """Whether this process started it; a forked child of the user's has only inherited it."""
        return self._owner == os.getpid()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ended(self, *, seconds: float) -> int | None:
        """How it ended, an exit status or minus a signal's number, after so many seconds at most; None while it runs."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def complaints(self) -> str:
        """What it has written to its standard error."""
        return self._stderr.text().strip()

    def terminate(self) -> None:
        """Ask it to end, by a signal."""
        self._process.terminate()

    def close(self, *, seconds: float = 0.0) -> None:
        """End it and wait: it sees the end of the socket, and is killed after so many seconds. In a forked child, only let go of it."""
        self.control.close()
        self._stderr.close()
        if not self.ours:
            self._process.returncode = 0  # Not ours to wait for.
        elif not seconds or self.ended(seconds=seconds) is None:
            self._process.kill()
            self._process.wait()


def _own_stderr() -> int:
    """A descriptor of this process's standard error; of nothing, where that is closed."""
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def signal_name(status: int) -> str | None:
    """The signal that ended a process, by its name; None where it ended by itself."""
    return signal.Signals(-status).name if -status in set(signal.Signals) else None

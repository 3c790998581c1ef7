"""Surveys made where a crash of the HDF5 library hurts nobody: in a child of a small process that does nothing else.

Rules:

1. The user's process is never forked, and does not load the HDF5 library to plan: a fresh interpreter does (the inspector).
2. The inspector loads the library once, and forks a child for each survey, which has limits of memory and of time and
   dies with it. What a damaged file does to a child is gone with the child.
3. A request and its result stand in a nameless file that this process made; only a status comes over the socket.
4. Results are plain numbers and text, checked as they are read; files are fingerprinted here, not believed.
5. The inspector runs the very package that this process runs, from wherever it was imported: installed, editable or on the path.
6. Where processes cannot be started, the survey is made in this one, and a warning says so.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, ResourceError, StreamloadError, damaged, from_plain
from streamload.formats.hdf5 import metadata_cache
from streamload.formats.hdf5.inspector_messages import ANSWER, CANNOT_FORK, PROGRESS, InspectionProgress
from streamload.formats.hdf5.metadata import FilesInfo, no_progress
from streamload.formats.hdf5.metadata_json import metadata_from_json
from streamload.formats.hdf5.request import Request
from streamload.formats.hdf5.stillness import Stillness
from streamload.memory.shared_memory import AnonymousFile
from streamload.processes.child_process import ChildProcess, signal_name
from streamload.storage.files import changed, fingerprint

STILL_SECONDS = 10.0
"""A survey that gets nowhere in so much processor time of its own is ended ..."""
ASLEEP_SECONDS = 30.0
"""... and so is one that waits so long for its disk, or for ever. On a busy machine it may take any time."""
START_SECONDS = 60.0
"""An inspector that is not up by then never will be; loading a library from a cold network disk has taken many seconds."""
QUIET_SECONDS = 1.0
"""A survey that takes longer says how far it is, on a terminal."""
_BOOT = """
import importlib.util, json, sys
said = json.loads(sys.argv[1])
sys.path[:] = said["path"]
if any(importlib.util.find_spec(name) is None for name in ("numpy", "h5py", "imagecodecs")):
    import site
    site.main()
spec = importlib.util.spec_from_file_location(said["name"], said["package"] + "/__init__.py", submodule_search_locations=[said["package"]])
package = sys.modules[said["name"]] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from streamload.formats.hdf5.inspector_process import main
main(said["control"])
"""
"""What the inspector runs first. It starts without `site`, which can cost more than the rest; what only import hooks of `site` can find
(editable installs) is asked for by place, or `site` is run after all."""
_PACKAGE = __name__.partition(".")[0]
MOST_LETTERS = 300
"""Of what a dying process wrote, how much is told."""


class InspectorUnavailableError(Exception):
    """No process can be had for a survey, for the reason given; internal to planning."""


def inspected(request: Request) -> FilesInfo:
    """What is stored in the files: known from an earlier run, or found by another process where that is possible."""
    paths, known = request.paths, metadata_cache.load_metadata(request)
    if known is not None:
        return known
    began = time.monotonic()
    try:
        data = Inspector.ask(request)
    except InspectorUnavailableError as error:
        from streamload.formats.hdf5.examination import examined  # It loads the HDF5 library.

        _say_unprotected(str(error))
        return examined(request, no_progress)
    found, _ = metadata_from_json(data)
    if len(found.records) != len(paths):
        raise CorruptDataError(f"{paths[0]}: the survey of {len(paths):,} files tells of {len(found.records):,}.", path=paths[0])
    for path, was in zip([*paths, *(more.path for more in found.files[len(paths) :])], found.files, strict=True):
        now = fingerprint(path)
        if now != was:
            raise changed(was, os.stat(now.path))
    metadata_cache.store_metadata(request, found, time.monotonic() - began)
    return found


class Inspector:
    """This process's inspector: started when it is first needed, and anew after it was ended or the environment changed."""

    _current: ClassVar[Inspector | None] = None
    _asking: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def ask(cls, request: Request) -> NDArray[np.uint8]:
        """What the survey of these files found, as bytes; errors of the survey are raised.

        Raises CorruptDataError where the HDF5 library crashes or gets nowhere, and InspectorUnavailableError where no process can be had.
        """
        with cls._asking:
            for last in (False, True):
                inspector = cls._running()
                shared = AnonymousFile()
                try:
                    return inspector._inspect(shared, request)
                except _GoneError as error:
                    why = inspector.last_words()
                    cls.shutdown()
                    if last and (told := _progress(shared)).beats:
                        # It was up and had begun: whatever ends it, twice, is not to be tried on the user's process.
                        raise _killed(request.paths[min(told.file, len(request.paths) - 1)], why) from error
                    if last:
                        raise InspectorUnavailableError(why) from error
                except InspectorUnavailableError:
                    raise
                except StreamloadError:
                    raise
                except BaseException:
                    # Interrupted half-way: an answer may still come, so nobody listens to this one again.
                    cls.shutdown()
                    raise
                finally:
                    shared.close()
        raise AssertionError("the second try answers or raises")

    @classmethod
    def warm(cls) -> None:
        """Start it now: it is up, then, when a file is surveyed that is not there yet."""
        with cls._asking:
            try:
                cls._running()
            except InspectorUnavailableError:
                return

    @classmethod
    def _running(cls) -> Inspector:
        current, settings = cls._current, _settings()
        if current is not None and (current.settings != settings or not current._child.running):
            cls.shutdown()
            current = None
        if current is None:
            current = cls._current = cls(settings)
        return current

    @classmethod
    def shutdown(cls) -> None:
        """End the inspector of this process, if there is one."""
        inspector, cls._current = cls._current, None
        if inspector is not None:
            inspector.close()

    @classmethod
    def forget(cls) -> None:
        """In a child that the user forked: leave the inspector to the parent, whatever the parent was doing with it."""
        cls._asking = threading.Lock()
        cls.shutdown()

    def __init__(self, settings: tuple[Any, ...]) -> None:
        if not sys.platform.startswith("linux"):
            raise InspectorUnavailableError(f"this is done on Linux alone, not on {sys.platform}")
        if not sys.executable or getattr(sys, "frozen", False):
            raise InspectorUnavailableError(f"no Python interpreter can be started: sys.executable is {sys.executable!r}")
        self.settings = settings
        here = _folder()
        said = {
            "path": [entry or here for entry in sys.path if entry or here],
            "name": _PACKAGE,
            "package": os.path.abspath(sys.modules[_PACKAGE].__path__[0]),
        }
        try:
            self._child = ChildProcess("the process that looks at HDF5 files", _BOOT, said, flags=("-S",))
        except ResourceError as error:
            raise InspectorUnavailableError(os.strerror(error.errno) if error.errno else error.message) from error
        except (OSError, subprocess.SubprocessError) as error:
            raise InspectorUnavailableError(f"{sys.executable} cannot be run: {getattr(error, 'strerror', None) or error}") from error

    @property
    def pid(self) -> int:
        """The inspector's process id."""
        return self._child.pid

    def _inspect(self, shared: AnonymousFile, asked: Request) -> NDArray[np.uint8]:
        paths = asked.paths
        request = memoryview(bytes(PROGRESS.size) + json.dumps({**asked.to_plain(), "folder": _folder()}).encode())
        place = 0
        while place < len(request):
            place += os.pwrite(shared.fd, request[place:], place)
        try:
            socket.send_fds(self._child.control, [b"survey"], [shared.fd])
            status, nbytes = self._answer(shared, paths)
        except OSError as error:
            raise _GoneError from error
        if status == CANNOT_FORK:
            raise InspectorUnavailableError("the system gives no more processes")
        if status:
            raise _ended(status, paths[min(_progress(shared).file, len(paths) - 1)])
        result = _result(shared, nbytes)
        if result[:1].tobytes() == b"+":
            return result[1:]
        raise from_plain(json.loads(result[1:].tobytes()))

    def _answer(self, shared: AnonymousFile, paths: Sequence[str]) -> tuple[int, int]:
        """How the survey ended, and the bytes of its result. Ends it, and the inspector, if it gets nowhere."""
        waiting = select.poll()
        waiting.register(self._child.control, select.POLLIN)
        began, seen, said = time.monotonic(), InspectionProgress(), False
        watch = Stillness(began, busy_seconds=STILL_SECONDS, asleep_seconds=ASLEEP_SECONDS)
        try:
            while not waiting.poll(100):
                now, progress = time.monotonic(), _progress(shared)
                watch.look(now, moved=progress != seen, pid=progress.pid)
                seen = progress
                if not seen.beats and now - began > START_SECONDS:
                    raise _GoneError
                if seen.beats and (still := watch.verdict()):
                    Inspector.shutdown()
                    path = paths[min(seen.file, len(paths) - 1)]
                    raise CorruptDataError(
                        f"{path}: the HDF5 library got nowhere {still} with what describes its data.",
                        hint="The file is damaged, or its disk does not answer: fetch or write it again.",
                        path=path,
                    )
                if now - began > QUIET_SECONDS:
                    said |= _show(paths, seen)
        finally:
            if said:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
        answer = self._child.control.recv(ANSWER.size)
        if len(answer) != ANSWER.size:
            raise _GoneError
        status, nbytes = ANSWER.unpack(answer)
        return status, nbytes

    def last_words(self) -> str:
        """What became of a process that gives no answer, and the last line that it wrote about it."""
        status = self._child.ended(seconds=1)
        if status is None:
            return f"the process does not answer in {START_SECONDS:g} s"
        name, lines = signal_name(status), self._child.complaints().splitlines()
        how = f"was killed ({name})" if name else f"ended with status {status}"
        return f"the process {how}" + (f": {lines[-1][:MOST_LETTERS]}" if lines else "")

    def close(self) -> None:
        """End the process and wait for it; in a forked child, only let go of what was inherited."""
        self._child.close()


def _say_unprotected(why: str) -> None:
    """Warn that files are looked at where they can do harm; like every warning, it is shown once."""
    warnings.warn(
        "HDF5 files are looked at in your own process, where a damaged or hostile one can crash it: "
        f"no separate process could do it ({why}). Open only files that you trust until that is mended.",
        RuntimeWarning,
        stacklevel=2,
    )


class _GoneError(Exception):
    """The inspector itself is gone."""


def _settings() -> tuple[Any, ...]:
    """What an inspector takes over when it starts: if it changes, another one is needed."""
    return os.getpid(), os.geteuid(), tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("HDF5_")))


def _result(shared: AnonymousFile, nbytes: int) -> NDArray[np.uint8]:
    """What the survey wrote. Nobody writes there any more: the child has ended."""
    result = np.empty(nbytes, np.uint8)
    done = 0
    while done < nbytes:
        got = os.preadv(shared.fd, [result[done:].data], PROGRESS.size + done)
        if not got:
            raise _GoneError
        done += got
    return result


def _progress(shared: AnonymousFile) -> InspectionProgress:
    said = os.pread(shared.fd, PROGRESS.size, 0)
    return InspectionProgress(*PROGRESS.unpack(said)) if len(said) == PROGRESS.size else InspectionProgress()


def _show(paths: Sequence[str], progress: InspectionProgress) -> bool:
    """Say how far a survey is, if somebody sits at a terminal."""
    _, file, done, total, _ = progress
    if not sys.stderr or not sys.stderr.isatty():
        return False
    at = f"file {file + 1:,} of {len(paths):,}" if len(paths) > 1 else os.path.basename(paths[0])
    what = f", {done:,} of {total:,} chunks" if total else ""
    sys.stderr.write(f"\r\x1b[KLooking at {at}{what}")
    sys.stderr.flush()
    return True


def _folder() -> str:
    """The folder that relative paths are meant from; "" where it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _killed(path: str, why: str) -> ResourceError:
    return ResourceError(
        f"{path} was not looked at to the end: {why}. This is often the kernel's out-of-memory killer.",
        hint="Free memory on this machine, and open the file again.",
        path=path,
    )


def _ended(status: int, path: str) -> StreamloadError:
    """The error for a survey that ended without a result."""
    if status == -signal.SIGKILL:
        return _killed(path, "the process that looked at it was killed (SIGKILL)")
    if status == -signal.SIGXCPU:
        return damaged(f"{path}: the HDF5 library got nowhere with what describes its data.", path=path)
    name = signal_name(status)
    how = f"crashed ({name})" if name else f"ended with status {status}"
    return damaged(f"{path}: the HDF5 library {how} while reading the header.", path=path)


atexit.register(Inspector.shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Inspector.forget)

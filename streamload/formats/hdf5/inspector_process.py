"""What runs in the other process: it loads the HDF5 library, and forks a child for each survey, whose crash hurts nobody.

`inspector` has the rules. Nothing here is ever imported by the user's process.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from streamload.errors import ResourceError, StreamloadError, damaged, to_plain
from streamload.formats.hdf5.examination import examined
from streamload.formats.hdf5.inspector_messages import ANSWER, CANNOT_FORK, PROGRESS
from streamload.formats.hdf5.metadata_json import metadata_to_json
from streamload.formats.hdf5.request import Request
from streamload.processes.parent_death import die_with_parent
from streamload.sizes import format_nbytes

MEMORY_NBYTES = 4 * 1024**3
"""What a survey may take beyond what the process has; the index of the largest grid takes 3 GB."""
CPU_SECONDS = 15
"""Processor time without progress after which the kernel ends a survey, should nobody else do it."""


def main(control_fd: int) -> None:
    """Serve requests until the other end is closed, by will or by death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    control = socket.socket(fileno=control_fd)
    gc.freeze()  # The HDF5 library is loaded: children have it without loading it.

    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 4)
        if not message:
            os._exit(0)
        status = _served(control, descriptors[0])
        nbytes = os.fstat(descriptors[0]).st_size - PROGRESS.size
        for fd in descriptors:
            os.close(fd)
        try:
            control.send(ANSWER.pack(status, nbytes))
        except OSError:
            os._exit(0)


def _served(control: socket.socket, shared: int) -> int:
    """How a child ended that was given the request; it is killed if nobody waits for it any more."""
    try:
        pid = os.fork()
    except OSError:
        return CANNOT_FORK
    if pid == 0:
        _be_child(control, shared)
    waiting = select.poll()
    waiting.register(control, select.POLLIN | select.POLLHUP)
    try:
        ended = os.pidfd_open(pid)
    except OSError:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    waiting.register(ended, select.POLLIN)
    if not any(fd == ended for fd, _ in waiting.poll()):
        # Nothing is ever said while a survey runs: this is the end of the socket.
        os.kill(pid, signal.SIGKILL)
    os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _be_child(control: socket.socket, shared: int) -> None:
    """Read the request, survey, write the result, and never return."""
    status = 1
    try:
        die_with_parent()
        control.close()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)  # what the library blurts out as it dies is said better by the one who asked
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit_nbytes = _limit(resource.RLIMIT_AS, _address_space_nbytes() + MEMORY_NBYTES)
        request, beat = _request(shared), _beats(shared)
        beat(0, 0, 0)
        _write(shared, _answered(request, beat, limit_nbytes))
        status = 0
    except BaseException:
        pass
    finally:
        os._exit(status)


def _answered(request: dict[str, Any], beat: Callable[[int, int, int], None], limit_nbytes: int | None) -> Sequence[bytes | memoryview]:
    """The survey, or what is wrong, as bytes; `limit_nbytes` is a limit of memory that was there before ours."""
    asked = Request.from_plain(request)
    try:
        if request["folder"]:
            os.chdir(request["folder"])
        return [b"+", *metadata_to_json(examined(asked, beat), {})]
    except Exception as error:
        return [b"-", json.dumps(to_plain(_explained(error, asked.paths[0], limit_nbytes))).encode()]


def _explained(error: Exception, path: str, limit_nbytes: int | None) -> StreamloadError:
    """What is wrong: a file is not damaged where it is the user's own limit that is too low."""
    short = isinstance(error, MemoryError) or re.search(r"memory allocation|alloc\w* fail|(can't|cannot|unable to) alloc", str(error))
    if short and limit_nbytes is not None:
        return ResourceError(
            f"{path} cannot be looked at: the memory that a process may address is limited to {format_nbytes(limit_nbytes)}, "
            "most of which is taken by libraries.",
            hint="Raise the limit (`ulimit -v`), or lift it: the file's size does not matter to it.",
            path=path,
        )
    if isinstance(error, StreamloadError):
        return error
    if isinstance(error, MemoryError):
        text = f"{path} asks for more than {MEMORY_NBYTES >> 30} GB of memory to read what describes its data."
        return damaged(text, path=path)
    text = f"{path}: what describes its data cannot be read ({type(error).__name__}: {error})."
    said = "".join(traceback.format_exception(error))
    return damaged(text, path=path, traceback=said)


def _limit(what: int, most: int) -> int | None:
    """Limit this process to `most` of something; where a lower limit stands already it is kept, and returned."""
    soft, hard = resource.getrlimit(what)
    stands = min((one for one in (soft, hard) if one != resource.RLIM_INFINITY), default=most)
    resource.setrlimit(what, (min(most, stands), min(most, stands)))
    return stands if stands < most else None


def _request(shared: int) -> dict[str, Any]:
    nbytes = os.fstat(shared).st_size - PROGRESS.size
    data = bytearray()
    while len(data) < nbytes:
        data += os.pread(shared, nbytes - len(data), PROGRESS.size + len(data))
    return json.loads(data)


def _write(shared: int, pieces: Sequence[bytes | memoryview]) -> None:
    os.ftruncate(shared, PROGRESS.size)
    place = PROGRESS.size
    for piece in pieces:
        view = memoryview(piece)
        while len(view):
            done = os.pwrite(shared, view, place)
            place, view = place + done, view[done:]


def _beats(shared: int) -> Callable[[int, int, int], None]:
    """A function that says how far the survey is, and gives it more processor time."""
    beats, pid = 0, os.getpid()

    def beat(file: int, done: int, total: int) -> None:
        nonlocal beats
        beats += 1
        os.pwrite(shared, PROGRESS.pack(beats, file, done, total, pid), 0)
        if beats % 64 == 1:
            used = resource.getrusage(resource.RUSAGE_SELF)
            soft, hard = int(used.ru_utime + used.ru_stime) + CPU_SECONDS, resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))

    return beat


def _address_space_nbytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""The device itself: so many bytes written past the page cache, made to last, and read again, or copied from another file."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from streamload.storage.owned_files import scratch_file
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink

PIECE_NBYTES = 8 << 20
DEPTH = 4


def in_pieces(nbytes: int, one: Callable[[int, memoryview], Any]) -> None:
    """Call `one` with the place of every piece and memory for it, DEPTH at once."""
    turn = itertools.count(0, PIECE_NBYTES)
    failed: list[OSError] = []

    def some() -> None:
        memory = memoryview(mmap.mmap(-1, PIECE_NBYTES))
        memory[: 1 << 20] = os.urandom(1 << 20)
        try:
            while (at := next(turn)) < nbytes:
                one(at, memory)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=some) for _ in range(DEPTH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def make(config: Config) -> Any:
    """Passes over new files whose paths begin with `path`, deleted after each: `nbytes` are written, and read again where `again` says so.

    With `source`, a file, its bytes are what is written.
    """
    sink = Sink(1, 1)
    source = os.open(config["source"], os.O_RDONLY | os.O_DIRECT) if config.get("source") else None
    nbytes = -(-(os.fstat(source).st_size if source is not None else config["nbytes"]) // PIECE_NBYTES) * PIECE_NBYTES

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        with ExitStack() as held:
            _, path = held.enter_context(scratch_file(config["path"]))
            fd = os.open(path, os.O_RDWR | os.O_DIRECT)
            held.callback(os.close, fd)
            os.posix_fallocate(fd, 0, nbytes)

            def write(at: int, memory: memoryview) -> None:
                if source is not None:
                    os.preadv(source, [memory], at)
                os.pwrite(fd, memory, at)

            in_pieces(nbytes, write)
            os.fsync(fd)
            if config.get("again"):
                in_pieces(nbytes, lambda at, memory: os.preadv(fd, [memory], at))
            sink.records, sink.nbytes = 1, nbytes
            return clock.stop()

    return one_pass

"""A file copied on its device: read in order and written again, made to last, and nothing else done."""

from __future__ import annotations

import os
from typing import Any

from streamload.tools.peers.serving import Clock, Config, Sink

BLOCK_NBYTES = 8 << 20


def make(config: Config) -> Any:
    """Passes over a file; the copy is `copy`, and deleted after each."""
    sink = Sink(1, 1)
    buffer = memoryview(bytearray(BLOCK_NBYTES))

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        total = 0
        with open(config["path"], "rb", buffering=0) as here, open(config["copy"], "wb", buffering=0) as there:
            while came := here.readinto(buffer):
                there.write(buffer[:came])
                total += came
            os.fsync(there.fileno())
        sink.records, sink.nbytes = 1, total
        told = clock.stop()
        os.unlink(config["copy"])
        return told

    return one_pass

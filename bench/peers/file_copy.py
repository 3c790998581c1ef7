"""A file copied on its device: read in order and written again, made to last, and nothing else done."""

from __future__ import annotations

import os
from typing import Any

from streamload.storage.owned_files import scratch_file
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink

BLOCK_NBYTES = 8 << 20


def make(config: Config) -> Any:
    """Passes over a file; the path of the copy begins with `copy`, and it is deleted after each."""
    sink = Sink(1, 1)
    buffer = memoryview(bytearray(BLOCK_NBYTES))

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        total = 0
        with open(config["path"], "rb", buffering=0) as here, scratch_file(config["copy"]) as (copy, _):
            while came := here.readinto(buffer):
                rest = buffer[:came]
                while rest:
                    rest = rest[os.write(copy, rest) :]
                total += came
            os.fsync(copy)
            sink.records, sink.nbytes = 1, total
            return clock.stop()

    return one_pass

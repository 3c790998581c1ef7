"""Bare threads that open and read every file of a folder, in an order of chance, and do nothing with what is in them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from streamload.tools.benchmark.peers.serving import Clock, Config, Sink


def read_all(paths: list[str]) -> int:
    """How many bytes they hold."""
    nbytes = 0
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            nbytes += len(os.read(fd, os.fstat(fd).st_size))
        finally:
            os.close(fd)
    return nbytes


def make(config: Config) -> Any:
    """Threads that share the files out."""
    paths = [os.path.join(here, name) for here, _, names in os.walk(config["path"]) for name in names]
    order = np.random.default_rng(0).permutation(len(paths))
    shares = [[paths[number] for number in order[which :: config["threads"]]] for which in range(config["threads"])]
    pool, sink = ThreadPoolExecutor(config["threads"]), Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        sum(pool.map(read_all, shares))
        sink.records = sink.nbytes = len(paths)
        return clock.stop()

    return one_pass

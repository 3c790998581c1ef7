"""Bare decoders of JPEG in Parquet: processes that have their share of the images in memory, and decode them into one buffer.

No file, no order, no batches, no handing over: nothing that decodes these bytes on as many cores can be faster.
"""

from __future__ import annotations

import os
from multiprocessing import get_context
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import simplejpeg

from streamload.tools.benchmark.peers.serving import Clock, Config, Sink


def work(images: list[bytes], shape: tuple[int, ...], connection: Any) -> None:
    """A process: decode its images whenever it is told to."""
    out = np.empty(shape, np.uint8)
    while connection.recv():
        for data in images:
            simplejpeg.decode_jpeg(data, "RGB", buffer=out)
        connection.send(True)
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other image."""
    images: list[bytes] = [cell["bytes"] for cell in pq.read_table(config["path"], columns=["image"])["image"].to_pylist()]
    height, width, _, _ = simplejpeg.decode_jpeg_header(images[0])
    shape = (height, width, 3)
    context = get_context("fork")
    connections = []
    for which in range(config["workers"]):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(images[which :: config["workers"]], shape, theirs), daemon=True).start()
        connections.append(ours)
    sink, count = Sink(1, 1), len(images)
    del images

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()
        sink.records, sink.nbytes = count, count * int(np.prod(shape))
        return clock.stop()

    if config.get("settle", 1):
        one_pass({})
    return one_pass

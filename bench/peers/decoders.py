"""Bare decoders: processes that read and decode every chunk of a dataset between them, and do nothing with what comes out.

No HDF5, no order, no batches, no handing over: nothing that decodes these chunks on as many cores can be faster.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import h5py
import imagecodecs
import numpy as np

from bench.peers.serving import Clock, Config, Sink

DECODERS: dict[str, dict[str, Callable[..., Any]]] = {
    "gzip": {"zlib": imagecodecs.zlib_decode, "libdeflate": imagecodecs.deflate_decode},
    "lzf": {"lzf": imagecodecs.lzf_decode},
}


def work(path: str, places: list[tuple[int, int]], nbytes: int, decode: Callable[..., Any], connection: Any) -> None:
    """A process: decode its chunks whenever it is told to."""
    fd = os.open(path, os.O_RDONLY)
    out = np.empty(nbytes, np.uint8)
    while connection.recv():
        for offset, stored in places:
            decode(os.pread(fd, stored, offset), out=out)
        connection.send(True)
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other chunk."""
    with h5py.File(config["path"]) as file:
        images = file["image"]
        count, nbytes = images.shape[0], int(np.prod(images.chunks))
        record_nbytes = int(np.prod(images.shape[1:]))
        places: list[tuple[int, int]] = []
        images.id.chunk_iter(lambda chunk: places.append((chunk.byte_offset, chunk.size)))
    context = get_context("fork")
    decode = DECODERS[config["codec"]][config["decoder"]]
    connections = []
    for which in range(config["workers"]):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(config["path"], places[which :: config["workers"]], nbytes, decode, theirs), daemon=True).start()
        connections.append(ours)
    sink = Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink)
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()
        sink.records, sink.nbytes = count, count * record_nbytes
        return clock.stop()

    if config.get("settle", 1):
        one_pass({})
    return one_pass

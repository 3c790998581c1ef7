"""Bare decoders of a folder of JPEG images: processes that read and decode every file between them, and do nothing with what comes out."""

from __future__ import annotations

import os
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from streamload.tools.benchmark.peers.serving import Clock, Config, Sink


def work(paths: list[str], shape: tuple[int, ...], connection: Any) -> None:
    """A process: decode its images whenever it is told to."""
    out = np.empty(shape, np.uint8)
    while connection.recv():
        for path in paths:
            with open(path, "rb") as file:
                imagecodecs.jpeg8_decode(file.read(), outcolorspace="RGB", out=out)
        connection.send(True)
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other image; all images have one shape."""
    paths = sorted(map(str, Path(config["path"]).glob("*/*.jpg")))
    shape = imagecodecs.jpeg8_decode(Path(paths[0]).read_bytes(), outcolorspace="RGB").shape
    context = get_context("fork")
    connections = []
    for which in range(config["workers"]):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(paths[which :: config["workers"]], shape, theirs), daemon=True).start()
        connections.append(ours)
    sink = Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()
        sink.records, sink.nbytes = len(paths), len(paths) * int(np.prod(shape))
        return clock.stop()

    one_pass({})
    return one_pass

"""OpenCV's bare `resize` by area: processes that cut the boxes streamload draws out of mapped images, into one buffer each.

No flip, no normalisation, no order, no batches: only what a random-resized crop has to do at the least.
"""

from __future__ import annotations

import os
from multiprocessing import get_context
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.peers.augmented import SIZES, boxes_of
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink


def work(images: NDArray[np.uint8], boxes: NDArray[np.int64], records: range, size: int, connection: Any) -> None:
    """A process: resize its records whenever it is told to."""
    cv2.setNumThreads(1)
    out = np.empty((size, size, 3), np.uint8)
    while connection.recv():
        for record in records:
            top, left, height, width = boxes[record].tolist()
            cv2.resize(images[record, top : top + height, left : left + width], (size, size), dst=out, interpolation=cv2.INTER_AREA)
        connection.send(True)
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other record."""
    import h5py

    with h5py.File(config["path"]) as file:
        place, shape = file["image"].id.get_offset(), file["image"].shape
    images = np.memmap(config["path"], np.uint8, "r", offset=place, shape=shape)
    size, boxes = SIZES[config["chain"]], boxes_of(config["chain"], shape)
    context = get_context("fork")
    connections = []
    for which in range(config["workers"]):
        ours, theirs = context.Pipe()
        records = range(which, shape[0], config["workers"])
        context.Process(target=work, args=(images, boxes, records, size, theirs), daemon=True).start()
        connections.append(ours)
    sink = Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()
        sink.records, sink.nbytes = shape[0], shape[0] * 3 * size * size
        return clock.stop()

    one_pass({})
    return one_pass

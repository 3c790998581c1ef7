"""OpenCV's bare `resize` by area: processes that cut the boxes streamload draws out of mapped images, into one buffer each.

No flip, no normalisation, no order, no batches: only what a random-resized crop has to do at the least.
"""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.peers.augmented import SIZES, boxes_of
from bench.peers.forked import forked_passes
from streamload.tools.benchmark.peers.serving import Config


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
    workers = config["workers"]
    shares = [(images, boxes, range(which, shape[0], workers), size) for which in range(workers)]
    return forked_passes(work, shares, records=shape[0], nbytes=shape[0] * 3 * size * size)

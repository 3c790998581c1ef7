"""Bare decoders of JPEG in Parquet: processes that have their share of the images in memory, and decode them into one buffer.

No file, no order, no batches, no handing over: nothing that decodes these bytes on as many cores can be faster.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import simplejpeg

from bench.peers.forked import forked_passes
from streamload.tools.benchmark.peers.serving import Config


def work(images: list[bytes], least: list[tuple[int, int]], shape: tuple[int, ...], connection: Any) -> None:
    """A process: decode its images whenever it is told to, each as small as it comes out while not below its least."""
    out = np.empty(shape, np.uint8)
    while connection.recv():
        for data, (height, width) in zip(images, least, strict=True):
            simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, min_factor=1, buffer=out)
        connection.send(True)
    os._exit(0)


def sizes_drawn(chain: str, height: int, width: int, records: int) -> list[tuple[int, int]]:
    """How small each image of this size may come out for the box that streamload draws in its first epoch: a half, a quarter, …"""
    from bench.peers.augmented import SIZES, boxes_of

    smaller = (boxes_of(chain, (records, height, width, 3))[:, 2:] / SIZES[chain]).min(axis=1)
    scales = np.select([smaller >= 8, smaller >= 4, smaller >= 2], [8, 4, 2], 1).tolist()
    return [(-(-height // scale), -(-width // scale)) if scale > 1 else (0, 0) for scale in scales]


def make(config: Config) -> Any:
    """Processes forked and waiting, each with every other image; whole, or `scaled` as a chain draws."""
    images: list[bytes] = [cell["bytes"] for cell in pq.read_table(config["path"], columns=["image"])["image"].to_pylist()]
    height, width, _, _ = simplejpeg.decode_jpeg_header(images[0])
    shape = (height, width, 3)
    least = sizes_drawn(config["chain"], height, width, len(images)) if config.get("scaled") else [(0, 0)] * len(images)
    workers = config["workers"]
    shares = [(images[which::workers], least[which::workers], shape) for which in range(workers)]
    return forked_passes(work, shares, records=len(images), nbytes=len(images) * int(np.prod(shape)), settle=bool(config.get("settle", 1)))

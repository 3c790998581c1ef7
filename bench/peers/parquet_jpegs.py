"""Bare decoders of JPEG in Parquet: processes that have the images in memory, and decode them into one buffer.

No file, no order, no batches, no handing over: nothing that decodes these bytes on as many cores can be faster. Or into slots of a
ring, where a consumer reads what was decoded, or as many floats as augmentation would make of it.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import simplejpeg
from numpy.typing import NDArray

from bench.peers.forked import forked_passes
from bench.peers.ring import convert_records, ring_passes
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


def work_ahead(config: Config, given: tuple[Any, ...], ring: int, connection: Any) -> None:
    """A process of a ring: decode its records into the slot, or each into the same buffer, from which as many floats are made."""
    images, least, shape = given
    batch, elements = config["batch"], config.get("elements", 0)
    pixels, one = np.empty(shape, np.uint8), np.zeros(1, np.int64)
    order: tuple[int, NDArray[np.int64]] = (-1, one)
    while (task := connection.recv()) is not None:
        epoch, step, slot = task
        if order[0] != epoch:
            order = (epoch, np.random.default_rng(epoch).permutation(len(images)))
        records = order[1][step * batch : (step + 1) * batch]
        width = 4 * elements or pixels.nbytes
        for k, record in enumerate(records.tolist(), start=slot * batch):
            at = ring + k * width
            out = pixels if elements else np.frombuffer((ctypes.c_uint8 * width).from_address(at), np.uint8)
            height, wide = least[record]
            simplejpeg.decode_jpeg(images[record], "RGB", min_height=height, min_width=wide, min_factor=1, buffer=out)
            if elements:
                convert_records(pixels.ctypes.data, 0, one, at, elements, 0, 1)
        connection.send((step, slot, len(records)))
    os._exit(0)


def make(config: Config) -> Any:
    """Processes forked and waiting, which decode whole, or `scaled` as a chain draws; `consumed`: into the slots of a ring."""
    images: list[bytes] = [cell["bytes"] for cell in pq.read_table(config["path"], columns=["image"])["image"].to_pylist()]
    height, width, _, _ = simplejpeg.decode_jpeg_header(images[0])
    shape = (height, width, 3)
    least = sizes_drawn(config["chain"], height, width, len(images)) if config.get("scaled") else [(0, 0)] * len(images)
    workers, settle = config["workers"], config.get("settle", 1)
    if config.get("consumed"):
        elements = config.get("elements", 0)
        few = np.zeros(1, np.int64)
        convert_records(few.ctypes.data, 0, few, few.ctypes.data, 0, 0, 1)  # Compiled before processes are forked.
        width = 4 * elements or int(np.prod(shape))
        return ring_passes(work_ahead, (images, least, shape), config=config, count=len(images), width=width, settle=settle)
    shares = [(images[which::workers], least[which::workers], shape) for which in range(workers)]
    return forked_passes(work, shares, records=len(images), nbytes=len(images) * int(np.prod(shape)), settle=bool(settle))

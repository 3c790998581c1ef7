"""Memory bandwidth: the same bytes, in memory already, copied by one core into one buffer, in order or record by record at random.

The second is the loader's own compiled gather, without a loader.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from streamload.kernels import compile_kernels, gather_kernels
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink


def make(config: Config) -> Any:
    """The images read into memory once, or `records` of `record_nbytes` made there.

    `scattered`, of the configuration or of a pass, asks for them in random order; `ring_records` of a pass copies only so many, again
    and again.
    """
    if "path" in config:
        with h5py.File(config["path"]) as file:
            images = file["image"][:]
    else:
        images = np.ones((config["records"], config["record_nbytes"]), np.uint8)
    images = images.reshape(len(images), -1)
    batch = config["batch"]
    sink = Sink(batch, images.shape[1])
    compile_kernels()
    copy_rows = gather_kernels().copy_rows
    nbytes = images.shape[1]
    offsets = np.random.default_rng(0).permutation(len(images)) * nbytes
    gathered, rows = np.ones((batch, nbytes), np.uint8), np.arange(batch)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        scattered = request.get("scattered", config.get("scattered"))
        ring = max(1, min(len(images), request.get("ring_records", len(images))) // batch) * batch
        for start in range(0, len(images), batch):
            if scattered:
                chosen = offsets[start : start + batch]
                copy_rows(images.ctypes.data, chosen, 1, nbytes, gathered.ctypes.data, rows[: len(chosen)])
                sink.records, sink.nbytes = sink.records + len(chosen), sink.nbytes + len(chosen) * nbytes
            else:
                sink.take(images[start % ring : start % ring + batch])
        return clock.stop()

    one_pass({})
    return one_pass

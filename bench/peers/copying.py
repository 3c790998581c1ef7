"""Memory bandwidth: the same bytes, in memory already, copied by one core into one buffer, in order or record by record at random."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from bench.peers.serving import Clock, Config, Sink


def make(config: Config) -> Any:
    """The images read into memory once; `scattered` asks for them in random order."""
    with h5py.File(config["path"]) as file:
        images = file["image"][:]
    images = images.reshape(len(images), -1)
    batch = config["batch"]
    sink = Sink(batch, images.shape[1])
    order = np.random.default_rng(0).permutation(len(images))
    gathered = np.ones((batch, images.shape[1]), np.uint8)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink)
        for start in range(0, len(images), batch):
            if config.get("scattered"):
                chosen = order[start : start + batch]
                np.take(images, chosen, axis=0, out=gathered[: len(chosen)], mode="clip")
                sink.records, sink.nbytes = sink.records + len(chosen), sink.nbytes + len(chosen) * images.shape[1]
            else:
                sink.take(images[start : start + batch])
        return clock.stop()

    one_pass({})
    return one_pass

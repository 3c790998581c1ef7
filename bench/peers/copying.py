"""Memory bandwidth: the same bytes, in memory already, copied batch by batch into one buffer by one core."""

from __future__ import annotations

from typing import Any

import h5py

from bench.peers.serving import Clock, Config, Sink, serve


def make(config: Config) -> Any:
    """The images read into memory once."""
    with h5py.File(config["path"]) as file:
        images = file["image"][:]
    batch = config["batch"]
    sink = Sink(batch, images[0].nbytes)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink)
        for start in range(0, len(images), batch):
            sink.take(images[start : start + batch])
        return clock.stop()

    one_pass({})
    return one_pass


if __name__ == "__main__":
    serve(make)

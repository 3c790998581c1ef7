"""SPDL over np.memmap: a pipeline of threads that gather whole batches."""

from __future__ import annotations

import numpy as np
from spdl.pipeline import PipelineBuilder

from bench.peers.source import records_of
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


def make(config: Config) -> Peer:
    """A pipeline an epoch, with as many threads as others have processes."""
    records, batch = records_of(config), config["batch"]

    def batches(epoch: int) -> Batches:
        order = np.random.default_rng(epoch).permutation(len(records))
        pieces = (order[start : start + batch] for start in range(0, len(order), batch))
        builder = PipelineBuilder().add_source(pieces)
        builder.pipe(lambda chosen: (records.images[chosen], records.labels[chosen]), concurrency=config["workers"])
        pipeline = builder.add_sink(4).build(num_threads=config["workers"])
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    return passing(batches, config, record_nbytes=records.record_nbytes, order="full shuffle")

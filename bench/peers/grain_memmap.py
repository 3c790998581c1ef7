"""Grain over np.memmap: global shuffle, batches, worker processes."""

from __future__ import annotations

import itertools
from typing import Any

import grain
import numpy as np

from bench.peers.source import records_of
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


class Source:
    """Random access to records; opened anew in each worker."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._records: Any = None
        self._length = len(records_of(config))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, record: int) -> tuple[np.ndarray, int]:
        if self._records is None:
            self._records = records_of(self._config)
        return self._records.images[record], self._records.labels[record]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": None}


def make(config: Config) -> Peer:
    """One pipeline for all passes, shuffled anew in each epoch, so that its processes are started once."""
    source, nbytes = Source(config), records_of(config).record_nbytes
    dataset = grain.MapDataset.source(source).shuffle(seed=0).batch(config["batch"]).repeat().to_iter_dataset()
    whole = iter(dataset.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=config["workers"])))
    steps = -(-len(source) // config["batch"])

    def batches(_: int) -> Batches:
        yield from itertools.islice(whole, steps)

    return passing(batches, config, record_nbytes=nbytes, order="full shuffle")

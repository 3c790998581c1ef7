"""Grain over np.memmap: global shuffle, batches, worker processes."""

from __future__ import annotations

from typing import Any

import grain
import numpy as np
from streamload.tools.peers.serving import Batches, Config, Peer, passing
from streamload.tools.peers.source import records_of


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
    """A pipeline an epoch, as its guide has it."""
    source, nbytes = Source(config), records_of(config).record_nbytes

    def batches(epoch: int) -> Batches:
        dataset = grain.MapDataset.source(source).shuffle(seed=epoch).batch(config["batch"]).to_iter_dataset()
        yield from dataset.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=config["workers"]))

    return passing(batches, config, record_nbytes=nbytes, order="full shuffle")

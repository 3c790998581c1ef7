"""FFCV: its own file, read by its own loader in the order that it calls random, or quasi-random beyond memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, NDArrayField
from ffcv.fields.decoders import IntDecoder, NDArrayDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.writer import DatasetWriter

from bench.peers.source import Records, records_of, written
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


class Singly:
    """Records as its writer asks for them."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, record: int) -> tuple[np.ndarray, int]:
        return np.asarray(self._records.images[record]), int(self._records.labels[record])


def make(config: Config) -> Peer:
    """Arrays as they are, so that no image codec is timed."""
    records = records_of(config)

    def write(folder: Path) -> None:
        fields = {"image": NDArrayField(shape=records.images.shape[1:], dtype=np.dtype(np.uint8)), "label": IntField()}
        DatasetWriter(str(folder / "data.beton"), fields, num_workers=1).from_indexed_dataset(Singly(records))

    folder, took = written(config, "ffcv", write)
    quasi = bool(config.get("quasi"))
    pipelines: dict[str, list[Any]] = {"image": [NDArrayDecoder()], "label": [IntDecoder()]}

    # One loader for all passes: what it compiles it compiles once, and it counts epochs itself.
    loader = Loader(
        str(folder / "data.beton"),
        batch_size=config["batch"],
        num_workers=max(1, config["workers"]),
        order=OrderOption.QUASI_RANDOM if quasi else OrderOption.RANDOM,
        os_cache=not quasi,
        drop_last=False,
        pipelines=pipelines,
        seed=0,
    )

    def batches(_: int) -> Batches:
        for images, labels in loader:
            yield np.asarray(images), np.asarray(labels).reshape(-1)

    order = "random pages, and the records of a few" if quasi else "full shuffle"
    return passing(batches, config, record_nbytes=records.record_nbytes, order=order, **took)

"""WebDataset: shards of tar, shuffled shard by shard and through a buffer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import webdataset

from bench.peers.source import records_of, written
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing

SHARD_NBYTES = 64 << 20
BUFFER = 1_000


def make(config: Config) -> Peer:
    """Shards of raw bytes, so that nothing but reading and shuffling is timed."""
    records = records_of(config)
    shape = records.images.shape[1:]

    def write(folder: Path) -> None:
        with webdataset.ShardWriter(str(folder / "%05d.tar"), maxsize=config.get("shard_nbytes", SHARD_NBYTES), verbose=0) as writer:
            for number, (image, label) in enumerate(records.singly()):
                writer.write({"__key__": f"{number:09d}", "bin": image.tobytes(), "cls": label})

    folder, took = written(config, "webdataset", write)
    shards = sorted(str(path) for path in folder.glob("*.tar"))

    def decoded(found: dict[str, Any]) -> tuple[np.ndarray, int]:
        return np.frombuffer(found["bin"], np.uint8).reshape(shape), int(found["cls"])

    def batches(epoch: int) -> Batches:
        dataset = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=epoch, empty_check=False).shuffle(BUFFER)
        dataset = dataset.map(decoded).batched(config["batch"], partial=True)
        yield from webdataset.WebLoader(dataset, batch_size=None, num_workers=config["workers"])

    return passing(batches, config, record_nbytes=records.record_nbytes, order=f"shards, and a buffer of {BUFFER:,}", **took)

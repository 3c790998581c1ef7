"""MosaicML streaming: its own shards, read locally through PyTorch's DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader

from bench.peers.source import records_of, written
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing

SHARD_NBYTES = 64 << 20


def make(config: Config) -> Peer:
    """Images as bytes, so that no codec is timed."""
    records = records_of(config)

    def write(folder: Path) -> None:
        with MDSWriter(
            out=str(folder), columns={"image": "bytes", "label": "int"}, size_limit=config.get("shard_nbytes", SHARD_NBYTES)
        ) as writer:
            for image, label in records.singly():
                writer.write({"image": image.tobytes(), "label": label})

    folder, took = written(config, "mosaicml", write)
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=config["batch"])

    def whole(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([np.frombuffer(row["image"], np.uint8) for row in rows]), np.array([row["label"] for row in rows])

    loader = DataLoader(
        dataset, batch_size=config["batch"], num_workers=config["workers"], collate_fn=whole, persistent_workers=config["workers"] > 0
    )

    def batches(epoch: int) -> Batches:
        yield from loader

    return passing(batches, config, record_nbytes=records.record_nbytes, order="shards, in blocks", **took)

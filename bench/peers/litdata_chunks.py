"""litdata: its own chunks, read by its own loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming.writer import BinaryWriter

from bench.peers.source import records_of, written
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing

CHUNK_NBYTES = 64 << 20


def make(config: Config) -> Peer:
    """Images as bytes, so that no codec is timed."""
    records = records_of(config)

    def write(folder: Path) -> None:
        writer = BinaryWriter(str(folder), chunk_bytes=config.get("shard_nbytes", CHUNK_NBYTES))
        for number, (image, label) in enumerate(records.singly()):
            writer.add_item(number, {"image": image.tobytes(), "label": label})
        writer.done()
        writer.merge()

    folder, took = written(config, "litdata", write)
    dataset = StreamingDataset(str(folder), shuffle=True)

    def whole(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([np.frombuffer(row["image"], np.uint8) for row in rows]), np.array([row["label"] for row in rows])

    loader = StreamingDataLoader(
        dataset,
        batch_size=config["batch"],
        num_workers=config["workers"],
        shuffle=True,
        collate_fn=whole,
        persistent_workers=config["workers"] > 0,
    )

    def batches(epoch: int) -> Batches:
        yield from loader

    return passing(batches, config, record_nbytes=records.record_nbytes, order="chunks, and the records within each", **took)

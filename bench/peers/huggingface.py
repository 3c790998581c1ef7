"""Hugging Face datasets: an Arrow table on disk, its rows asked for a batch at a time by PyTorch's DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from torch.utils.data import DataLoader

from bench.peers.source import records_of, written
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing

PIECE = 1_000


def make(config: Config) -> Peer:
    """Images as bytes: as lists of numbers they would come widened to int64."""
    records = records_of(config)

    def write(folder: Path) -> None:
        schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
        with pa.OSFile(str(folder / "data.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            for start in range(0, len(records), PIECE):
                images = pa.array([image.tobytes() for image in records.images[start : start + PIECE]], pa.binary())
                stream.write_batch(pa.record_batch([images, pa.array(records.labels[start : start + PIECE])], schema=schema))

    folder, took = written(config, "huggingface", write)
    table = datasets.Dataset.from_file(str(folder / "data.arrow"))

    def whole(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([np.frombuffer(row["image"], np.uint8) for row in rows]), np.array([row["label"] for row in rows])

    loader = DataLoader(
        table,
        batch_size=config["batch"],
        shuffle=True,
        num_workers=config["workers"],
        collate_fn=whole,
        persistent_workers=config["workers"] > 0,
    )

    def batches(epoch: int) -> Batches:
        yield from loader

    return passing(batches, config, record_nbytes=records.record_nbytes, order="full shuffle", **took)

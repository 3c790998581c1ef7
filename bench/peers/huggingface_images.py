"""Hugging Face datasets: a Parquet file of JPEG loaded as it comes, decoded by its Image feature, batched by PyTorch's DataLoader."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
from torch.utils.data import DataLoader

from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


def make(config: Config) -> Peer:
    """The Arrow cache that `load_dataset` writes lies beside the file."""
    table = datasets.load_dataset("parquet", data_files=config["path"], split="train", cache_dir=f"{config['path']}.cache")
    table = table.cast_column("image", datasets.Image())
    shape = np.asarray(table[0]["image"]).shape

    def whole(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([np.asarray(row["image"]) for row in rows]), np.array([row["label"] for row in rows])

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

    return passing(batches, config, record_nbytes=int(np.prod(shape)), order="full shuffle")

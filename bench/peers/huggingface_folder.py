"""Hugging Face datasets' imagefolder, decoded by its Image feature, batched by PyTorch's DataLoader."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
from torch.utils.data import DataLoader

from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


def make(config: Config) -> Peer:
    """The table of files that `load_dataset` writes lies beside the folder."""
    table = datasets.load_dataset("imagefolder", data_dir=config["path"], split="train", cache_dir=f"{config['path']}.cache")

    def whole(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([np.asarray(row["image"]) for row in rows]), np.array([row["label"] for row in rows])

    loader = DataLoader(
        table, batch_size=config["batch"], shuffle=True, num_workers=config["workers"], collate_fn=whole, persistent_workers=True
    )

    def batches(epoch: int) -> Batches:
        yield from loader

    return passing(batches, config, record_nbytes=config["record_nbytes"], order="full shuffle")

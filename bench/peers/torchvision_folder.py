"""torchvision's ImageFolder and PyTorch's DataLoader: Pillow decodes, and labels come from the names of folders."""

from __future__ import annotations

import numpy as np
from torch.utils.data import DataLoader

from bench.peers.torchvision_operators import import_torchvision
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


def make(config: Config) -> Peer:
    """Records as arrays, batches put together by one call."""
    folder = import_torchvision().datasets.ImageFolder(config["path"], transform=np.asarray)

    def whole(rows: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([image for image, _ in rows]), np.array([label for _, label in rows])

    loader = DataLoader(
        folder, batch_size=config["batch"], shuffle=True, num_workers=config["workers"], collate_fn=whole, persistent_workers=True
    )

    def batches(epoch: int) -> Batches:
        yield from loader

    return passing(batches, config, record_nbytes=int(folder[0][0].size), order="full shuffle")

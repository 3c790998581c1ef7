"""Zarr behind PyTorch's DataLoader, a record at a time, as most people write it."""

from __future__ import annotations

import numpy as np
import zarr
from torch.utils.data import DataLoader, Dataset

from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


class Records(Dataset):
    """Images and labels of a group, opened in each worker."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._group: zarr.Group | None = None
        self._count = zarr.open_group(path, mode="r")["label"].shape[0]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        if self._group is None:
            self._group = zarr.open_group(self._path, mode="r")
        return self._group["image"][number], int(self._group["label"][number])


def make(config: Config) -> Peer:
    """A full shuffle; `records` are taken of it, since each costs a chunk."""
    records = Records(config["path"])
    record_nbytes = int(records[0][0].nbytes)

    def whole(rows: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([image for image, _ in rows]), np.array([label for _, label in rows])

    def batches(epoch: int) -> Batches:
        chosen = np.random.default_rng(epoch).permutation(len(records))[: config["records"]].tolist()
        yield from DataLoader(
            records,
            batch_size=config["batch"],
            sampler=chosen,
            num_workers=config["workers"],
            collate_fn=whole,
            multiprocessing_context="spawn",
        )

    return passing(batches, config, record_nbytes=record_nbytes, order="full shuffle")

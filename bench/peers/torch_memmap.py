"""PyTorch's DataLoader over np.memmap: (image, int) pairs with the default collate, or whole batches by `__getitems__`."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from streamload.tools.benchmark.peers.serving import Clock, Config, Sink


class Pairs(Dataset):
    """The image and the label of a record, as most people write it; the images are mapped."""

    def __init__(self, path: str) -> None:
        with h5py.File(path) as file:
            images = file["image"]
            place, shape = images.id.get_offset(), images.shape
            self.labels = file["label"][:]
        # "c" lets tensors be made without a copy and without a warning; nothing is ever written.
        self.images = np.asarray(np.memmap(path, np.uint8, "c", offset=place, shape=shape))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, record: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[record]), int(self.labels[record])


class Batches(Pairs):
    """The same, asked for a batch at a time: what an expert writes."""

    def __getitems__(self, records: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.images[records]), torch.from_numpy(self.labels[records])


def as_it_is(batch: Any) -> Any:
    """Collate for batches that come whole."""
    return batch


def passes(data: Dataset, config: Config, *, whole: bool, record_nbytes: int) -> Any:
    """Passes over a dataset, shuffled, each over `records` of its records (default: all)."""
    count = min(config.get("records") or len(data), len(data))
    loader = DataLoader(
        data,
        batch_size=config["batch"],
        sampler=RandomSampler(data, num_samples=count),
        num_workers=config["workers"],
        collate_fn=as_it_is if whole else None,
        persistent_workers=config["workers"] > 0,
    )
    sink = Sink(config["batch"], record_nbytes)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        for images, labels in loader:
            sink.take(images.numpy(), labels.numpy())
        return clock.stop()

    for _ in range(config.get("settle", 1)):
        one_pass({})
    return one_pass


def make(config: Config) -> Any:
    """A DataLoader with persistent workers."""
    torch.set_num_threads(1)
    whole = config["variant"] == "whole"
    data = (Batches if whole else Pairs)(config["path"])
    return passes(data, config, whole=whole, record_nbytes=int(np.prod(data.images.shape[1:])))

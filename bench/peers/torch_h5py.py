"""PyTorch's DataLoader over h5py: a read for every record, or one sorted read for every batch."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import Dataset

from bench.peers.torch_memmap import passes
from streamload.tools.benchmark.peers.serving import Config


class Pairs(Dataset):
    """The image and the label of a record; each worker opens the file for itself."""

    def __init__(self, path: str, names: dict[str, str]) -> None:
        self._path, self._name = path, names["image"]
        self._images: Any = None
        with h5py.File(path) as file:
            self.shape = file[self._name].shape
            self.nbytes = int(np.prod(self.shape[1:])) * file[self._name].dtype.itemsize
            self.labels = file[names["label"]][:].reshape(-1) if "label" in names else np.zeros(self.shape[0], np.int64)

    @property
    def images(self) -> Any:
        """The dataset, opened when it is first used."""
        if self._images is None:
            self._images = h5py.File(self._path)[self._name]
        return self._images

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, record: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[record]), int(self.labels[record])


class SortedBatches(Pairs):
    """A batch at a time: one selection with its records sorted, as h5py wants it."""

    def __getitems__(self, records: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = np.sort(np.asarray(records))
        return torch.from_numpy(self.images[chosen]), torch.from_numpy(self.labels[chosen])


def make(config: Config) -> Any:
    """A DataLoader with persistent workers."""
    torch.set_num_threads(1)
    whole = config["variant"] == "whole"
    names = config.get("names", {"image": "image", "label": "label"})
    data = (SortedBatches if whole else Pairs)(config["path"], names)
    return passes(data, config, whole=whole, record_nbytes=data.nbytes)

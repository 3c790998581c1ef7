"""Small data files for tests of the loader, and what its epochs over them must be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import streamload as sl

WRITTEN = {"libver": ("earliest", "v110")}
SHAPE = (5, 4, 3)

Taken = list[tuple[int, int, list[int], bytes, bytes]]


def values(records: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that tell each record from the others."""
    images = np.random.default_rng(seed).integers(0, 256, (records, *SHAPE), dtype=np.uint8)
    return images, np.arange(records, dtype=np.int64) * 3 - 7


def write(path: Path, records: int = 100, *, seed: int = 0, **keywords: Any) -> Path:
    """A file of `records` images and labels; `keywords` say how the images are stored."""
    images, labels = values(records, seed=seed)
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_dataset("image", data=images, **keywords)
        file.create_dataset("label", data=labels)
    return path


def gzip(path: Path, records: int = 100, *, chunk: int = 8, **keywords: Any) -> Path:
    """The same in chunks of `chunk` records, compressed: it must be decoded a block at a time."""
    return write(path, records, chunks=(chunk, *SHAPE), compression="gzip", **keywords)


LAYOUTS = {
    "raw": lambda path, records=100: write(path, records),
    "raw chunks of 8": lambda path, records=100: write(path, records, chunks=(8, *SHAPE)),
    "gzip chunks of 8": lambda path, records=100: gzip(path, records),
    "gzip chunks of 1": lambda path, records=100: gzip(path, records, chunk=1),
}
"""Writers by how images are stored."""


def window(records: int) -> sl.Block:
    """A block order whose windows hold `records` records of these files."""
    return sl.Block(window=records * (int(np.prod(SHAPE)) + 8))


class Backwards:
    """An order of the user's own: the last record first, turned by the epoch."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
        return (self.n - 1 - np.arange(start, stop) + epoch) % self.n


def order_of(name: str, records: int = 100) -> object:
    """An order by the name under which tests show it."""
    return {
        "exact": sl.Exact(),
        "block of one window": sl.Block(),
        "block of small windows": window(24),
        "sequential": sl.Sequential(),
        "own": Backwards(records),
    }[name]


ORDERS = ("exact", "block of one window", "block of small windows", "sequential", "own")


STEPS = 4
"""Of an epoch of 100 records in batches of 30."""


def places(batches: Iterable[sl.Batch]) -> list[tuple[int, int]]:
    """Epoch and step of every batch."""
    return [(batch.epoch, batch.step) for batch in batches]


def whole(epoch: int, first: int = 0) -> list[tuple[int, int]]:
    """The places of an epoch of `STEPS` steps, from a step on."""
    return [(epoch, step) for step in range(first, STEPS)]


def taken(batches: Iterable[sl.Batch]) -> Taken:
    """Everything of some batches, copied: (epoch, step, record numbers, bytes of images, bytes of labels)."""
    return [(batch.epoch, batch.step, batch.records.tolist(), batch["image"].tobytes(), batch["label"].tobytes()) for batch in batches]


def epochs(loader: sl.Loader, stop: int) -> Taken:
    """All batches up to epoch `stop`."""
    return [one for epoch in loader.epochs(stop) for one in taken(epoch)]


def check_against(batches: Taken, images: np.ndarray, labels: np.ndarray) -> None:
    """Every batch holds, byte for byte, the records that it names."""
    for _, _, records, image_bytes, label_bytes in batches:
        assert image_bytes == images[records].tobytes()
        assert label_bytes == labels[records].tobytes()

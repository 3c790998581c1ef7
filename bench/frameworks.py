"""What each adapter costs: records a second beside the bare loader's, in pairs that take turns, and microseconds it adds to a batch."""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import h5py
import numpy as np

import streamload as sl

BATCH = 256
SIZES = {"150 KB": ((224, 224, 3), 4_000), "3 KB": ((32, 32, 3), 60_000)}
FIELDS = ("image", "label")

ADAPTERS: dict[str, tuple[str, Callable[[sl.Loader], Iterable]]] = {
    "for_torch": ("torch", lambda loader: sl.for_torch(loader, FIELDS)),
    "for_torch(dataloader=True)": ("torch", lambda loader: sl.for_torch(loader, FIELDS, dataloader=True)),
    "for_jax": ("jax", lambda loader: sl.for_jax(loader, FIELDS)),
    "for_keras on JAX": ("keras", lambda loader: passes_of(sl.for_keras(loader, FIELDS).get_jax_iterator)),
    "for_keras on PyTorch": ("keras", lambda loader: passes_of(sl.for_keras(loader, FIELDS).get_torch_dataloader)),
    "for_tf": ("tensorflow", lambda loader: sl.for_tf(loader, FIELDS)),
}


class passes_of:
    """What begins a pass whenever it is iterated over."""

    def __init__(self, begin: Callable[[], Iterable]) -> None:
        self._begin = begin

    def __iter__(self):
        return iter(self._begin())


def write(path: Path, shape: tuple[int, ...], records: int) -> None:
    """Random pixels and their numbers."""
    with h5py.File(path, "w") as file:
        file["image"] = np.random.default_rng(0).integers(0, 256, (records, *shape), dtype=np.uint8)
        file["label"] = np.arange(records)


def seconds(batches: Iterable) -> float:
    """Of one pass in which nothing is done with a batch."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def compare(path: Path, records: int, make: Callable[[sl.Loader], Iterable], *, pairs: int, workers: int) -> tuple[float, float]:
    """The share of the bare loader's speed, and the microseconds that are added to a batch: medians of pairs."""
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=workers) as loader:
        batches = make(loader)
        seconds(loader), seconds(batches)
        times = [(seconds(loader), seconds(batches)) for _ in range(pairs)]
        steps = len(loader)
    return median(bare / with_it for bare, with_it in times), median((with_it - bare) / steps * 1e6 for bare, with_it in times)


def lightning_epochs(path: Path, *, pairs: int) -> float:
    """The time of a Lightning epoch of an empty model, as a multiple of one over a list of as many tensors."""
    import pytorch_lightning as lightning
    import torch

    class Empty(lightning.LightningModule):
        automatic_optimization = False

        def training_step(self, batch: object, _: int) -> None: ...

        def configure_optimizers(self) -> None: ...

    def epoch(batches: object) -> float:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=1, **quiet)
        start = time.perf_counter()
        trainer.fit(Empty(), batches)
        return time.perf_counter() - start

    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=1) as loader:
        held = [(torch.zeros(BATCH, 32, 32, 3, dtype=torch.uint8), torch.zeros(BATCH, dtype=torch.int64))] * len(loader)
        batches = sl.for_torch(loader, FIELDS)
        epoch(batches), epoch(held)
        return median(epoch(batches) / epoch(held) for _ in range(pairs))


def main() -> None:
    """Print a line an adapter and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", help="adapters whose names hold this")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for size, (shape, records) in SIZES.items():
            path = Path(folder) / f"{records}.h5"
            write(path, shape, records)
            for name, (module, make) in ADAPTERS.items():
                if given.only not in name:
                    continue
                if importlib.util.find_spec(module) is None:
                    print(f"{size:>7}  {name:<28} {module} is not installed")
                    continue
                share, added_us = compare(path, records, make, pairs=given.pairs, workers=given.workers)
                print(f"{size:>7}  {name:<28} {share:.2f} of the bare loader's records/s, {added_us:+.0f} us a batch", flush=True)
        if importlib.util.find_spec("pytorch_lightning") is not None and given.only in "Lightning":
            print(
                f"Lightning: an epoch of an empty model takes {lightning_epochs(path, pairs=given.pairs):.2f} of one over tensors in a list"
            )


if __name__ == "__main__":
    main()

"""What each adapter costs: records a second beside the bare loader's, in pairs that take turns, and microseconds it adds to a batch.

Beside these stands what the framework's own calls take, over arrays that lie in memory: no adapter can add less.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import NamedTuple

import h5py
import numpy as np

import streamload as sl
from bench.streams import ROUNDS, interval

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


def own_calls(name: str, held: Held) -> Iterable:
    """The least that a framework itself does with batches of NumPy arrays that lie in memory."""
    if name in ("for_torch", "for_keras on PyTorch"):
        from torch import from_numpy

        return Given(held, lambda image, label: (from_numpy(image), from_numpy(label)))
    if name == "for_torch(dataloader=True)":
        from torch import from_numpy
        from torch.utils.data import DataLoader, IterableDataset

        class Tensors(IterableDataset):
            def __iter__(self):
                return ((from_numpy(image), from_numpy(label)) for image, label in held)

        return DataLoader(Tensors(), batch_size=None)
    if name == "for_jax":
        from jax import device_put

        return Given(held, lambda image, label: device_put([image, label]))
    if name == "for_keras on JAX":
        return held
    import tensorflow as tf

    batches = list(held)

    def batch(number: int) -> list[np.ndarray]:
        return list(batches[number])

    return tf.data.Dataset.range(len(held)).map(lambda number: tf.numpy_function(batch, [number], [tf.uint8, tf.int64]))


class Given:
    """Batches that lie in memory, as a function makes of each."""

    def __init__(self, held: Held, make: Callable[[np.ndarray, np.ndarray], object]) -> None:
        self._held = held
        self._make = make

    def __iter__(self):
        for image, label in self._held:
            yield self._make(image, label)


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
    with path.open("rb") as written:
        os.fsync(written.fileno())  # Else the disk is written to while things are measured.


class Pass(NamedTuple):
    """What one pass took, in which nothing is done with a batch, in seconds."""

    begin: float
    """Until the first batch was there: some frameworks make a machinery of their own for each pass."""
    rest: float
    """From the first batch to the end."""


def timed(batches: Iterable) -> Pass:
    """Go through a pass."""
    start = time.perf_counter()
    rest = iter(batches)
    next(rest)
    first = time.perf_counter()
    for _ in rest:
        pass
    return Pass(first - start, time.perf_counter() - first)


class Cost(NamedTuple):
    """Of an adapter beside the bare loader: medians of pairs of passes."""

    share: float
    """Of the bare loader's records a second, from the first batch of a pass on."""
    added_us: float
    """Microseconds that are added to a batch."""
    begin_ms: float
    """Milliseconds that are added to the begin of a pass."""
    own_us: float
    """Microseconds that the framework's own calls take for a batch that lies in memory."""


def compare(path: Path, name: str, *, pairs: int, workers: int) -> Cost:
    """Passes over the bare loader, through an adapter, and over batches in memory, in turns."""
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=workers) as loader:
        batches = ADAPTERS[name][1](loader)
        steps = len(loader) - 1
        few = [tuple(array.copy() for array in batch.tuple(*FIELDS)) for batch in itertools.islice(loader, 4)]
        own = own_calls(name, Held([few[number % len(few)] for number in range(len(loader))]))
        timed(loader), timed(batches), timed(own)
        times = [(timed(loader), timed(batches), timed(own)) for _ in range(pairs)]
    return Cost(
        share=median(bare.rest / through.rest for bare, through, _ in times),
        added_us=median((through.rest - bare.rest) / steps * 1e6 for bare, through, _ in times),
        begin_ms=median((through.begin - bare.begin) * 1e3 for bare, through, _ in times),
        own_us=median(own.rest / steps * 1e6 for _, _, own in times),
    )


class Held:
    """Batches that lie in memory. Lightning takes a bare list for as many data loaders."""

    def __init__(self, batches: list) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self):
        return iter(self._batches)


TRAINERS: dict[str, dict[str, bool]] = {
    "bare Trainer": {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False},
    "Trainer as it comes": {},
}
"""What Lightning's Trainer is told: to do nothing but train, or nothing, so that it logs, shows its progress and writes checkpoints."""
LEAST_PAIRS = 24


class Epoch(NamedTuple):
    """What an epoch of an empty model took, in seconds."""

    time: float
    processor: float
    """Of the calling process."""


def epochs_of(folder: Path, told: dict[str, bool]) -> Callable[[Iterable], Epoch]:
    """A function that has a new Lightning Trainer go through batches with an empty model."""
    import pytorch_lightning as lightning

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Empty(lightning.LightningModule):
        automatic_optimization = False

        def training_step(self, batch: object, _: int) -> None: ...

        def configure_optimizers(self) -> None: ...

    def epoch(batches: Iterable) -> Epoch:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=1, default_root_dir=folder, **told)
            start, processor = time.perf_counter(), time.process_time()
            trainer.fit(Empty(), batches)
            return Epoch(time.perf_counter() - start, time.process_time() - processor)

    return epoch


class Turn(NamedTuple):
    """An epoch through the loader and those that it is compared to, over tensors in memory, one right after the other."""

    ours: Epoch
    held: Epoch
    """Over the tensors as they are."""
    given: Epoch
    """Through PyTorch's DataLoader, which copies nothing."""
    steps: int
    beside: float
    """The time of `held`, beside a process that only computes, as a multiple of its time without. Where this is well above 1, processors
    share what they compute with, as those of a virtual machine may for seconds: the loader's worker then slows its caller down as well."""


def lightning_turns(path: Path, *, pairs: int, told: dict[str, bool]) -> list[Turn]:
    """A loader's epochs under a Trainer, of steps that are some tens of microseconds of Lightning's own code."""
    import torch

    epoch = epochs_of(path.parent, told)
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=1) as loader:
        held = Held([(torch.zeros(BATCH, 32, 32, 3, dtype=torch.uint8), torch.zeros(BATCH, dtype=torch.int64))] * len(loader))
        given = torch.utils.data.DataLoader(list(held), batch_size=None)
        batches = sl.for_torch(loader, FIELDS)
        epoch(batches), epoch(held), epoch(given)
        found = [(epoch(batches), epoch(held), epoch(given)) for _ in range(pairs)]
        steps = len(loader)
    with subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE) as computing:
        assert computing.stdout is not None
        computing.stdout.readline()
        beside = median(epoch(held).time for _ in range(3)) / median(least.time for _, least, _ in found)
        computing.kill()
    return [Turn(*each, steps, beside) for each in found]


def compare_lightning(path: Path, *, pairs: int) -> None:
    """Print what the loader costs under each Trainer: in rounds with a loader each, which take turns, since a machine may be slow for
    seconds."""
    turns: dict[str, list[Turn]] = {name: [] for name in TRAINERS}
    for number in range(ROUNDS):
        for name, told in TRAINERS.items():
            turns[name] += lightning_turns(path, pairs=pairs * (number + 1) // ROUNDS - pairs * number // ROUNDS, told=told)
    for name, found in turns.items():
        ratios = [turn.ours.time / turn.held.time for turn in found]
        low, high = interval(ratios)
        processor = median(turn.ours.processor / turn.held.processor for turn in found)
        others = median(turn.given.time / turn.held.time for turn in found)
        step_us = median(turn.held.time / turn.steps * 1e6 for turn in found)
        beside = [turn.beside for turn in found]
        print(
            f"Lightning, {name}: an epoch of an empty model takes {median(ratios):.2f} ({low:.2f} to {high:.2f}, 95 %) of one over tensors "
            f"in memory ({step_us:.0f} us a step; {min(beside):.2f} to {max(beside):.2f} of that beside a process that computes), "
            f"{processor:.2f} of its processor time ({others:.2f} for a DataLoader over these tensors)",
            flush=True,
        )


def main() -> None:
    """Print a line an adapter and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", help="adapters whose names hold this")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        # Lightning starts MPI where it is installed, and Open MPI leaves its shared memory behind: here it goes with the folder.
        os.environ.setdefault("OMPI_MCA_btl_sm_backing_directory", folder)
        for size, (shape, records) in SIZES.items():
            path = Path(folder) / f"{records}.h5"
            write(path, shape, records)
            for name, (module, _) in ADAPTERS.items():
                if given.only not in name:
                    continue
                if importlib.util.find_spec(module) is None:
                    print(f"{size:>7}  {name:<28} {module} is not installed")
                    continue
                cost = compare(path, name, pairs=given.pairs, workers=given.workers)
                print(
                    f"{size:>7}  {name:<28} {cost.share:.2f} of the bare loader's records/s, {cost.added_us:+.0f} us a batch "
                    f"({cost.own_us:.0f} for the framework's own calls), {cost.begin_ms:+.1f} ms a pass",
                    flush=True,
                )
        if importlib.util.find_spec("pytorch_lightning") is not None and given.only in "Lightning":
            compare_lightning(path, pairs=max(given.pairs, LEAST_PAIRS))


if __name__ == "__main__":
    main()

"""Records that trainers are fed with, and which of them an uninterrupted run sees, in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

import streamload as sl

RECORDS = 1_003
BATCH = 64
STEPS = 16
"""Of an epoch: 15 full ones, and one of 43 records."""
WIDTH = 6
NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
"""Every dtype that files hold as numbers."""


def values(records: int = RECORDS) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, float32 of shape (records, WIDTH), and each record's own number, int64."""
    return np.random.default_rng(3).normal(size=(records, WIDTH)).astype(np.float32), np.arange(records, dtype=np.int64)


def write(path: Path, records: int = RECORDS, **more: Any) -> Path:
    """A file of the fields `x` and `number`, and what else is given."""
    x, number = values(records)
    with h5py.File(path, "w") as file:
        for name, array in {"x": x, "number": number, **more}.items():
            file.create_dataset(name, data=array)
    return path


def loader_of(path: Path, **keywords: Any) -> sl.Loader:
    """A loader of that file, in an exact shuffle, without worker processes unless some are asked for."""
    return sl.Loader(sl.open(path), **{"batch_size": BATCH, "seed": 5, "num_workers": 0, "shuffle": sl.Exact(), **keywords})


def expected(path: Path, epochs: int, **keywords: Any) -> list[list[list[int]]]:
    """The numbers of the records of every batch of every epoch."""
    with loader_of(path, **keywords) as loader:
        return [[batch["number"].tolist() for batch in epoch] for epoch in loader.epochs(epochs)]


def flat(epochs: list[list[list[int]]]) -> list[list[int]]:
    """The batches of epochs, one after the other."""
    return [batch for epoch in epochs for batch in epoch]

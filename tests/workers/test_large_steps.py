"""Steps that are put together from many stretches of records: all of them arrive, though their messages fill every socket."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl

RECORDS = 6000


def two_epochs(data: Any, workers: int, **options: Any) -> list[tuple[list[int], bytes]]:
    """The record numbers and the bytes of each batch."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A window mixes only")
        with sl.Loader(data, num_workers=workers, seed=3, **options) as loader:
            return [(batch.records.tolist(), batch["x"].tobytes()) for epoch in loader.epochs(2) for batch in epoch]


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Any]:
    """Stored as they are, in compressed chunks, and a single record."""
    values = np.arange(RECORDS, dtype=np.int32)[:, None] * np.arange(1, 17, dtype=np.int32)
    for name, some, options in (
        ("raw", values, {}),
        ("packed", values, {"chunks": (2, 16), "compression": "lzf"}),
        ("one", values[5:6], {}),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("x", data=some, **options)
    return {name: sl.open(tmp_path / f"{name}.h5") for name in ("raw", "packed", "one")}


@pytest.mark.parametrize("name", ["raw", "packed"])
def test_a_batch_of_hundreds_of_lanes_is_the_same_with_workers(sources: dict[str, Any], name: str) -> None:
    """Each lane is a piece of every step, and has windows of its own, all of which are announced at once."""
    options = {"batch_size": 300, "shuffle": sl.Block(window="1 MB", lanes=300)}
    assert two_epochs(sources[name], 2, **options) == two_epochs(sources[name], 0, **options)


def test_a_part_that_is_gone_through_hundreds_of_times_in_a_batch_is_the_same_with_workers(sources: dict[str, Any]) -> None:
    mixed = sl.mix({"many": (sources["raw"], 200), "one": (sources["one"], 500)})
    assert two_epochs(mixed, 2, batch_size=700) == two_epochs(mixed, 0, batch_size=700)

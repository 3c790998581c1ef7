"""Ragged fields that `collate=` makes arrays of are tensors of every framework: padded ones, and rows that are packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:You hold more than:UserWarning")  # however far frameworks go ahead
LENGTHS = [1 + (5 * k) % 9 for k in range(30)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Lists of whole numbers."""
    table = pa.table({"x": pa.array([np.full(n, k, "i4") for k, n in enumerate(LENGTHS)], pa.list_(pa.int32())), "label": list(range(30))})
    pq.write_table(table, tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def shapes(batches: Any, *, packed: bool) -> list[tuple[int, ...]]:
    """Shapes of the arrays of each batch, whose sums are those of the records; rows that repeat a record do not count."""
    found: list[tuple[int, ...]] = []
    total = 0
    for batch in batches:
        array = np.asarray(batch["x"])
        array = array if packed or "valid" not in batch else array[np.asarray(batch["valid"])]
        found.append(array.shape)
        total += int(array.sum())
    assert total == sum(k * n for k, n in enumerate(LENGTHS))
    return found


ADAPTERS = {"torch": "for_torch", "jax": "for_jax", "tensorflow": "for_tf"}


@pytest.mark.parametrize("framework", ADAPTERS)
@pytest.mark.parametrize("collate", [sl.PadRagged("x", multiple=4), sl.PackRagged("x", 10)], ids=["padded", "packed"])
def test_arrays_are_handed_on(path: Path, framework: str, collate: Any) -> None:
    """Of the shapes that NumPy's have."""
    pytest.importorskip(framework)
    packed = isinstance(collate, sl.PackRagged)
    with sl.open(path) as data, sl.Loader(data, batch_size=8, num_workers=0, collate=collate) as loader:
        wanted = shapes(({"x": batch["x"].copy()} for batch in loader), packed=packed)
    with sl.open(path) as data, sl.Loader(data, batch_size=8, num_workers=0, collate=collate) as loader:
        batches = getattr(sl, ADAPTERS[framework])(loader)
        assert shapes(iter(batches), packed=packed) == wanted

"""Labels in columns of one are one number a record in every format, and states that were saved before that was so still load."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl
from streamload.testing import check_source

X = np.random.default_rng(0).random((40, 5)).astype("f4")
LABELS = {"float64": np.arange(40.0).reshape(40, 1), "uint8": np.arange(40, dtype="u1").reshape(40, 1)}


def hdf5(folder: Path, y: np.ndarray) -> sl.Source:
    """Datasets."""
    with h5py.File(folder / "a.h5", "w", libver=("earliest", "v110")) as file:
        file["x"], file["y"] = X, y
    return sl.open(folder / "a.h5")


def matlab(folder: Path, y: np.ndarray) -> sl.Source:
    """Datasets, records along the last axis."""
    with h5py.File(folder / "a.mat", "w", libver=("earliest", "v110")) as file:
        file["x"], file["y"] = X.T.copy(), y.T.copy()
    return sl.open(folder / "a.mat", record_axis=-1)


def npz(folder: Path, y: np.ndarray) -> sl.Source:
    """Members of an archive."""
    np.savez(folder / "a.npz", x=X, y=y)
    return sl.open(folder / "a.npz")


def joined(folder: Path, y: np.ndarray) -> sl.Source:
    """A file each."""
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", y)
    return sl.open({"x": folder / "x.npy", "y": folder / "y.npy"})


def lists(y: np.ndarray) -> pa.Table:
    """A table of lists of one length."""
    columns = {name: pa.FixedSizeListArray.from_arrays(pa.array(one.reshape(-1)), one.shape[1]) for name, one in (("x", X), ("y", y))}
    return pa.table(columns)


def parquet(folder: Path, y: np.ndarray) -> sl.Source:
    """Lists of fixed size."""
    pq.write_table(lists(y), folder / "a.parquet")
    return sl.open(folder / "a.parquet")


def arrow(folder: Path, y: np.ndarray) -> sl.Source:
    """The same in an Arrow file."""
    with pa.ipc.new_file(str(folder / "a.arrow"), lists(y).schema) as writer:
        writer.write_table(lists(y))
    return sl.open(folder / "a.arrow")


FORMATS: list[Callable[[Path, np.ndarray], sl.Source]] = [hdf5, matlab, npz, joined, parquet, arrow]


@pytest.mark.parametrize("dtype", LABELS)
@pytest.mark.parametrize("written", FORMATS, ids=lambda one: one.__name__)
def test_a_record_of_one_element_is_one_number_in_every_format(
    written: Callable[[Path, np.ndarray], sl.Source], dtype: str, tmp_path: Path
):
    """Of whole numbers and of floats; and it is said."""
    source = written(tmp_path, LABELS[dtype])
    check_source(source, {"x": X, "y": LABELS[dtype].reshape(40)}, num_workers=(0,))
    assert any("'y'" in note and "one number a record" in note for note in source.notes)


def test_the_largest_field_keeps_its_shape(tmp_path: Path):
    """A column of one that is alone may be meant so; of two alike, the first by name is kept."""
    np.save(tmp_path / "y.npy", LABELS["float64"])
    assert sl.open(tmp_path / "y.npy").schema["y"].shape == (1,)
    np.savez(tmp_path / "b.npz", z=LABELS["float64"], a=LABELS["float64"])
    assert {field.name: field.shape for field in sl.open(tmp_path / "b.npz").schema} == {"z": (), "a": (1,)}


@pytest.mark.parametrize("written", [hdf5, npz], ids=["HDF5", "npz"])
def test_states_of_when_columns_of_one_were_kept_still_load(written: Callable[[Path, np.ndarray], sl.Source], tmp_path: Path):
    """They know the fields by the shapes that these had: floats everywhere, whole numbers outside HDF5."""
    for dtype, y in LABELS.items():
        kept = "" if written is hdf5 and dtype == "uint8" else "1,"
        said = f"x float32 (5,) · y {dtype} ({kept})"
        options: dict[str, Any] = {"batch_size": 8, "shuffle": True, "num_workers": 0, "memory": "64 MB"}
        with sl.Loader(written(tmp_path, y), **options) as loader:
            state = loader.state_dict()
            assert state["schema"] == hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
            loader.load_state_dict(state)

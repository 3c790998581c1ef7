"""Byte strings of fixed length come out of windows whole: their width is the field's, whatever the values are."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")

WIDTHS = {
    "shorter than the field": np.array([b"ab"] * 50, "S8"),
    "the first is empty": np.array([b"", b"abcdefgh"] * 25, "S8"),
    "all but one are empty": np.array([b""] * 49 + [b"z"], "S8"),
    "of many lengths": np.array([bytes([97 + k % 26]) * (k % 9) for k in range(50)], "S8"),
    "with zeros inside": np.array([b"a\0\0b", b"\0\0\0z"] * 25, "S8"),
    "rows of them": np.array([[b"a", b"", b"abc"]] * 50, "S4"),
}


@pytest.mark.parametrize("values", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_fixed_strings_that_are_decoded_into_windows(tmp_path: Path, values: np.ndarray, workers: int) -> None:
    """In every order that has windows, and in the one that has none."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("name", data=values, chunks=(16, *values.shape[1:]), compression="gzip")
    with sl.open(tmp_path / "data.h5") as data:
        for order in (sl.Block(), False, sl.Exact()):
            with sl.Loader(data, batch_size=7, shuffle=order, num_workers=workers) as loader:
                for batch in loader.epochs(2):
                    for one in batch:
                        assert one["name"].tobytes() == values[one.records].tobytes()


def test_fixed_strings_beside_images(tmp_path: Path) -> None:
    """Names too large to be held in memory, decoded into the same windows as the images that they belong to."""
    rng = np.random.default_rng(0)
    names = np.array([bytes([97 + k % 26]) * (k % 100) for k in range(500)], "S100")
    images = rng.integers(0, 256, (500, 8, 8, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("image", data=images, chunks=(16, 8, 8, 3), compression="gzip")
        file.create_dataset("name", data=names, chunks=(50,), compression="gzip")
    with sl.open(tmp_path / "data.h5") as data, sl.Loader(data, batch_size=32, shuffle=sl.Block(), num_workers=0) as loader:
        for batch in loader:
            assert batch["name"].tobytes() == names[batch.records].tobytes()
            assert batch["image"].tobytes() == images[batch.records].tobytes()

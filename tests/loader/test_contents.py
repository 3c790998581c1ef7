"""Digests of contents: equal for equal records however they are stored, another one for other data of the same length."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl
from streamload.loader.contents import contents_digest, spread

N = 300
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 5, 4), dtype=np.uint8)


def hdf5(path: Path, images: np.ndarray, **options: object) -> sl.Source:
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file.create_dataset("image", data=images, **options)
        file["label"] = np.arange(len(images))
    return sl.open(path)


def test_equal_records_have_one_digest_however_they_are_stored(tmp_path: Path) -> None:
    """Raw, in compressed chunks, and in several files."""
    raw = hdf5(tmp_path / "raw.h5", IMAGES)
    assert contents_digest(raw) == contents_digest(hdf5(tmp_path / "gzip.h5", IMAGES, chunks=(32, 5, 4), compression="gzip"))
    assert contents_digest(raw) == contents_digest(raw)
    assert len(contents_digest(raw)) == 16


@pytest.mark.parametrize("where", [0, N - 1, "all"])
def test_other_records_have_another(tmp_path: Path, where: int | str) -> None:
    """Where the first or the last differs, or all do."""
    other = IMAGES.copy()
    other[slice(None) if where == "all" else where] ^= 1
    assert contents_digest(hdf5(tmp_path / "a.h5", IMAGES)) != contents_digest(hdf5(tmp_path / "b.h5", other))


def test_other_fields_have_another(tmp_path: Path) -> None:
    """Names and kinds are part of it."""
    for number, values in enumerate((np.zeros(9, np.int64), np.zeros(9, np.uint64))):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["x"] = values
    assert contents_digest(sl.open(tmp_path / "0.h5")) != contents_digest(sl.open(tmp_path / "1.h5"))


def test_texts_are_looked_at(tmp_path: Path) -> None:
    """Where each ends is part of it."""
    found = []
    for texts in (["ab", "c"], ["a", "bc"], ["ab", "d"]):
        pq.write_table(pa.table({"t": texts * 50}), tmp_path / "t.parquet")
        found.append(contents_digest(sl.open(tmp_path / "t.parquet")))
    assert len(set(found)) == 3


def test_data_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    """It is for whoever reads it all to say what is wrong."""
    source = hdf5(tmp_path / "raw.h5", IMAGES)
    (tmp_path / "raw.h5").unlink()
    assert contents_digest(source) is None


def test_records_are_spread_over_the_whole() -> None:
    """The first and the last among them; all of few."""
    assert spread(1000, 5).tolist() == [0, 249, 499, 749, 999]
    assert spread(3, 16).tolist() == [0, 1, 2]
    assert spread(1, 16).tolist() == [0]
    assert spread(0, 16).tolist() == []

"""Each file one record, in every format; and files of two patterns that pair by their names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreign_files import framed, tf_example

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError
from streamload.ragged import Ragged
from streamload.testing import check_source

CHANCE = np.random.default_rng(0)
EQUAL = [CHANCE.integers(0, 99, (6, 4)).astype("f4") for _ in range(11)]
UNEQUAL = [CHANCE.integers(0, 99, (length, 4)).astype("f4") for length in (3, 9, 1, 4, 4, 4, 4, 4, 4, 4, 7)]


def write(path: Path, values: np.ndarray) -> None:
    """One array in a file, of the format that its ending says."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez_compressed(path, x=values)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 4)}), path)
    else:
        with h5py.File(path, "w", libver=("earliest", "v110")) as file:
            file["x"] = values


def ragged(arrays: list[np.ndarray]) -> Ragged:
    """Arrays of different lengths, each a record."""
    return Ragged(np.concatenate(arrays), np.cumsum([0, *map(len, arrays)]), "array")


@pytest.mark.parametrize("ending", ["npy", "npz", "parquet", "h5"])
@pytest.mark.parametrize("arrays", [EQUAL, UNEQUAL], ids=["one shape", "any length"])
def test_each_file_is_a_record(arrays: list[np.ndarray], ending: str, tmp_path: Path):
    """Stacked where all have one shape, ragged where they have not; in natural order."""
    for number, values in enumerate(arrays):
        write(tmp_path / "x" / f"{number}.{ending}", values)
    source = sl.open(str(tmp_path / "x" / "*"), record_axis=None)
    (name,) = source.schema.names
    check_source(source, {name: np.stack(arrays) if arrays is EQUAL else ragged(arrays)}, num_workers=(0, 1) if ending == "npy" else (0,))


@pytest.mark.parametrize("ending", ["npy", "h5"])
def test_files_of_two_patterns_pair_by_name(ending: str, tmp_path: Path):
    """x and y of one name are one record; a name that only one of them has is an error, not a shift."""
    for number, (x, y) in enumerate(zip(EQUAL, UNEQUAL, strict=True)):
        write(tmp_path / "x" / f"case_{number}.{ending}", x)
        write(tmp_path / "y" / f"{number}.{ending}", y)
    patterns: dict[str, Any] = {"x": str(tmp_path / "x" / f"case_*.{ending}"), "y": str(tmp_path / "y" / f"*.{ending}")}
    source = sl.open(patterns, record_axis=None)
    check_source(source, {"x": np.stack(EQUAL), "y": ragged(UNEQUAL)}, num_workers=(0,))
    shutil.move(tmp_path / "y" / f"4.{ending}", tmp_path / "y" / f"44.{ending}")
    with pytest.raises(SchemaMismatchError) as caught:
        sl.open(patterns, record_axis=None)
    assert str(caught.value) == (
        "Files to be joined pair by what the star stands for: for '4' there is one of 'x' and none of 'y' (2 such names in all). "
        "Put the missing files there, or give lists of files that belong together."
    )


def test_records_of_variable_length_are_no_single_one(tmp_path: Path):
    """Texts of a file are records of it."""
    pq.write_table(pa.table({"text": ["a", "bc"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="'text' holds records of variable length, and record_axis=None takes each file for one record"):
        sl.open(tmp_path / "a.parquet", record_axis=None)
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(ConfigError, match="record_axis= is no option of NumPy files"):
        sl.open(tmp_path / "a.npy", record_axis=1)


def test_what_files_leave_out_is_told_of_them_as_records(tmp_path: Path):
    """A damaged record of a file is missing from the one that the file is."""
    for number in range(3):
        framed_records = [bytearray(framed(tf_example({"x": [float(row), number]}))) for row in range(4)]
        if number == 1:
            framed_records[2][20] ^= 255
        (tmp_path / f"{number}.tfrecord").write_bytes(b"".join(framed_records))
    source = sl.open(str(tmp_path / "*.tfrecord"), on_damage="skip", record_axis=None)
    assert [len(one) for one in source[:]["x"]] == [4, 3, 4]
    assert [(one.what, one.why, one.count) for one in source.omissions] == [("record", "damaged", 1)]
    source.close()

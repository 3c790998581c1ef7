"""Kinds of values that NumPy has and tables have not: written as bytes of fixed length that say what they are, or refused beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import streamload as sl
from streamload.errors import SourceError
from streamload.tools.__main__ import main

VALUES = {
    "bytes": np.array([b"a", b"a\0b", b"", b"\0\xff"] * 5, "S3"),
    "a byte": np.array([[b"a", b""]] * 20, "S1"),
    "moments": np.array(["2020-01-01T00:00:01", "NaT"] * 10, "M8[s]"),
    "moments in arrays": np.arange(-20, 20).reshape(20, 2).astype("M8[25us]"),
    "dates": np.arange(-10, 10).astype("M8[D]"),
    "durations": np.arange(-10, 10).astype("m8[ns]"),
    "big-endian moments": np.arange(20).astype(">M8[ms]"),
    "long doubles": np.linspace(0, 1, 20, dtype="g"),
    "big-endian": np.arange(20, dtype=">c16"),
}


@pytest.mark.parametrize("target", ["arrow", "parquet"])
@pytest.mark.parametrize("kind", VALUES)
def test_what_numpy_has_is_written_to_tables_and_read_again(kind: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The same type and the same values, and `verify` says so."""
    values: NDArray[Any] = VALUES[kind]
    np.save(tmp_path / "x.npy", values)
    path = str(tmp_path / f"x.{target}")
    assert main(["convert", str(tmp_path / "x.npy"), path]) == 0
    with sl.open(path) as source:
        found = source[:]["x"]
    assert (found.dtype, found.shape) == (values.dtype.newbyteorder("="), values.shape)
    np.testing.assert_array_equal(found, values)
    assert main(["verify", path]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("kind", ["moments", "durations"])
def test_moments_are_not_begun_to_be_written_to_hdf5(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """HDF5 has no type for them; what has is named, and nothing is left behind."""
    np.save(tmp_path / "x.npy", VALUES[kind])
    assert main(["convert", str(tmp_path / "x.npy"), str(tmp_path / "x.h5")]) == 2
    said = capsys.readouterr().err
    assert f"'x' holds {VALUES[kind].dtype}, and HDF5 has no such type." in said
    assert "Write Parquet, Arrow, .npy or .npz, which can hold it." in said
    assert [one.name for one in tmp_path.iterdir()] == ["x.npy"]


def test_bytes_that_are_said_to_be_big_endian_are_refused_by_name(tmp_path: Path):
    """They were delivered as if they were little-endian."""
    said = {"shape": "[]", "dtype": ">i4"}
    column = pa.array([b"\0\0\0\1", b"\0\0\0\2"], pa.binary(4))
    table = pa.table([column], pa.schema([pa.field("x", column.type, nullable=False, metadata=said)]))
    path = tmp_path / "x.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(SourceError, match="big-endian values in tables are not read"):
        sl.open(path)

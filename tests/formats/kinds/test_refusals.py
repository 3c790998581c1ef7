"""Kinds of values that are refused today: by name, until they are delivered and their line in `refused.OPEN` is to go."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl
from kinds.hdf5_kinds import WRITTEN
from kinds.refused import OPEN
from streamload.errors import StreamloadError

COUNT = 20


def _ragged(dtype: Any, shape: tuple[int, ...] = ()) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        dataset = file.create_dataset("x", (COUNT, *shape), h5py.vlen_dtype(np.dtype(dtype)))
        for number in range(COUNT):
            dataset[number] = [np.zeros(number % 3, dtype)] * 2 if shape else np.zeros(number % 3, dtype)

    return write


HDF5: dict[str, Callable[[h5py.File], object]] = {
    "references": lambda file: file.create_dataset("x", data=np.array([file.ref] * COUNT, h5py.ref_dtype)),
    "ragged structures": _ragged([("a", "i4"), ("b", "f4")]),
    "rows of ragged": _ragged("i4", (2,)),
}
NUMPY: dict[str, Callable[[], np.ndarray]] = {
    "objects": lambda: np.array([None] * COUNT),
}
ARROW: dict[str, Callable[[], pa.Array]] = {
    "decimals": lambda: pa.array([Decimal(k) for k in range(COUNT)], pa.decimal128(10, 2)),
    "maps": lambda: pa.array([[(k, k)] for k in range(COUNT)], pa.map_(pa.int8(), pa.int8())),
    "lists of text": lambda: pa.array([["a", "bc"][: k % 3] for k in range(COUNT)], pa.list_(pa.string())),
    "lists of bytes": lambda: pa.array([[b"a", b"bc"][: k % 3] for k in range(COUNT)], pa.list_(pa.binary())),
    "lists of lists": lambda: pa.array([[[1], [2, 3]][: k % 3] for k in range(COUNT)], pa.list_(pa.list_(pa.int8()))),
    "booleans with nulls": lambda: pa.array([True, None] * (COUNT // 2)),
}


def write(path: Path, family: str, kind: str, way: str) -> None:
    """A file with records of the kind, called x."""
    if family == "hdf5":
        with h5py.File(path, "w", **WRITTEN) as file:
            HDF5[kind](file)
    elif family == "numpy":
        with open(path, "wb") as file:
            np.save(file, NUMPY[kind]()) if way == "npy" else np.savez(file, x=NUMPY[kind]())
    else:
        table = pa.table({"x": ARROW[kind]()})
        if way == "parquet":
            pq.write_table(table, path)
            return
        with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=way or None)) as writer:
            writer.write_table(table)


WAYS = {"hdf5": ("",), "numpy": ("npy", "npz"), "arrow": ("", "zstd", "parquet")}


@pytest.mark.parametrize(("family", "kind"), OPEN, ids=[", ".join(pair) for pair in OPEN])
def test_what_is_not_delivered_is_refused_by_name(family: str, kind: str, tmp_path: Path):
    """At open, or when records are asked for: an error of the library's that says what the field holds."""
    for way in WAYS[family]:
        path = tmp_path / f"{way or family}{'.npz' if way == 'npz' else ''}"
        write(path, family, kind, way)
        with pytest.raises(StreamloadError) as caught:
            sl.open(path)[:]
        assert OPEN[family, kind] in str(caught.value), way


def test_every_kind_that_is_made_here_has_its_line():
    assert set(OPEN) == {(family, kind) for family, made in (("hdf5", HDF5), ("numpy", NUMPY), ("arrow", ARROW)) for kind in made}

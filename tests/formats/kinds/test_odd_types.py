"""HDF5 types of which NumPy has none alike: bits, brain floats, numbers of odd widths; delivered as the HDF5 library converts them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl
from kinds.hdf5_kinds import WRITTEN
from kinds.values import difference, native
from streamload.formats.hdf5.columns import field_columns


def brain_float(kind: Any) -> Any:
    """Eight bits of exponent, seven of mantissa."""
    made = kind.copy()
    made.set_fields(15, 7, 8, 0, 7)
    made.set_precision(16)
    made.set_size(2)
    made.set_ebias(127)
    return made


def short_float() -> Any:
    """A double without the last three bytes of its mantissa."""
    made = h5py.h5t.IEEE_F64LE.copy()
    made.set_fields(39, 28, 11, 0, 28)
    made.set_precision(40)
    made.set_size(5)
    return made


def inner_bits() -> Any:
    """Twenty bits in the middle of four bytes."""
    made = h5py.h5t.STD_I32LE.copy()
    made.set_precision(20)
    made.set_offset(4)
    return made


TYPES: dict[str, tuple[Callable[[], Any], str]] = {
    "bfloat16": (lambda: brain_float(h5py.h5t.IEEE_F32LE), "<f4"),
    "bfloat16 big-endian": (lambda: brain_float(h5py.h5t.IEEE_F32BE), "<f4"),
    "double of five bytes": (short_float, "<f8"),
    "twenty bits": (inner_bits, "<i4"),
    "bits": (lambda: h5py.h5t.STD_B8LE, "u1"),
    "bits big-endian": (lambda: h5py.h5t.STD_B16BE, ">u2"),
}
"""By name, how such a type is made, and of what type the values are that are given to h5py."""


@pytest.mark.parametrize("chunks", [None, (7, 40)], ids=["contiguous", "gzip"])
@pytest.mark.parametrize("name", TYPES)
def test_types_that_numpy_does_not_have(name: str, chunks: tuple[int, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same bytes as from h5py, in a window and record by record."""
    monkeypatch.setattr(field_columns, "RESIDENT_RECORD_NBYTES", -1)
    make, given = TYPES[name]
    values = np.arange(50 * 40).reshape(50, 40).astype(given)
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if chunks:
            plist.set_chunk(chunks)
            plist.set_deflate(4)
        dataset = h5py.h5d.create(file.id, b"x", make(), h5py.h5s.create_simple(values.shape), plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=make() if name.startswith("bits") else None)
        expected = native(file["x"][()])
    with sl.open(tmp_path / "a.h5") as data, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert difference(data[:]["x"], expected) == ""
        with sl.Loader(data, batch_size=8, shuffle=sl.Block(), num_workers=0) as loader:
            for batch in loader:
                assert difference(batch["x"], expected[batch.records]) == ""

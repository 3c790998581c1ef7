"""Bitfields of variable length are left out by name, and the rest of their file opens."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import streamload as sl


def test_bitfields_of_variable_length_leave_out_no_more_than_themselves(tmp_path: Path):
    """The HDF5 library cannot say how long they are."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        kind = h5py.h5t.vlen_create(h5py.h5t.STD_B16LE)
        h5py.h5d.create(file.id, b"bits", kind, h5py.h5s.create_simple((9,)))
        file["y"] = np.arange(9)
    with sl.open(path) as source:
        assert source[:]["y"].tolist() == list(range(9))
        assert "'bits' left out: it holds bitfields of variable length, which cannot be delivered as arrays of one shape" in source.notes
    with pytest.raises(sl.StreamloadError, match="'bits' holds bitfields of variable length"):
        sl.open(path, ["bits"])

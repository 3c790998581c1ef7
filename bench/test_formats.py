"""Formats: opening a file, and reading a few records by number, beside the format's own library."""

from __future__ import annotations

from collections.abc import Callable

import h5py
import numpy as np
import pytest

import streamload as sl
from bench.conftest import Measure
from bench.data import Made

KINDS = ["contiguous", "gzip", "lzf"]
FEW = 64


@pytest.fixture(scope="module")
def file_of(raw_file: Callable[[int], Made], compressed_file: Callable[[str, int], Made]) -> Callable[[str], Made]:
    """A file of records of 3,072 bytes, by how they are stored."""
    return lambda kind: raw_file(3_072) if kind == "contiguous" else compressed_file(kind, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_opening(measured: Measure, file_of: Callable[[str], Made], kind: str):
    """`sl.open`, beside `h5py.File`."""
    made = file_of(kind)

    def by_h5py() -> int:
        with h5py.File(made.path) as file:
            return len(file["image"])

    data = measured(lambda: sl.open(made.path), records=made.records, nbytes=made.nbytes, limit="h5py.File", limited=by_h5py)
    assert len(data) == made.records


@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_slice(measured: Measure, file_of: Callable[[str], Made], kind: str):
    """`data[start:stop]`, beside h5py's slice of the same records."""
    made = file_of(kind)
    data = sl.open(made.path)
    with h5py.File(made.path) as file:
        images = file["image"]
        got = measured(
            lambda: data[FEW : 2 * FEW]["image"],
            records=FEW,
            nbytes=FEW * made.record_nbytes,
            limit="h5py",
            limited=lambda: images[FEW : 2 * FEW],
        )
        assert (np.asarray(got) == images[FEW : 2 * FEW]).all()

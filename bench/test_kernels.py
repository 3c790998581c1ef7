"""Compiled loops: gathers beside NumPy's own, the permutation beside counting."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from bench.conftest import Measure
from bench.data import Made
from streamload.kernels import gather_kernels
from streamload.order import Permutation, key

STRETCH = 65_536


@pytest.mark.parametrize("record_nbytes", [784, 3_072, 150_528])
def test_copying_records_from_memory(measured: Measure, nbytes: int, record_nbytes: int):
    """`copy_rows`, beside `np.take` of the same records."""
    count = max(1, nbytes // record_nbytes)
    source = np.random.default_rng(0).integers(256, size=(count, record_nbytes), dtype=np.uint8)
    records = np.random.default_rng(1).permutation(count)[:256]
    out, rows = np.empty((len(records), record_nbytes), np.uint8), np.arange(len(records))
    copy_rows = gather_kernels().copy_rows
    measured(
        lambda: copy_rows(source.ctypes.data, records, record_nbytes, record_nbytes, out.ctypes.data, rows),
        records=len(records),
        nbytes=out.nbytes,
        limit="np.take",
        limited=lambda: np.take(source, records, axis=0, out=out, mode="clip"),
    )
    assert (out == source[records]).all()


@pytest.mark.parametrize("record_nbytes", [784, 3_072, 150_528])
def test_reading_records_from_a_file(measured: Measure, raw_file: Callable[[int], Made], record_nbytes: int):
    """`read_rows`, beside one sequential read of as many bytes."""
    made = raw_file(record_nbytes)
    records = np.random.default_rng(1).permutation(made.records)[:256]
    out, rows = np.empty((len(records), record_nbytes), np.uint8), np.arange(len(records))
    fd = os.open(made.path, os.O_RDONLY)
    try:
        read_rows = gather_kernels().read_rows
        failed = measured(
            lambda: read_rows(fd, records * record_nbytes, record_nbytes, out.ctypes.data, rows),
            records=len(records),
            nbytes=out.nbytes,
            limit="one preadv",
            limited=lambda: os.preadv(fd, [out], 0),
        )
    finally:
        os.close(fd)
    assert failed == -1


@pytest.mark.parametrize("count", [10**6, 10**9, 10**11])
def test_permuting_positions(measured: Measure, count: int):
    """The Feistel network, beside writing down as many numbers."""
    permutation = Permutation(count, key(0, 0, 0, 0))
    at = count // 3
    answer = measured(
        lambda: permutation.forward(at, at + STRETCH),
        records=STRETCH,
        nbytes=8 * STRETCH,
        limit="np.arange",
        limited=lambda: np.arange(at, at + STRETCH),
    )
    assert len(np.unique(answer)) == STRETCH

"""Collation: records gathered straight into a batch's arrays, beside a copy of the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import streamload as sl
from bench.conftest import Measure
from bench.data import Made
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles

BATCH = 256


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("record_nbytes", [784, 3_072, 150_528])
def test_gathering_a_batch(measured: Measure, raw_file: Callable[[int], Made], record_nbytes: int, mapped: bool):
    """A reader's `gather` of random records, beside a copy of as many bytes."""
    data = sl.open(raw_file(record_nbytes).path, fields=["image"])
    field = data.schema["image"]
    records = np.random.default_rng(0).permutation(len(data))[:BATCH].astype(np.int64)
    files = OpenFiles(data.fingerprints)
    while mapped and files.map(0).populate() and not files.map(0).populated:
        pass
    reader = data.columns[0].reader(files, ReadStats())
    out, rows = np.empty((len(records), *field.shape), field.dtype), np.arange(len(records), dtype=np.int64)
    copied = np.ones_like(out)
    measured(
        lambda: reader.gather(records, out, rows),
        records=len(records),
        nbytes=out.nbytes,
        limit="a copy",
        limited=lambda: np.copyto(copied, out),
    )
    reader.close()
    files.close()
    assert (out == data[records]["image"]).all()

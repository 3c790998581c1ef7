"""Runs of raw records: each record is found in its run, compiled or not, however the runs are cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamload import kernels
from streamload.formats.columns.raw import RunTable


@pytest.fixture(scope="module", params=[True, False], ids=["compiled", "plain"], autouse=True)
def both(request: pytest.FixtureRequest) -> Iterator[None]:
    """Either set of kernels."""
    kernels.compile_kernels()
    kernels.use(compiled=request.param)
    yield
    kernels.use(compiled=True)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60).filter(any), st.integers(1, 5000), st.integers(0, 2**32))
@example([1], 1, 0)
@example([0, 0, 7, 0, 1, 0], 3, 1)
@example([1] * 50 + [100_000] + [1] * 50, 3072, 2)
@example([341] * 50 + [7], 3072, 3)
def test_every_record_is_found_in_its_run(sizes: list[int], stride: int, seed: int):
    """Equal runs, unequal ones, empty ones, one among many: the same as by counting."""
    starts = np.cumsum([0, *sizes])
    offsets = np.random.default_rng(seed).integers(0, 2**40, len(sizes))
    records = np.random.default_rng(seed).permutation(int(starts[-1]))[:2000]
    for one in (starts, offsets, records):
        one.flags.writeable = False  # As they are in workers.
    table = RunTable(starts, offsets, stride)
    run = np.repeat(np.arange(len(sizes)), sizes)[records]
    np.testing.assert_array_equal(table.offsets(records), offsets[run] + (records - starts[run]) * stride)
    np.testing.assert_array_equal(table.offsets(records[::-1]), table.offsets(records)[::-1])
    assert table.offsets(records[:0]).shape == (0,)

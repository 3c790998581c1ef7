"""Gathers of records of one length: the plain and the compiled ones do the same, and neighbours are one piece of work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced_lines import lines_run

from streamload.kernels import gather_plain


@pytest.fixture(params=["plain", "compiled"])
def gathers(request: pytest.FixtureRequest) -> Any:
    """Both of them."""
    if request.param == "plain":
        return gather_plain
    pytest.importorskip("numba")
    from streamload.kernels import gather

    return gather


@pytest.fixture
def stored(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A file of 1,000 bytes, and what it holds."""
    path: Path = tmp_path_factory.mktemp("stored") / "data"
    data = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8)
    path.write_bytes(data.tobytes())
    fd = os.open(path, os.O_RDONLY)
    yield fd, data
    os.close(fd)


@given(
    runs=st.lists(st.tuples(st.integers(0, 250), st.integers(1, 5)), max_size=6),
    nbytes=st.integers(1, 4),
    order=st.randoms(),
    step=st.booleans(),
)
def test_each_record_comes_to_its_row(gathers: Any, stored: Any, runs: list[tuple[int, int]], nbytes: int, order: Any, step: bool):
    """Whatever follows what; where the file ends before it, the number of the first that is not there comes back."""
    fd, data = stored
    offsets = np.array([nbytes * (first + at) for first, count in runs for at in range(count)], np.int64)
    rows = list(range(len(offsets)))
    if step:
        order.shuffle(rows)
    rows = np.array(rows, np.int64)
    whole = offsets + nbytes <= len(data)
    first_bad = int(np.argmin(whole)) if not whole.all() else -1
    out = np.zeros((len(rows), nbytes), np.uint8)
    failed = gathers.read_rows(fd, offsets, nbytes, out.ctypes.data, rows)
    assert failed == first_bad
    upto = len(rows) if failed < 0 else failed
    for offset, row in zip(offsets[:upto], rows[:upto], strict=True):
        assert out[row].tolist() == data[offset : offset + nbytes].tolist()
    if failed < 0:
        copied = np.zeros_like(out)
        gathers.copy_rows(data.ctypes.data, offsets, 1, nbytes, copied.ctypes.data, rows)
        assert (copied == out).all()
        if not (offsets % 3).any():
            numbers, copied = offsets // 3, np.zeros_like(out)
            for array in (numbers, rows):
                array.setflags(write=False)  # as they are where others hold them
            gathers.copy_rows(data.ctypes.data, numbers, 3, nbytes, copied.ctypes.data, rows)
            assert (copied == out).all()


def test_neighbours_cost_no_work_each(stored: Any):
    """As many lines of Python for a thousand as for ten."""
    fd, data = stored

    def lines(count: int) -> int:
        numbers, out = np.arange(count, dtype=np.int64), np.zeros(count, np.uint8)

        def gather() -> None:
            assert gather_plain.read_rows(fd, numbers, 1, out.ctypes.data, numbers) == -1
            gather_plain.copy_rows(data.ctypes.data, numbers, 1, 1, out.ctypes.data, numbers)

        counted = lines_run(gather)
        assert (out == data[:count]).all()
        return counted

    lines(10)  # What a first call alone does is done.
    assert lines(10) == lines(1000)

"""Records of different lengths are gathered in one pass, alike by compiled and by plain kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamload.kernels import gather_plain

SIZE = 40_000


@pytest.fixture(scope="module", params=["compiled", "plain"])
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    """One set of kernels."""
    if request.param == "plain":
        return gather_plain
    from streamload.kernels import compile_kernels, gather_kernels

    assert compile_kernels()
    return gather_kernels()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, np.ndarray]]:
    """A file's descriptor, and its bytes."""
    path: Path = tmp_path_factory.mktemp("ragged") / "bytes"
    values = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    path.write_bytes(values.tobytes())
    fd = os.open(path, os.O_RDONLY)
    yield fd, values
    os.close(fd)


pieces = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 300) | st.just(20_000)), max_size=30).map(
    lambda found: [(offset, min(nbytes, SIZE - offset)) for offset, nbytes in found]
)


def placed(found: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, sizes, and where pieces go that are put one after the other."""
    offsets, nbytes = np.array(found, np.int64).reshape(-1, 2).T
    return np.ascontiguousarray(offsets), np.ascontiguousarray(nbytes), np.concatenate([[0], np.cumsum(nbytes)]).astype(np.int64)


@given(pieces)
def test_what_is_read_are_the_bytes_at_the_offsets(kernels: ModuleType, stored: tuple[int, np.ndarray], found: list[tuple[int, int]]):
    """One after the other in memory; empty records take nothing, and what lies behind the last stays as it was."""
    fd, values = stored
    offsets, nbytes, starts = placed(found)
    out = np.full(int(starts[-1]) + 1, 7, np.uint8)
    assert kernels.read_ragged(fd, offsets, nbytes, out.ctypes.data, starts[:-1]) == -1
    assert out.tobytes() == b"".join(values[a : a + n].tobytes() for a, n in found) + b"\7"


@given(st.lists(st.integers(0, 200), max_size=12), st.integers(0, SIZE))
def test_neighbours_read_together_are_told_apart_when_the_file_ends(
    kernels: ModuleType, stored: tuple[int, np.ndarray], sizes: list[int], begin: int
):
    """The first record that is not whole is named, and those before it are there."""
    fd, values = stored
    offsets, nbytes, starts = placed([(begin + sum(sizes[:k]), size) for k, size in enumerate(sizes)])
    out = np.zeros(int(starts[-1]) + 1, np.uint8)
    failed = kernels.read_ragged(fd, offsets, nbytes, out.ctypes.data, starts[:-1])
    beyond = [k for k in range(len(sizes)) if nbytes[k] and offsets[k] + nbytes[k] > SIZE]
    assert failed == (beyond[0] if beyond else -1)
    whole = int(starts[failed]) if beyond else int(starts[-1])
    assert out[:whole].tobytes() == values[begin : begin + whole].tobytes()


@given(pieces, st.sets(st.integers(0, 29)))
def test_what_is_copied_comes_from_its_address_and_an_address_of_nought_leaves_a_gap(
    kernels: ModuleType, stored: tuple[int, np.ndarray], found: list[tuple[int, int]], missing: set[int]
):
    """A gap is as long as its record, and is not written to."""
    _, values = stored
    offsets, nbytes, starts = placed(found)
    addresses = offsets + values.ctypes.data
    addresses[[k for k in missing if k < len(found)]] = 0
    out = np.full(int(starts[-1]) + 1, 7, np.uint8)
    kernels.copy_ragged(addresses, nbytes, out.ctypes.data, starts[:-1])
    expected = b"".join(b"\7" * n if k in missing else values[a : a + n].tobytes() for k, (a, n) in enumerate(found))
    assert out.tobytes() == expected + b"\7"

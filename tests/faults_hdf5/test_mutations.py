"""Damaged files by the thousand: the same records or an error of ours, in bounded time, and this process lives on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from time_limits import within

from faults_hdf5.mutants import LAYOUTS, LIBRARY, LIMIT_SECONDS, RECORDS, apart, flips, h5pys, opens, pixels, same, streamloads, truncations

QUICK, MANY, QUICK_APART, MANY_APART = 60, 200, 25, 25
"""Flips of one layout; fewer where each is read in a process of its own."""


def judge(layout: str, mutants: Iterable[tuple[str, bytes]], folder: Path) -> Counter[str]:
    """Read every mutant, and count what came of them. Fails at the first that is neither itself nor refused."""
    whole = {"image": pixels(), "label": np.arange(RECORDS)}
    seen: Counter[str] = Counter()
    for number, (what, data) in enumerate(mutants):
        path = folder / f"{number}.h5"
        path.write_bytes(data)
        began = time.monotonic()
        outcome = opens(path) or apart(lambda path=path: streamloads(path)) if layout in LIBRARY else streamloads(path)
        seconds = time.monotonic() - began
        assert within(seconds, LIMIT_SECONDS + 2), f"{what}: {seconds} s"
        if isinstance(outcome, str):
            if layout in LIBRARY and outcome.startswith("ended with -"):
                outcome = "the library crashed where it was read"
            assert " " not in outcome or layout in LIBRARY, f"{what}: {outcome}"
            seen[outcome] += 1
        elif same(outcome, whole):
            seen["the same records"] += 1
        else:
            seen["other records"] += 1
            assert not layout.startswith("checked"), f"{what}: other records in spite of checksums"
            library = apart(lambda path=path, names=list(outcome): h5pys(path, names))
            assert _agree(outcome, library), f"{what}: streamload reads what the library does not: {library}"
        path.unlink()
    return seen


def _agree(ours: dict[str, np.ndarray], library: object) -> bool:
    """Whether the HDF5 library reads the same from the damaged file: then that is what the file says now."""
    return isinstance(library, dict) and all(
        np.array_equal(np.asarray(library[name]).reshape(ours[name].shape).view("u1"), ours[name].view("u1"))
        if library[name].dtype == ours[name].dtype
        else np.array_equal(library[name].reshape(ours[name].shape), ours[name])
        for name in ours
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every layout's file."""
    folder = tmp_path_factory.mktemp("whole")
    for name, write in LAYOUTS.items():
        write(folder / f"{name}.h5")
    return {name: (folder / f"{name}.h5").read_bytes() for name in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_cut_at_any_percent_is_refused(layout: str, whole: dict[str, bytes], tmp_path: Path):
    """Never fewer records, never zeros."""
    seen = judge(layout, truncations(whole[layout]), tmp_path)
    assert seen["other records"] == 0
    assert seen["the same records"] == 0
    assert sum(seen.values()) == 100


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flipped_bytes_give_the_same_records_or_an_error(layout: str, whole: dict[str, bytes], tmp_path: Path):
    """In data and metadata alike; without checksums, at most what the damaged file says to the HDF5 library too."""
    seen = judge(layout, flips(whole[layout], QUICK_APART if layout in LIBRARY else QUICK, 1), tmp_path)
    assert seen["the same records"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_flipped_bytes_by_the_thousand(layout: str, whole: dict[str, bytes], tmp_path: Path):
    """The same, at length."""
    judge(layout, flips(whole[layout], MANY_APART if layout in LIBRARY else MANY, 2), tmp_path)

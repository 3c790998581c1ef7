"""What the errors of a loader say would do, does it: every memory and every window that they name is tried."""

from __future__ import annotations

import re
import warnings
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl

CURES = re.compile(r'memory="(?P<memory>[^"]+)"|Block\(window="(?P<window>[^"]+)"\)|batch_size=(?P<batch_size>[0-9]+)')
MOST_STEPS = 2
"""A window that holds a block may need more memory, as its hint says."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, sl.Source]:
    """Files with blocks of 200 KB, and of 6 MB."""
    folder, made = tmp_path_factory.mktemp("hints"), {}
    for name, records, side, chunk in (("small blocks", 2000, 64, 16), ("large blocks", 200, 200, 50)):
        with h5py.File(folder / f"{chunk}.h5", "w", libver=("earliest", "v110")) as file:
            images = file.create_dataset("image", (records, side, side, 3), "u1", chunks=(chunk, side, side, 3), compression="gzip")
            images[0] = 1  # the rest is never written
            file["label"] = np.repeat(np.arange(10), records // 10)
        made[name] = sl.open(folder / f"{chunk}.h5")
    return made


def error_of(source: sl.Source, options: dict[str, Any]) -> sl.StreamloadError | None:
    """What keeps a loader from being made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that windows are small
        try:
            sl.Loader(source, **options).close()
        except sl.StreamloadError as error:
            return error
    return None


def cures(error: sl.StreamloadError) -> list[dict[str, Any]]:
    """The arguments that an error names in its hint, each by itself."""
    found: list[dict[str, Any]] = []
    for match in CURES.finditer(error.hint):
        memory, window, batch_size = match.group("memory", "window", "batch_size")
        found.append({"memory": memory} if memory else {"shuffle": sl.Block(window=window)} if window else {"batch_size": int(batch_size)})
    return found


@pytest.mark.parametrize(
    ("order", "workers"),
    [(True, 0), (True, 2), (sl.Block(window="1 B"), 0), (sl.Block(window="200 MB"), 0), (sl.Block(window="6 MB"), 0), (sl.Exact(), 2)],
    ids=str,
)
@pytest.mark.parametrize("memory", ["5 MB", "20 MB", "60 MB"])
@pytest.mark.parametrize("blocks", ["small blocks", "large blocks"])
def test_what_a_hint_names_works(sources: dict[str, sl.Source], blocks: str, memory: str, order: Any, workers: int):
    """Each cure, alone; where it is no more than half of one, with that which the next error names."""
    options = {"batch_size": 64, "shuffle": order, "num_workers": workers, "memory": memory}
    error = error_of(sources[blocks], options)
    for cure in cures(error) if error is not None else ():
        tried, left = options | cure, MOST_STEPS - 1
        while (again := error_of(sources[blocks], tried)) is not None and left:
            assert "memory= to match" in (error.hint if error is not None else ""), (cure, str(again))
            tried, left = tried | cures(again)[0], left - 1
        assert again is None, (cure, str(again))
    if error is not None:
        assert cures(error), str(error)

"""Pages, chunks, batches and shards of every kind, side by side, in every order: to the byte, epoch after epoch, back and forth."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import streamload as sl
from kinds import mixtures, storages
from kinds.mixtures import MIXTURES, RECORDS, Records
from kinds.pairs import Choice, name_of, pairs
from streamload import testing

ORDERS: dict[str, Any] = {"sequential": False, "exact": sl.Exact(), "block": sl.Block(window="64 KB"), "picked": True}


class Folders:
    """Each mixture, written and opened when it is first asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._held = mixtures.records()
        self._known: dict[str, tuple[sl.Source, Records]] = {}

    def get(self, mixture: str) -> tuple[sl.Source, Records]:
        """A source over it, which holds no file open, and its records."""
        if mixture not in self._known:
            folder = self._factory.mktemp("mixture")
            MIXTURES[mixture](folder, self._held)
            expected = mixtures.expected(mixture, self._held)
            self._known[mixture] = sl.open(folder, fields=list(expected), **mixtures.options(mixture)), expected
        return self._known[mixture]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Mixtures that these tests share."""
    return Folders(tmp_path_factory)


def allowed(choice: Choice) -> bool:
    """Whether there is such a way to read: a process of the user's maps nothing."""
    return choice["io"] != "mmap" or choice["workers"] > 0


CHOICES = pairs({"mixture": list(MIXTURES), "order": list(ORDERS), "workers": (0, 2), "io": ("read", "mmap", "direct")}, allowed)


@pytest.mark.parametrize("choice", CHOICES, ids=name_of)
def test_three_epochs_over_every_mixture(choice: Choice, folders: Folders):
    """Each record once an epoch, with the bytes that were written."""
    source, expected = folders.get(choice["mixture"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these files are far too small to mix well
        loader = sl.Loader(source, batch_size=17, shuffle=ORDERS[choice["order"]], num_workers=choice["workers"], io=choice["io"], seed=2)
    with loader:
        for epoch in loader.epochs(3):
            numbers: list[int] = []
            for batch in epoch:
                assert storages.differences(batch, expected, batch.records) == {}
                numbers += batch.records.tolist()
            assert sorted(numbers) == list(range(RECORDS))


@pytest.mark.parametrize("mixture", MIXTURES)
def test_back_and_forth_over_every_mixture(mixture: str, folders: Folders):
    """Block against block with one reader, then any records from anywhere: what came before never changes what comes next."""
    source, expected = folders.get(mixture)
    with source:
        testing.check_memory(source, expected)
        rng = np.random.default_rng(0)
        for size in rng.choice([1, 2, 3, 20, 200], 40).tolist():
            start = int(rng.integers(0, RECORDS))
            records = np.arange(start, min(start + size, RECORDS)) if rng.integers(2) else rng.integers(0, RECORDS, size)
            assert storages.differences(source.take(records), expected, records) == {}

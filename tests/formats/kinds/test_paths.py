"""Values of every kind go through every path to a batch, from every storage, in every order: the same bytes as the library reads."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import streamload as sl
from kinds import storages
from kinds.pairs import Choice, name_of, pairs
from kinds.storages import PICTURE, STORAGES, Expected, Library
from kinds.values import RECORDS, difference
from streamload.formats.hdf5.columns import field_columns
from streamload.formats.tables import table
from streamload.storage import disk_cache

ORDERS: dict[str, Any] = {"sequential": False, "exact": sl.Exact(), "block": sl.Block()}
BATCH_SIZE = 8


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Files that these tests share."""
    return Library(tmp_path_factory.mktemp("kinds"))


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No field is so small that it is held in memory: all go the way of large ones."""
    monkeypatch.setattr(table, "RESIDENT_RECORD_NBYTES", -1)
    monkeypatch.setattr(field_columns, "RESIDENT_RECORD_NBYTES", -1)


@contextmanager
def loading(data: sl.Source, choice: Choice, **options: Any) -> Iterator[sl.Loader]:
    """A loader as the choice says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these files are far too small to mix well
        asked = {"batch_size": BATCH_SIZE, "shuffle": ORDERS[choice["order"]], "num_workers": choice["workers"], "seed": 3, "io": "read"}
        with sl.Loader(data, **(asked | options)) as loader:
            yield loader


def deliver(data: sl.Source, choice: Choice, expected: Expected, *, records: int = RECORDS, **options: Any) -> sl.Stats:
    """Check each batch of two epochs, and that each record came once."""
    with loading(data, choice, **options) as loader:
        for epoch in loader.epochs(2):
            numbers: list[int] = []
            for batch in epoch:
                assert storages.differences(batch, expected, batch.records) == {}
                numbers += batch.records.tolist()
            assert len(numbers) == len(set(numbers)) == records
        return loader.stats


def plainly(choice: Choice, library: Library) -> None:
    """Into slots, by way of windows where blocks must be decoded; or from memory, where fields are small and held there."""
    deliver(*opened(choice, library))


def opened(choice: Choice, library: Library) -> tuple[sl.Source, Choice, Expected]:
    """What `deliver` needs."""
    data, expected = library.source(choice["storage"], how="held" if choice["path"] == "resident" else "")
    return data, choice, expected


def mapped(choice: Choice, library: Library) -> None:
    """From files that workers map."""
    deliver(*opened(choice, library), io="mmap")


def past_the_cache(choice: Choice, library: Library) -> None:
    """Past the page cache, which only large records and chunks are."""
    data, expected = library.source(choice["storage"], large=True)
    deliver(data, choice, expected, records=storages.LARGE_RECORDS, io="direct")


def same(record: dict[str, Any]) -> dict[str, Any]:
    """A function that changes nothing."""
    return record


def transformed(choice: Choice, library: Library) -> None:
    """Through a function of the user's."""
    data, _, expected = opened(choice, library)
    deliver(data, choice, expected, transform=same)


def _with_bad_records(choice: Choice, library: Library, policy: str) -> None:
    data, expected = library.source(choice["storage"], pictures=True)
    with loading(data, choice, on_bad_record=policy) as loader:
        for batch in loader:
            assert not set(batch.records.tolist()) & set(storages.BAD)
            assert batch[PICTURE].tobytes() == b"".join(storages.picture(record).tobytes() for record in batch.records.tolist())
            assert storages.differences(batch, expected, batch.records) == {}
        assert loader.stats.bad_records == len(storages.BAD)


def skipped(choice: Choice, library: Library) -> None:
    """Beside images some of which are left out, and their records with them."""
    _with_bad_records(choice, library, "skip")


def substituted(choice: Choice, library: Library) -> None:
    """Beside images in whose place others come, with all their fields."""
    _with_bad_records(choice, library, "substitute")


def overflown(choice: Choice, library: Library) -> None:
    """In a batch of the longest records alone, which lies in memory of its own."""
    assert deliver(*opened(choice, library)).overflows == 2


def held(choice: Choice, library: Library) -> None:
    """In batches that are all kept to the end: some are copied."""
    data, _, expected = opened(choice, library)
    with loading(data, choice) as loader:
        batches = [batch for epoch in loader.epochs(3) for batch in epoch]
        assert loader.stats.copies > 0
        for batch in batches:
            assert storages.differences(batch, expected, batch.records) == {}


def joined(choice: Choice, library: Library) -> None:
    """From sources that are joined by record."""
    path, expected = library.file(choice["storage"])
    names = list(expected)[RECORDS % 7 :: 9]
    with sl.open({name: sl.open(path, fields=[name]) for name in names}) as data:
        deliver(data, choice, {name: expected[name] for name in names})


def chosen(choice: Choice, library: Library) -> None:
    """As a subset."""
    some = np.flatnonzero(np.arange(RECORDS) % 3)
    deliver(*opened(choice, library), records=len(some), indices=some)


def recalled(choice: Choice, library: Library) -> None:
    """From a plan that was kept by an earlier run."""
    path, expected = library.file(choice["storage"])
    names = list(expected)[1::2]
    for _ in range(2):
        with sl.open(path, fields=names) as data:
            found = data.columns
    with data:
        deliver(data, choice, {name: expected[name] for name in names})
    assert len(found) == len(names)


def taken(choice: Choice, library: Library) -> None:
    """Record by record, without a loader, in any order."""
    data, _, expected = opened(choice, library)
    rng = np.random.default_rng(choice["workers"])
    with data:
        for records in [np.arange(RECORDS), *(rng.integers(0, RECORDS, size) for size in (1, 5, 40, 1, 3))]:
            assert storages.differences(data.take(records), expected, records) == {}
        one = data[3]
    for name, values in expected.items():
        if not hasattr(values, "offsets"):
            assert difference(np.array([one[name]], values.dtype), np.ascontiguousarray(values[3:4])) == ""


PATHS: dict[str, Callable[[Choice, Library], None]] = {
    "plain": plainly,
    "resident": plainly,
    "mapped": mapped,
    "past the cache": past_the_cache,
    "transform": transformed,
    "bad records skipped": skipped,
    "bad records substituted": substituted,
    "overflow": overflown,
    "held": held,
    "joined": joined,
    "subset": chosen,
    "kept plan": recalled,
    "taken": taken,
}


def allowed(choice: Choice) -> bool:
    """Whether a path exists for a storage, an order and so many workers."""
    path, storage = choice["path"], choice["storage"]
    if path == "mapped" and not choice["workers"]:
        return False  # A process of the user's maps nothing.
    if path == "overflow" and (choice["order"] != "sequential" or "np" in storage or "virtual" in storage):
        return False  # Ragged records, the longest of which come together.
    if path.startswith("bad") and "virtual" in storage:
        return False
    return path != "taken" or choice["order"] == "sequential"


CHOICES = pairs({"storage": list(STORAGES), "path": list(PATHS), "order": list(ORDERS), "workers": (0, 2)}, allowed)


@pytest.mark.parametrize("choice", CHOICES, ids=name_of)
def test_every_kind_through_every_path(choice: Choice, library: Library, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """All kinds that the storage holds, side by side."""
    if choice["path"] != "resident":
        request.getfixturevalue("streamed")
    if choice["path"] == "kept plan":
        monkeypatch.setattr(disk_cache, "SETTLED_NS", -(10**10))
        monkeypatch.setattr(disk_cache, "WORTH_SECONDS", -1)
    PATHS[choice["path"]](choice, library)

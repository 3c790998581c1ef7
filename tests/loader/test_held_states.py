"""A batch that is held knows the state after it, whatever becomes of its loader; and a copy's state is the original's."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only", "ignore:The state was made with", "ignore:You hold more than")

N = 60
WEIGHTS = np.arange(1.0, N + 1)


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.repeat(np.arange(N)[:, None], 4, 1), chunks=(2, 4), compression="gzip")
    return sl.open(tmp_path / "a.h5")


def made(data: sl.Source | sl.Mixture, **options: Any) -> sl.Loader:
    return sl.Loader(data, **{"batch_size": 10, "num_workers": 0, "shuffle": sl.Block(window=256), **options})


def lanes(loader: sl.Loader) -> None:
    """Have a loader go on with as many lanes as the state of another has."""
    with made(loader._plan.parts[0].data, shuffle=sl.Block(window=256, lanes=3)) as other:
        next(iter(other))
        loader.load_state_dict(other.state_dict())


CHANGES: dict[str, Callable[[sl.Loader], object]] = {
    "other weights": lambda loader: loader.set_weights(WEIGHTS),
    "other lanes": lanes,
    "another batch size": lambda loader: loader.set_batch_size(6),
    "closed": lambda loader: loader.close(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("asked", [True, False], ids=["asked before", "asked after"])
def test_a_held_batch_says_the_state_of_the_run_that_it_is_of(data: sl.Source, change: str, asked: bool) -> None:
    """Not that of the run that the loader is in now: its position would name other records there."""
    with made(data) as loader:
        batches = list(loader)
        expected = batches[2].state_dict() if asked else None
        CHANGES[change](loader)
        state = batches[2].state_dict()
        copied = copy.deepcopy(batches[2]).state_dict()
    assert state == copied == (expected or state)
    assert (state["weights"], state["lanes"], state["batch_size"], state["position"]) == (None, 1, 10, 30)
    with made(data) as loader:
        loader.load_state_dict(state)
        assert [batch.records.tolist() for batch in loader] == [batch.records.tolist() for batch in batches[3:]]


def test_counts_of_a_mixture_that_no_memory_holds_are_refused(data: sl.Source) -> None:
    """By a size that can be read."""
    mixed = sl.mix({"a": (data, 6), "b": (data, 4)})
    with made(mixed, shuffle=True) as loader:
        state = loader.state_dict()
        state["parts"]["b"]["batch_size"] = 2**60
        with pytest.raises(sl.ResourceError, match=r'Give memory="[0-9,]+ TB"|[0-9,]+ TB'):
            loader.load_state_dict(state)
        with pytest.raises(sl.ConfigError, match=r"seek\(\) was told epoch=4,\S*, in which a part of the mixture is in an epoch beyond"):
            loader.seek(epoch=2**62)
        assert loader.state_dict()["parts"]["b"]["batch_size"] == 4


def test_a_held_batch_keeps_no_loader(data: sl.Source) -> None:
    """It is of the past: workers end with the last reference to their loader."""
    loader = made(data, num_workers=1)
    batch = next(iter(loader))
    (pid,) = loader.worker_pids
    gone = weakref.ref(loader)
    del loader
    gc.collect()
    assert gone() is None
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert batch.state_dict()["position"] == 10
    assert (batch["x"][:, 0] == batch.records).all()


def test_the_state_of_a_copy_carries_a_batch_size_that_was_set(data: sl.Source) -> None:
    """As that of the original: a loader that is made as the original was goes on with it."""
    with made(data) as loader:
        list(loader)
        loader.set_batch_size(6)
        with copy.copy(loader) as other, copy.copy(other) as another:
            assert other.state_dict() == another.state_dict() == loader.state_dict()
            state = another.state_dict()
            with made(data) as fresh:
                other.load_state_dict(fresh.state_dict())
                assert other.batch_size == 10
    with made(data) as fresh:
        fresh.load_state_dict(state)
        assert len(next(iter(fresh)).records) == fresh.batch_size == 6

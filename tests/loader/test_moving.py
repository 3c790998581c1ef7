"""Where a pass over the records begins: only the first `next` decides, and whoever trains can say where."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_files import STEPS, epochs, places, taken, whole, window, write

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

WORKERS = pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """100 records: four steps of up to 30."""
    return sl.open(write(tmp_path / "data.h5"))


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sl.Loader]:
    """A loader that outlives one test, with everything open that it will ever open."""
    with sl.Loader(sl.open(write(tmp_path_factory.mktemp("moving") / "data.h5")), batch_size=30, num_workers=0) as loader:
        assert len(places(loader)) == STEPS
        yield loader


class TestTheFirstNextDecides:
    """Asking for an iterator moves nothing: trainers do it to see whether they may."""

    @WORKERS
    def test_iterators_that_are_not_used_leave_a_loaded_state_as_it_is(self, data: sl.Source, workers: int) -> None:
        with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
            next(iter(loader))
            state = loader.state_dict()
            loader.load_state_dict(state)
            iter(loader)
            iter(loader)
            assert loader.state_dict() == state
            assert places(loader) == whole(0, 1)
            assert places(loader) == whole(1)

    def test_an_iterator_from_before_a_move_begins_where_the_loader_stands_then(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=1) as loader:
            early = iter(loader)
            loader.seek(epoch=5, step=2)
            assert early.index == 5
            assert places(early) == whole(5, 2)

    def test_asking_for_another_iterator_closes_nothing(self, data: sl.Source) -> None:
        """Using it does."""
        with sl.Loader(data, batch_size=30, num_workers=1) as loader:
            first = iter(loader)
            next(first)
            second = iter(loader)
            assert next(first).step == 1
            assert next(second).epoch == 1
            with pytest.raises(sl.LoaderClosedError, match="iterator over epoch 0 was closed: a newer iterator of the same loader began"):
                next(first)

    def test_an_unused_iterator_says_which_epoch_it_would_begin(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            waiting = iter(loader)
            assert (waiting.index, len(waiting)) == (0, STEPS)
            places(loader)
            assert waiting.index == 1
            assert repr(waiting) == "<Epoch 1: 4 steps>"


class TestSetEpoch:
    """`set_epoch`, as trainers call it: after `iter`, before the first batch, once an epoch."""

    @WORKERS
    def test_the_next_pass_is_that_epoch_from_its_start(self, data: sl.Source, workers: int) -> None:
        with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
            for epoch in (0, 1, 2, 7, 3, 3):
                iterator = iter(loader)
                loader.set_epoch(epoch)
                assert iterator.index == epoch
                assert places(iterator) == whole(epoch)
            assert places(loader) == whole(4)

    @pytest.mark.parametrize(
        ("asked", "found"), [(0, whole(2, 1)), (2, whole(2, 1)), (3, whole(3)), (9, whole(9))], ids=["earlier", "same", "next", "later"]
    )
    def test_after_a_loaded_state_only_a_later_epoch_begins_anew(self, data: sl.Source, asked: int, found: list[tuple[int, int]]) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            loader.seek(epoch=2, step=1)
            state = loader.state_dict()
            loader.load_state_dict(state)
            loader.set_epoch(asked)
            assert places(loader) == found
            assert places(loader) == whole(found[0][0] + 1)

    def test_the_last_word_counts(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            loader.seek(epoch=2, step=1)
            loader.set_epoch(9)
            loader.set_epoch(2)
            assert places(loader) == whole(2, 1)

    def test_a_pass_under_way_goes_on(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=1) as loader:
            seen: list[tuple[int, int]] = []
            for batch in loader:
                seen += places([batch])
                if batch.step == 1:
                    loader.set_epoch(6)
                    assert loader.state_dict()["epoch"] == 0
            assert seen == whole(0)
            assert places(loader) == whole(6)

    def test_inside_a_loop_over_epochs_it_changes_nothing(self, data: sl.Source) -> None:
        """Whoever is used to calling it may go on doing so; the loop itself says which epoch it is."""
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            loader.set_epoch(1)
            seen = []
            for epoch in loader.epochs(3):
                loader.set_epoch(epoch.index)
                for batch in epoch:
                    seen += places([batch])
                    loader.set_epoch(epoch.index)
            assert seen == [*whole(1), *whole(2)]

    def test_a_state_taken_after_it_stands_there(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader, sl.Loader(data, batch_size=30, num_workers=0) as other:
            places(loader)
            loader.set_epoch(4)
            other.load_state_dict(loader.state_dict())
            assert places(other) == places(loader) == whole(4)

    @pytest.mark.parametrize(
        ("epoch", "said"),
        [
            (-1, "epoch=-1 is out of range. Give an int, at least 0, at most 4,611,686,018,427,387,904."),
            (1.5, "epoch=1.5 is not a whole number."),
            (True, "epoch=True is not a whole number."),
            (None, "epoch=None is not a whole number."),
        ],
        ids=str,
    )
    def test_what_is_no_epoch_is_refused(self, data: sl.Source, epoch: Any, said: str) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            with pytest.raises(sl.ConfigError) as caught:
                loader.set_epoch(epoch)
            assert said in str(caught.value)
            assert places(loader) == whole(0)


class TestSeek:
    """`seek` stands anywhere, as a loaded state does."""

    @given(epoch=st.integers(0, 3), step=st.integers(0, STEPS), by=st.sampled_from(["place", "total", "NumPy", "words"]))
    def test_every_place_is_found(self, standing: sl.Loader, epoch: int, step: int, by: str) -> None:
        """By epoch and step, or by steps counted through epochs; the end of an epoch is the beginning of the next, counted so."""
        if by == "total":
            standing.seek(total_step=epoch * STEPS + step)
            epoch, step = divmod(epoch * STEPS + step, STEPS)
        elif by == "NumPy":
            standing.seek(np.int64(epoch), np.array(step))
        elif by == "words":
            standing.seek(epoch=epoch, step=step)
        else:
            standing.seek(epoch, step)
        assert (standing.state_dict()["epoch"], standing.state_dict()["position"]) == (epoch, min(30 * step, 100))
        assert places(standing) == whole(epoch, step)
        assert places(standing) == whole(epoch + 1)

    def test_a_loop_over_epochs_goes_on_from_there(self, data: sl.Source) -> None:
        """Also where it was moved in its middle, as after a loss that is not a number."""
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            loader.seek(epoch=1, step=3)
            seen = []
            back = True
            for epoch in loader.epochs(4):
                seen += places(epoch)
                if epoch.index == 2 and back:
                    loader.seek(epoch=1, step=2)
                    back = False
            assert seen == [*whole(1, 3), *whole(2), *whole(1, 2), *whole(2), *whole(3)]

    def test_the_iterator_under_way_is_closed(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            iterator = iter(loader)
            next(iterator)
            loader.seek(total_step=9)
            with pytest.raises(sl.LoaderClosedError, match="this iterator over epoch 0 was closed: the loader was moved by seek"):
                next(iterator)
            assert places(loader) == whole(2, 1)

    @pytest.mark.parametrize(
        ("place", "said"),
        [
            ({}, "seek() was not told where. Give an epoch, or total_step."),
            ({"step": 2}, "seek() was not told where. Give an epoch, or total_step."),
            ({"epoch": 1, "total_step": 3}, "seek() was told two places: epoch=1 and total_step=3. Give one of them."),
            ({"total_step": 3, "step": 1}, "seek() was told two places: step=1 and total_step=3. Give one of them."),
            ({"epoch": 1, "step": 5}, "step=5 is out of range. Give an int, at least 0, at most 4."),
            ({"epoch": -1}, "epoch=-1 is out of range."),
            ({"total_step": 1.0}, "total_step=1.0 is not a whole number."),
        ],
        ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
    )
    def test_what_is_no_place_is_refused(self, data: sl.Source, place: dict[str, Any], said: str) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            with pytest.raises(sl.ConfigError) as caught:
                loader.seek(**place)
            assert said in str(caught.value)
            assert places(loader) == whole(0)

    def test_without_steps_there_is_one_place(self, tmp_path: Path) -> None:
        with sl.Loader(sl.open(write(tmp_path / "none.h5", 0)), batch_size=3, num_workers=0) as loader:
            loader.seek(total_step=0)
            assert list(loader) == []
            with pytest.raises(sl.ConfigError, match=r"total_step=1 is out of range. Give an int, at least 0, at most 0."):
                loader.seek(total_step=1)


@WORKERS
@pytest.mark.parametrize("shuffle", [sl.Exact(), window(24)], ids=["exact", "block"])
def test_a_batch_knows_the_state_after_it(data: sl.Source, workers: int, shuffle: object) -> None:
    """Whoever prefetches batches saves the state of the one that was trained on, not of the one that was fetched."""
    with sl.Loader(data, batch_size=30, num_workers=workers, shuffle=shuffle) as loader, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fetched = [batch for epoch in loader.epochs(2) for batch in epoch]
        expected = taken(fetched)
        for at, batch in enumerate(fetched):
            state = json.loads(json.dumps(batch.state_dict()))
            loader.load_state_dict(state)
            assert loader.state_dict() == state
            assert epochs(loader, 2) == expected[at + 1 :]


def converted(state: dict[str, Any], kind: str) -> Any:
    """A state as it comes back from a checkpoint of some framework."""
    made = {
        "NumPy integers": lambda value: np.uint64(value),
        "0-d arrays": lambda value: np.array(value),
    }[kind]
    return {name: made(value) if isinstance(value, int) else value and np.str_(value) for name, value in state.items()}


@pytest.mark.parametrize("kind", ["NumPy integers", "0-d arrays"])
def test_numbers_of_a_state_may_come_back_as_arrays(data: sl.Source, kind: str) -> None:
    """Checkpoints of frameworks store arrays, and give arrays back."""
    with sl.Loader(data, batch_size=30, num_workers=0, seed=7) as loader:
        loader.seek(epoch=3, step=2)
        state = loader.state_dict()
        loader.seek(epoch=0)
        loader.load_state_dict(converted(state, kind))
        assert loader.state_dict() == state
        assert all(value is None or type(value) in (int, str) for value in loader.state_dict().values())
        assert places(loader) == whole(3, 2)


@pytest.mark.parametrize("value", [np.float64(2), np.array([0, 1]), np.array(True), np.True_, "2"], ids=repr)
def test_numbers_that_are_none_are_refused(data: sl.Source, value: Any) -> None:
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        with pytest.raises(sl.StateError, match=r"the state's epoch is .*, which is not a whole number from 0 to"):
            loader.load_state_dict({**loader.state_dict(), "epoch": value})
        assert places(loader) == whole(0)

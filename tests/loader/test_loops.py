"""Loops over epochs and steps: where they go on, when nothing is left for them, and how they are broken off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loader_files import STEPS, epochs, places, taken, whole, write

import streamload as sl

WORKERS = pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """100 records: four steps of up to 30."""
    return sl.open(write(tmp_path / "data.h5"))


class TestEpochsThatAreOver:
    """A cell of a notebook that is run twice does nothing the second time, and says so."""

    def test_says_where_the_loader_stands_and_what_goes_on(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            assert len(epochs(loader, 2)) == 8
            with pytest.warns(UserWarning, match="nothing is left") as caught:
                assert list(loader.epochs(2)) == []
            (said,) = caught
            assert str(said.message) == "The loader stands at the end of epoch 1 of 2: nothing is left; epochs(4) goes on."
            assert said.filename == __file__
            assert places(batch for epoch in loader.epochs(4) for batch in epoch) == [*whole(2), *whole(3)]

    def test_says_so_where_it_stands_beyond(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            loader.seek(epoch=5)
            with pytest.warns(
                UserWarning, match=r"stands at the beginning of epoch 5, beyond epochs\(3\): nothing is left; epochs\(8\) goes on"
            ):
                assert list(loader.epochs(3)) == []
            loader.seek(epoch=5, step=2)
            with pytest.warns(UserWarning, match=r"stands at step 2 of epoch 5, beyond epochs\(3\): nothing is left; epochs\(8\) goes on"):
                assert list(loader.epochs(3)) == []

    def test_the_end_that_was_resumed_is_no_surprise(self, data: sl.Source) -> None:
        """Code after an epoch runs once more, as it should; the next call says that nothing is left."""
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            loader.seek(epoch=1, step=STEPS)
            assert [(epoch.index, places(epoch)) for epoch in loader.epochs(2)] == [(1, [])]
            with pytest.warns(UserWarning, match="stands at the end of epoch 1 of 2"):
                assert list(loader.epochs(2)) == []

    def test_no_epochs_at_all_is_no_surprise(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            assert list(loader.epochs(0)) == []
            with pytest.raises(sl.ConfigError, match=r"stop=2.5 is not a whole number"):
                loader.epochs(2.5)


class TestSteps:
    """Training by steps goes through epochs without naming them."""

    @WORKERS
    def test_hands_out_up_to_a_total_step(self, data: sl.Source, workers: int) -> None:
        with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
            first = taken(loader.steps(6))
            assert [batch[:2] for batch in first] == [*whole(0), (1, 0), (1, 1)]
            assert [batch.total_step for batch in loader.steps(10)] == [6, 7, 8, 9]
            loader.seek(epoch=0)
            assert epochs(loader, 2)[:6] == first

    @WORKERS
    def test_the_same_line_finishes_what_was_resumed(self, data: sl.Source, workers: int) -> None:
        """From every step, also the ends of epochs."""
        with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
            for done in range(10):
                loader.seek(epoch=0)
                seen = [batch.total_step for batch in loader.steps(done)] if done else []
                loader.load_state_dict(loader.state_dict())
                assert seen + [batch.total_step for batch in loader.steps(10)] == list(range(10))

    def test_goes_on_after_a_break(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=1) as loader:
            for batch in loader.steps(10):
                if batch.total_step == 5:
                    break
            assert [batch.total_step for batch in loader.steps(8)] == [6, 7]
            assert places(loader) == whole(2)

    def test_says_when_nothing_is_left(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=0) as loader:
            assert len(list(loader.steps(2))) == 2
            with pytest.warns(UserWarning, match="nothing is left") as caught:
                assert list(loader.steps(2)) == []
            (said,) = caught
            assert str(said.message) == "The loader stands after step 2 of 2: nothing is left; steps(4) goes on."
            assert said.filename == __file__
            assert list(loader.steps(0)) == []
            with pytest.raises(sl.ConfigError, match="stop=-1 is out of range"):
                loader.steps(-1)

    def test_of_nothing_is_an_error_and_no_endless_loop(self, tmp_path: Path) -> None:
        with (
            sl.Loader(sl.open(write(tmp_path / "none.h5", 0)), batch_size=3, num_workers=0) as loader,
            pytest.raises(sl.ConfigError, match=r"steps\(5\) of a loader that has none: 0 records in batches of 3\."),
        ):
            next(loader.steps(5))


class TestFirstEpoch:
    """A loader may begin later."""

    @WORKERS
    def test_begins_there(self, data: sl.Source, workers: int) -> None:
        with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
            loader.seek(epoch=3)
            expected = epochs(loader, 5)
        with sl.Loader(data, batch_size=30, num_workers=workers, first_epoch=3) as loader:
            assert loader.state_dict()["epoch"] == 3
            assert epochs(loader, 5) == expected
        with sl.Loader(data, batch_size=30, num_workers=workers, first_epoch=3) as loader:
            assert [taken(loader), taken(loader)] == [expected[:4], expected[4:]]

    def test_what_is_none_is_refused(self, data: sl.Source) -> None:
        with pytest.raises(sl.ConfigError, match="first_epoch=-1 is out of range"):
            sl.Loader(data, batch_size=30, num_workers=0, first_epoch=-1)


def endless(loader: sl.Loader) -> Iterator[sl.Batch]:
    while True:
        yield from loader


def test_a_generator_over_a_loader_can_be_closed(data: sl.Source) -> None:
    """`yield from` hands `close` on to what it iterates over."""
    with sl.Loader(data, batch_size=30, num_workers=1) as loader:
        batches = (batch for batch in endless(loader))
        assert [next(batches).step for _ in range(6)] == [0, 1, 2, 3, 0, 1]
        batches.close()
        stopped = endless(loader)
        assert next(stopped).epoch == 2
        stopped.close()
        assert loader.state_dict()["position"] == 30
        assert places(loader) == whole(3)


def test_an_iterator_that_was_closed_says_so(data: sl.Source) -> None:
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        iterator = iter(loader)
        next(iterator)
        iterator.close()
        iterator.close()
        with pytest.raises(sl.LoaderClosedError, match=r"this iterator over epoch 0 was closed: its close\(\) was called\."):
            next(iterator)
        unused = iter(loader)
        unused.close()
        with pytest.raises(sl.LoaderClosedError, match=r"its close\(\) was called"):
            next(unused)
        assert places(loader) == whole(1)

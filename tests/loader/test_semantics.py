"""What a loop over a loader means: lengths, ends, epochs that move on, and batches as mappings."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from loader_files import SHAPE, epochs, taken, values, window, write

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows

WORKERS = pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """100 records."""
    return sl.open(write(tmp_path / "data.h5"))


@pytest.mark.filterwarnings("ignore:An epoch has no step")  # a last batch that is left out may be the only one
@WORKERS
@pytest.mark.parametrize(
    ("batch_size", "drop_last", "lengths"),
    [
        (25, False, [25] * 4),
        (25, True, [25] * 4),
        (30, False, [30, 30, 30, 10]),
        (30, True, [30, 30, 30]),
        (99, False, [99, 1]),
        (99, True, [99]),
        (100, True, [100]),
        (101, False, [100]),
        (101, True, []),
        (10**9, False, [100]),
        (1, True, [1] * 100),
    ],
    ids=str,
)
def test_steps_of_an_epoch(data: sl.Source, workers: int, batch_size: int, drop_last: bool, lengths: list[int]) -> None:
    """`len` is the number of steps; only the last batch may be smaller, and `drop_last` drops it."""
    with sl.Loader(data, batch_size=batch_size, drop_last=drop_last, num_workers=workers) as loader:
        assert len(loader) == len(lengths)
        for number in range(2):
            epoch = iter(loader)
            assert (epoch.index, len(epoch)) == (number, len(lengths))
            assert [len(batch["image"]) for batch in epoch] == lengths


@WORKERS
def test_an_epoch_holds_every_record_once_and_the_next_another_order(data: sl.Source, workers: int) -> None:
    with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
        first, second = ([record for batch in loader for record in batch.records] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first != sorted(first)


@WORKERS
@pytest.mark.parametrize("drop_last", [False, True], ids=["all", "drop_last"])
@pytest.mark.parametrize("shuffle", [True, False, sl.Exact(), sl.Block()], ids=repr)
def test_no_records_give_no_steps_and_no_error(tmp_path: Path, workers: int, drop_last: bool, shuffle: object) -> None:
    data = sl.open(write(tmp_path / "none.h5", 0))
    with sl.Loader(data, batch_size=8, shuffle=shuffle, drop_last=drop_last, num_workers=workers) as loader:
        assert len(loader) == 0
        assert list(loader) == []
        assert [len(list(epoch)) for epoch in loader.epochs(3)] == [0, 0], "the first has passed"
        loader.load_state_dict(loader.state_dict())
        assert list(loader) == []


@WORKERS
def test_an_empty_subset_gives_no_steps(data: sl.Source, workers: int) -> None:
    said = r"An epoch has no step: of 100 records, none is chosen\."
    with pytest.warns(UserWarning, match=said), sl.Loader(data, batch_size=8, indices=np.zeros(100, bool), num_workers=workers) as loader:
        assert list(loader) == []


@WORKERS
@pytest.mark.parametrize("shuffle", [True, False, sl.Exact(), sl.Block()], ids=repr)
def test_one_record_is_one_step(tmp_path: Path, workers: int, shuffle: object) -> None:
    data = sl.open(write(tmp_path / "one.h5", 1), fields=["image", "label"])
    with sl.Loader(data, batch_size=8, shuffle=shuffle, num_workers=workers) as loader:
        for _ in range(3):
            (batch,) = list(loader)
            assert batch["image"].tobytes() == values(1)[0].tobytes()


def test_positions_in_a_batch_count_from_zero(data: sl.Source) -> None:
    """`epoch`, `step` and `total_step` say where a batch stands, and `records` what is in it."""
    images, labels = values(100)
    with sl.Loader(data, batch_size=30, num_workers=1) as loader:
        for total, batch in enumerate(batch for epoch in loader.epochs(3) for batch in epoch):
            assert (batch.epoch, batch.step, batch.total_step) == (total // 4, total % 4, total)
            assert batch.records.dtype == np.int64
            assert (batch["image"] == images[batch.records]).all()
            assert (batch["label"] == labels[batch.records]).all()


class TestEpochs:
    """Where `for` and `epochs` begin and end."""

    def test_epochs_runs_up_to_a_number(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=1) as loader:
            assert [epoch.index for epoch in loader.epochs(3) for _ in epoch] == [0] * 4 + [1] * 4 + [2] * 4
            with pytest.warns(UserWarning, match="nothing is left"):
                assert list(loader.epochs(3)) == []
            assert [epoch.index for epoch in loader.epochs(5) for _ in epoch] == [3] * 4 + [4] * 4

    def test_each_for_moves_on(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=1) as loader:
            assert [[batch.epoch for batch in loader] for _ in range(3)] == [[0] * 4, [1] * 4, [2] * 4]

    def test_a_for_after_a_break_begins_the_next_epoch(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            for batch in loader:
                assert batch.step < 2
                if batch.step == 1:
                    break
            assert [(batch.epoch, batch.step) for batch in loader] == [(1, step) for step in range(4)]

    def test_epochs_after_a_break_begins_the_next_epoch(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            seen = []
            for epoch in loader.epochs(3):
                for batch in epoch:
                    seen.append((batch.epoch, batch.step))
                    if batch.step == 1:
                        break
            assert seen == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]

    def test_a_new_call_of_epochs_goes_on_where_the_loader_stands(self, data: sl.Source) -> None:
        """`epochs(stop)` runs from where the loader stands."""
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            next(iter(loader))
            assert [(batch.epoch, batch.step) for epoch in loader.epochs(2) for batch in epoch] == [
                *((0, step) for step in range(1, 4)),
                *((1, step) for step in range(4)),
            ]

    def test_a_first_batch_begins_an_epoch_and_the_next_for_the_next(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            assert next(iter(loader)).epoch == 0
            assert next(iter(loader)).epoch == 1
            assert [batch.epoch for batch in loader] == [2] * 4

    def test_an_iterator_that_was_not_used_begins_nothing(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            iter(loader)
            assert [batch.epoch for batch in loader] == [0] * 4

    def test_the_same_batches_whether_by_for_or_by_epochs(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=2) as one, sl.Loader(data, batch_size=30, num_workers=0) as other:
            assert epochs(one, 3) == [batch for _ in range(3) for batch in taken(other)]

    def test_a_new_iterator_closes_the_old_one(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            old = iter(loader)
            next(old)
            new = iter(loader)
            assert next(new).epoch == 1
            with pytest.raises(
                sl.LoaderClosedError, match="this iterator over epoch 0 was closed: a newer iterator of the same loader began"
            ) as caught:
                next(old)
            assert "one iterator of a loader at a time; two loaders can run side by side" in caught.value.hint
            with pytest.raises(sl.LoaderClosedError, match="was closed"):
                next(old)
            assert [batch.epoch for batch in new] == [1] * 3

    def test_an_iterator_that_ended_stays_ended(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=30, num_workers=2) as loader:
            old = iter(loader)
            assert sum(1 for _ in old) == 4
            assert list(old) == []
            next(iter(loader))
            assert list(old) == []

    def test_a_closed_loader_says_so(self, data: sl.Source) -> None:
        loader = sl.Loader(data, batch_size=30, num_workers=2)
        epoch = iter(loader)
        next(epoch)
        state = loader.state_dict()
        loader.close()
        loader.close()
        with pytest.raises(sl.LoaderClosedError, match="this iterator over epoch 0 was closed: the loader was closed"):
            next(epoch)
        with pytest.raises(sl.LoaderClosedError, match="this loader was closed"):
            iter(loader)
        with pytest.raises(sl.LoaderClosedError, match="still says where it stood"):
            list(loader.epochs(3))
        assert loader.state_dict() == state
        assert loader.worker_pids == []
        assert loader.stats.steps == 1
        assert "100 records" in repr(loader)

    def test_a_loader_can_be_closed_inside_its_loop(self, data: sl.Source) -> None:
        loader = sl.Loader(data, batch_size=30, num_workers=2)
        with pytest.raises(sl.LoaderClosedError, match="was closed"):  # noqa: PT012 (the loop is what raises)
            for _ in loader:
                loader.close()


def first_batch(data: sl.Source) -> sl.Batch:
    """A batch of 30 records, whose loader is gone."""
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        return next(iter(loader))


class TestBatch:
    """A batch is a mapping."""

    def test_is_a_mapping_from_names_to_arrays(self, data: sl.Source) -> None:
        batch = first_batch(data)
        assert list(batch.keys()) == ["image", "label"]
        assert batch["image"].shape == (30, *SHAPE)
        assert dict(batch).keys() == {"image", "label"}
        assert dict(batch)["label"] is batch["label"]
        assert {**batch}["image"] is batch["image"]
        assert "image" in batch
        assert "mask" not in batch
        assert batch["image"].flags.writeable

    def test_gives_arrays_in_the_order_that_is_asked_for(self, data: sl.Source) -> None:
        batch = first_batch(data)
        label, image = batch.tuple("label", "image")
        assert label is batch["label"]
        assert image is batch["image"]

    def test_a_name_that_is_not_there_is_named_with_those_that_are(self, data: sl.Source) -> None:
        batch = first_batch(data)
        with pytest.raises(KeyError, match="no field 'mask' in this batch; it has 'image', 'label'"):
            batch["mask"]

    def test_unpacking_it_is_an_error_with_the_cure(self, data: sl.Source) -> None:
        """`for image, label in loader` would silently give names."""
        batch = first_batch(data)
        with pytest.raises(
            TypeError, match=r"unpacking it would give names, not arrays\. Write image, label = batch.tuple\('image', 'label'\)"
        ):
            _image, _label = batch
        with pytest.raises(TypeError, match="or dict\\(batch\\)"):
            _first, *_rest = batch

    def test_repr_says_what_it_is(self, data: sl.Source) -> None:
        batch = first_batch(data)
        assert repr(batch) == "<Batch 0 of epoch 0: image: uint8 (30, 5, 4, 3), label: int64 (30,)>"


def test_repr_of_a_loader_says_what_was_decided(data: sl.Source) -> None:
    """Defaults are shown: the order, the workers, and the memory."""
    with sl.Loader(data, batch_size=30, num_workers=2, seed=5, memory="100 MB") as loader:
        text = repr(loader)
        assert "data.h5: 100 records in 4 steps of 30 · Exact() · seed 5 · 2 workers · files are " in text
        assert "of 100 MB" in text
        assert repr(iter(loader)) == "<Epoch 0: 4 steps>"
    with sl.Loader(data, batch_size=30, shuffle=window(50), num_workers=0) as loader:
        assert "Block(window=3400" in repr(loader)
        assert "0 workers" in repr(loader)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"batch_size": 0}, "batch_size=0 is out of range. Give an int, at least 1."),
        ({"batch_size": 2.0}, "batch_size=2.0 is not a whole number."),
        ({"batch_size": True}, "batch_size=True is not a whole number."),
        ({"seed": "x"}, "seed='x' is not a whole number. Give an int, such as 0."),
        ({"seed": 2**64}, "is out of range. Give an int, of at most 64 bits."),
        ({"num_workers": -1}, "num_workers=-1 is out of range. Give an int, at least 0, at most 256."),
        ({"shuffle": "yes"}, "shuffle='yes' is not an order."),
        ({"shuffle": sl.Exact}, "shuffle=Exact is a class."),
        ({"io": "dio"}, "io='dio' is not known."),
        ({"timeout": 0}, "timeout=0 leaves no time at all."),
        ({"memory": "lots"}, "memory='lots' is not a size."),
        ({"indices": [3, 100]}, "indices[1] is 100; the data has 100 records."),
        ({"indices": [-1]}, "indices[0] is -1; the data has 100 records."),
        ({"indices": [True]}, "indices= has 1 booleans; the data has 100 records."),
        ({"indices": "nowhere.npy"}, "indices='nowhere.npy' cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arguments_that_cannot_be_right_are_named(data: sl.Source, keywords: dict[str, object], said: str) -> None:
    with pytest.raises(sl.ConfigError) as caught:
        sl.Loader(data, **{"batch_size": 30, "num_workers": 0, **keywords})
    assert said in str(caught.value)


def test_a_path_is_not_a_source() -> None:
    with pytest.raises(sl.ConfigError, match=r"data='train.h5' is not a source. Open it first: sl.Loader\(sl.open"):
        sl.Loader("train.h5", batch_size=3)


def test_defaults_come_from_the_machine(data: sl.Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of what is free, shared out among local ranks; the cores less one."""
    with sl.Loader(data, batch_size=30) as loader:
        alone = loader.footprint().budget
        workers = min(8, max(0, len(__import__("os").sched_getaffinity(0)) - 1))
        assert f" · {workers} worker{'' if workers == 1 else 's'} · " in repr(loader)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        assert 0.15 * alone < loader.footprint().budget < 0.35 * alone


def test_windows_of_few_blocks_are_warned_about_once(tmp_path: Path) -> None:
    """1,000 classes stored in order, in large chunks: the warning says how many labels a window will see."""
    labels = np.repeat(np.arange(1000), 4)
    with h5py.File(tmp_path / "sorted.h5", "w") as file:
        file.create_dataset("image", data=np.zeros((4000, 8, 8), np.uint8), chunks=(100, 8, 8), compression="gzip")
        file.create_dataset("label", data=labels)
    data = sl.open(tmp_path / "sorted.h5")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sl.Loader(data, batch_size=32, shuffle=sl.Block(window=2000 * 72), num_workers=0).close()
    assert len(caught) == 1
    said = str(caught[0].message)
    assert "mixes only 20 blocks, where 3,000 are needed" in said
    assert "a window sees at most 20 of 1,000 labels" in said
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sl.Loader(data, batch_size=32, shuffle=sl.Block(), num_workers=0).close()

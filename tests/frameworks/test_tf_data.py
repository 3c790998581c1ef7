"""tf.data: a data set of a loader's batches, each pass the next epoch, with the place that belongs to each."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from framework_data import BATCH, NUMBERS, RECORDS, STEPS, WIDTH, expected, loader_of, values, write

import streamload as sl

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """1,003 records."""
    return write(tmp_path / "data.h5")


def test_each_pass_is_the_next_epoch(path: Path) -> None:
    """Each record once, with its bytes; the number of batches is known, and so are the shapes."""
    x, _ = values()
    with loader_of(path, num_workers=1) as loader:
        dataset = sl.for_tf(loader)
        assert dataset.cardinality() == STEPS
        assert dataset.element_spec["x"] == tf.TensorSpec((None, WIDTH), tf.float32)
        passes = []
        for _ in range(2):
            passes.append([])
            for batch in dataset.prefetch(2):
                assert np.array_equal(batch["x"].numpy(), x[batch["number"].numpy()])
                passes[-1].append(batch["number"].numpy().tolist())
    assert passes == expected(path, 2)


def test_the_place_travels_with_its_batch(path: Path) -> None:
    """tf.data prefetches; a seek to the place of the batch in use goes on with the very next one."""
    whole = expected(path, 2)
    with loader_of(path) as loader:
        for step, (numbers, valid, at) in enumerate(sl.for_tf(loader, ("number", "valid", "place")).prefetch(4)):
            assert numbers.numpy().tolist() == whole[0][step]
            assert valid.numpy().all()
            place = int(at)
            if step == 6:
                break
    assert place == 7
    with loader_of(path) as loader:
        loader.seek(total_step=place)
        dataset = sl.for_tf(loader, "number")
        assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
        assert [numbers.numpy().tolist() for numbers in dataset] == whole[0][7:]
        assert [numbers.numpy().tolist() for numbers in dataset] == whole[1]


def test_what_each_kind_of_field_becomes(tmp_path: Path) -> None:
    """Numbers as they are stored, strings as tf.string, ragged arrays as ragged tensors."""
    arrays = {dtype: (np.arange(140).reshape(70, 2) % 2).astype(dtype) for dtype in NUMBERS}
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for dtype, array in arrays.items():
            file.create_dataset(dtype, data=array)
        file.create_dataset("word", data=[f"é{k}" for k in range(70)], dtype=h5py.string_dtype())
        file.create_dataset("code", data=np.array([f"c{k}".encode() for k in range(70)]))
        ragged = file.create_dataset("tokens", (70,), h5py.vlen_dtype(np.int16))
        for k in range(70):
            ragged[k] = np.arange(k % 4)
    with loader_of(tmp_path / "data.h5", shuffle=False) as loader:
        first = next(iter(sl.for_tf(loader)))
    for dtype, array in arrays.items():
        assert first[dtype].dtype.name == dtype
        assert first[dtype].numpy().tobytes() == array[:BATCH].tobytes()
    assert [one.decode() for one in first["word"].numpy()] == [f"é{k}" for k in range(BATCH)]
    assert first["code"].numpy().tolist() == [f"c{k}".encode() for k in range(BATCH)]
    assert isinstance(first["tokens"], tf.RaggedTensor)
    assert first["tokens"].to_list() == [list(range(k % 4)) for k in range(BATCH)]


def test_tensors_share_the_batchs_memory(path: Path) -> None:
    """Nothing is copied, and a tensor stays as it is however far the loader has gone on since."""
    x, _ = values()
    with loader_of(path, num_workers=1) as loader:
        held = [(batch["x"], batch["number"]) for batch in sl.for_tf(loader)]
        assert loader.stats.copies == len(held) - loader._plan.sizing.spare
    for array, numbers in held:
        assert np.array_equal(array.numpy(), x[numbers.numpy()])


def test_a_pass_that_is_let_go_of_is_over(path: Path) -> None:
    """The next one is the next epoch, and no batch of the first is held."""
    with loader_of(path, num_workers=1) as loader:
        dataset = sl.for_tf(loader, "number")
        for _ in dataset:
            break
        assert [numbers.numpy().tolist() for numbers in dataset] == expected(path, 2)[1]


def test_a_newer_pass_closes_the_one_before_it(path: Path) -> None:
    """It says so, and the newer one has every record of its epoch."""
    with loader_of(path, num_workers=1) as loader:
        dataset = sl.for_tf(loader, "number")
        older = iter(dataset)
        next(older)
        newer = iter(dataset)
        first = next(newer).numpy().tolist()
        with pytest.raises(tf.errors.OpError, match=r"this pass over the data set was closed: a newer one began"):
            list(older)  # What tf.data had taken ahead comes first.
        assert [first, *(numbers.numpy().tolist() for numbers in newer)] == expected(path, 2)[1]


def test_a_pass_of_another_length_is_an_error_and_not_a_shorter_one(path: Path) -> None:
    """After another batch size, or a seek into an epoch: the data set was made for passes of 16 batches."""
    for move, said in (
        (lambda loader: loader.set_batch_size(32), "32 batches"),
        (lambda loader: loader.seek(epoch=1, step=4), "the rest of an epoch"),
    ):
        with loader_of(path) as loader:
            dataset = sl.for_tf(loader, "number")
            assert sum(len(numbers) for numbers in dataset) == RECORDS
            move(loader)
            with pytest.raises(tf.errors.OpError) as caught:
                next(iter(dataset))
            assert (
                f"this data set was made of passes of 16 batches each, and the loader's next pass is {said}. "
                "Call sl.for_tf again after load_state_dict, seek, set_batch_size and set_counts."
            ) in str(caught.value)
            assert sum(len(numbers) for numbers in sl.for_tf(loader, "number")) == RECORDS - 4 * BATCH * (said != "32 batches")


def test_batches_of_which_nothing_is_left_do_not_come(path: Path) -> None:
    """So the number of batches is left open: 15 of 16 come."""

    def refuse(record: dict) -> dict:
        if record["number"] < BATCH:
            raise ValueError("bad")
        return record

    with loader_of(path, shuffle=False, transform=refuse, on_bad_record="skip") as loader:
        dataset = sl.for_tf(loader, "number")
        assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
        for _ in range(2):
            assert [len(numbers) for numbers in dataset] == [BATCH] * (STEPS - 2) + [RECORDS - BATCH * (STEPS - 1)]


def test_after_a_pass_the_loader_knows_that_it_is_over(path: Path) -> None:
    """An epoch that is asked for then is the next one, and the state says so."""
    with loader_of(path) as loader:
        for _ in sl.for_tf(loader, "number"):
            pass
        assert loader.state_dict()["step"] == STEPS
        loader.set_epoch(3)
        assert (loader.state_dict()["epoch"], loader.state_dict()["step"]) == (3, 0)


def test_nothing_is_dealt_out_a_second_time(path: Path) -> None:
    """Under a strategy of tf.distribute each record still comes once."""
    with loader_of(path) as loader:
        dataset = sl.for_tf(loader, "number")
        assert dataset.options().experimental_distribute.auto_shard_policy == tf.data.experimental.AutoShardPolicy.OFF
        shared = tf.distribute.OneDeviceStrategy("/cpu:0").experimental_distribute_dataset(dataset)
        assert sorted(number for numbers in shared for number in numbers.numpy().tolist()) == list(range(RECORDS))

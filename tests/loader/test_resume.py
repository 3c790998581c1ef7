"""A state is a handful of integers: from any step of any epoch, another loader goes on as if nothing had happened."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loader_files import LAYOUTS, Backwards, epochs, gzip, order_of, taken, window, write

import streamload as sl

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows


def reloaded(state: dict[str, Any]) -> dict[str, Any]:
    """A state that went through a file."""
    return json.loads(json.dumps(state))


@pytest.mark.parametrize("order", ["exact", "block of small windows", "own"])
@pytest.mark.parametrize("layout", ["raw", "gzip chunks of 8"])
@pytest.mark.parametrize("drop_last", [False, True], ids=["all", "drop_last"])
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_resume_from_every_step(tmp_path: Path, layout: str, order: str, drop_last: bool, workers: int) -> None:
    """From every step of two epochs, their ends and the steps after, and once more from the step after that."""
    data = sl.open(LAYOUTS[layout](tmp_path / "data.h5", 60))
    keywords: dict[str, Any] = {"batch_size": 13, "shuffle": order_of(order, 60), "drop_last": drop_last}
    with sl.Loader(data, num_workers=0, **keywords) as loader:
        states, whole = [loader.state_dict()], []
        for epoch in loader.epochs(3):
            for batch in epoch:
                whole += taken([batch])
                states.append(reloaded(loader.state_dict()))
    steps = len(whole) // 3
    with sl.Loader(data, num_workers=workers, **keywords) as loader:
        for at, state in enumerate(states[: 2 * steps + 2]):
            loader.load_state_dict(state)
            assert loader.state_dict() == state
            assert epochs(loader, 3) == whole[at:]
            loader.load_state_dict(state)
            again = taken([next(iter(loader))]) if at % steps else []
            second = reloaded(loader.state_dict())
            loader.load_state_dict(second)
            assert again + epochs(loader, 3) == whole[at:]


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_after_a_resume_for_gives_the_rest_and_then_whole_epochs(tmp_path: Path, workers: int) -> None:
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
        next(iter(loader))
        state = loader.state_dict()
    with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
        loader.load_state_dict(state)
        rest = iter(loader)
        assert (rest.index, len(rest)) == (0, 4)
        assert [(batch.step, batch.total_step) for batch in rest] == [(1, 1), (2, 2), (3, 3)]
        assert [(batch.epoch, batch.step) for batch in loader] == [(1, step) for step in range(4)]


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_the_end_of_an_epoch_is_resumed_with_an_empty_rest_of_it(tmp_path: Path, workers: int) -> None:
    """So that what follows an epoch in the user's code (validation, a checkpoint) runs."""
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
        list(taken(loader))
        state = loader.state_dict()
    for resumed_by in ("epochs", "for"):
        with sl.Loader(data, batch_size=30, num_workers=workers) as loader:
            loader.load_state_dict(state)
            if resumed_by == "epochs":
                assert [(epoch.index, [batch.step for batch in epoch]) for epoch in loader.epochs(3)] == [
                    (0, []),
                    (1, [0, 1, 2, 3]),
                    (2, [0, 1, 2, 3]),
                ]
            else:
                assert list(loader) == []
                assert [batch.epoch for batch in loader] == [1] * 4


def test_a_state_counts_batches_that_were_handed_out(tmp_path: Path) -> None:
    """Not those that were prepared ahead."""
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=10, num_workers=2) as loader:
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (0, 0)
        for batch in loader:
            state = loader.state_dict()
            assert (state["epoch"], state["position"]) == (0, 10 * (batch.step + 1))
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (0, 100)
        next(iter(loader))
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 10)


def test_a_state_is_small_plain_json_and_the_callers_own(tmp_path: Path) -> None:
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=10, num_workers=0, seed=2**64 - 1, shuffle=window(24)) as loader:
        state = loader.state_dict()
        assert len(json.dumps(state)) < 1024
        assert reloaded(state) == state
        state["position"] = 50
        assert loader.state_dict()["position"] == 0


def test_a_state_can_be_taken_from_another_thread(tmp_path: Path) -> None:
    """At any moment, and it is one that the loop has stood at."""
    data = sl.open(write(tmp_path / "data.h5"))
    found: list[dict[str, Any]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found.append(loader.state_dict())

    with sl.Loader(data, batch_size=10, num_workers=1) as loader:
        looking = threading.Thread(target=look)
        looking.start()
        list(taken(batch for epoch in loader.epochs(20) for batch in epoch))
        done.set()
        looking.join()
    places = [(state["epoch"], state["position"]) for state in found]
    assert places == sorted(places)
    assert all(position % 10 == 0 for _, position in places)


def test_workers_memory_and_drop_last_may_change(tmp_path: Path) -> None:
    data = sl.open(gzip(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=13, num_workers=0, shuffle=window(24)) as loader:
        next(iter(loader))
        state = loader.state_dict()
        rest = epochs(loader, 2)
    with sl.Loader(data, batch_size=13, num_workers=3, shuffle=window(24), memory="60 MB", io="read") as loader:
        loader.load_state_dict(state)
        assert epochs(loader, 2) == rest
    with sl.Loader(data, batch_size=13, num_workers=1, shuffle=window(24), drop_last=True) as loader:
        loader.load_state_dict(state)
        assert epochs(loader, 2) == [batch for batch in rest if len(batch[2]) == 13]


def test_loading_a_state_closes_the_iterator(tmp_path: Path) -> None:
    data = sl.open(write(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=30, num_workers=2) as loader:
        epoch = iter(loader)
        state = loader.state_dict()
        next(epoch)
        loader.load_state_dict(state)
        with pytest.raises(sl.LoaderClosedError, match="this iterator over epoch 0 was closed: the loader was moved by load_state_dict"):
            next(epoch)
        assert [batch.step for batch in loader] == [0, 1, 2, 3]


DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 1}, "its seed is 0, and here it is 1. Resume with the same seed."),
    "kind of order": ({"shuffle": False}, "its kind of order is exact, and here it is sequential. Resume with the same shuffle=."),
    "subset": ({"indices": np.arange(99)}, "its order (cuts, windows, subset) is"),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_a_state_of_another_loader_is_refused_by_name(tmp_path: Path, what: str) -> None:
    data = sl.open(write(tmp_path / "data.h5"))
    keywords, said = DIFFERENCES[what]
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        state = loader.state_dict()
    with sl.Loader(data, **{"batch_size": 30, "num_workers": 0, **keywords}) as loader:
        before = loader.state_dict()
        with pytest.raises(sl.StateError) as caught:
            loader.load_state_dict(state)
        assert said in str(caught.value)
        assert "the state belongs to other data or another loader" in str(caught.value)
        assert loader.state_dict() == before
        assert next(iter(loader)).epoch == 0


def test_a_state_of_other_windows_is_refused(tmp_path: Path) -> None:
    data = sl.open(gzip(tmp_path / "data.h5"))
    with sl.Loader(data, batch_size=30, num_workers=0, shuffle=window(24)) as loader:
        state = loader.state_dict()
    with (
        sl.Loader(data, batch_size=30, num_workers=0, shuffle=window(48)) as loader,
        pytest.raises(
            sl.StateError,
            match=r"its order \(cuts, windows, subset\) is \w+, and here it is \w+. Resume with the same data, shuffle=, window",
        ),
    ):
        loader.load_state_dict(state)


def test_a_state_of_other_data_is_refused(tmp_path: Path) -> None:
    """Other records, and other fields."""

    def stood(path: Path) -> sl.Loader:
        return sl.Loader(sl.open(path), batch_size=30, num_workers=0, shuffle=Backwards(10))

    with stood(write(tmp_path / "data.h5")) as loader:
        state = loader.state_dict()
    with (
        stood(write(tmp_path / "more.h5", 101)) as loader,
        pytest.raises(sl.StateError, match="had 100 records when the state was made, and has 101 now"),
    ):
        loader.load_state_dict(state)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"], file["label"] = np.zeros((100, 6, 4, 3), "u1"), np.zeros(100, "i8")
    with stood(tmp_path / "other.h5") as loader, pytest.raises(sl.StateError, match="its digest of the fields"):
        loader.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"order_version": 2}, "its version of the record order is 2, and here it is 1. Finish the epoch with the version that wrote it"),
        ({"version": 99}, "its version of the state is 99, and here it is 2. It was written by another version"),
        ({"position": 130}, "the state's position is 130, which is not a whole number from 0 to 100"),
        ({"position": -30}, "the state's position is -30"),
        ({"position": 30.0}, "the state's position is 30.0"),
        ({"position": True}, "the state's position is True"),
        ({"epoch": -1}, "the state's epoch is -1"),
        ({"epoch": 2**63}, "the state's epoch is 9223372036854775808"),
        ({"epoch": 10**5000}, "the state's epoch is"),
        ({"batch_size": 10**5000}, "the state's batch size is"),
        ({"extra": 1}, "the state has entries that are not known here: extra. It may come from a newer streamload."),
        ({10**5000: 1}, "the state has entries that are not known here"),
        ({"seed": None}, "its seed is None"),
        ({"order": "0"}, "its order (cuts, windows, subset) is 0"),
    ],
    ids=lambda value: (
        next(
            f"{str(k)[:20] if not isinstance(k, int) else 'long'} {str(v)[:20] if not isinstance(v, int) or abs(v) < 2**70 else 'long'}"
            for k, v in value.items()
        )
        if isinstance(value, dict)
        else ""
    ),
)
def test_a_damaged_state_is_refused_by_name(tmp_path: Path, change: dict[Any, Any], said: str) -> None:
    with sl.Loader(sl.open(write(tmp_path / "data.h5")), batch_size=30, num_workers=0) as loader:
        with pytest.raises(sl.StateError) as caught:
            loader.load_state_dict({**loader.state_dict(), **change})
        assert said in str(caught.value)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("missing", ["version", "epoch", "position", "seed"])
def test_a_state_that_lacks_something_says_what(tmp_path: Path, missing: str) -> None:
    with sl.Loader(sl.open(write(tmp_path / "data.h5")), batch_size=30, num_workers=0) as loader:
        state = loader.state_dict()
        del state[missing]
        with pytest.raises(sl.StateError, match=f"the state lacks {missing}. Give what state_dict\\(\\) returned, whole."):
            loader.load_state_dict(state)
        for nothing in (None, [], "state", 3):
            with pytest.raises(sl.StateError, match="a state is a dict, not"):
                loader.load_state_dict(nothing)


hostile = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=9),
        st.binary(max_size=9),
        st.sampled_from([2**62, 2**63, -1]),
        st.just("long").map(lambda _: 10**4400),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sl.Loader]:
    """A loader that outlives one test, with everything open that it will ever open."""
    with sl.Loader(sl.open(write(tmp_path_factory.mktemp("states") / "data.h5")), batch_size=30, num_workers=0) as loader:
        assert len(taken(loader)) == 4
        yield loader


@pytest.mark.filterwarnings("ignore:The state was made with")
@given(st.data())
def test_hostile_states_are_refused_or_right(standing: sl.Loader, data: st.DataObject) -> None:
    """Whatever a state holds: a StateError, and the loader as it was; or a place in an epoch from which it goes on to its end."""
    good = standing.state_dict()
    state = copy.deepcopy(good)
    for name in data.draw(st.lists(st.one_of(st.sampled_from(sorted(good)), st.text(max_size=5)), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            state[name] = data.draw(hostile)
        else:
            state.pop(name, None)
    try:
        standing.load_state_dict(data.draw(st.one_of(st.just(state), hostile)))
    except sl.StateError:
        assert standing.state_dict() == good
    else:
        at = standing.state_dict()
        epoch = iter(standing)
        assert epoch.index == at["epoch"]
        records = standing._plan.order.records(at["epoch"], at["position"], 100).tolist()
        size = standing.batch_size
        batches = [(batch.step, batch.records.tolist()) for batch in epoch]
        assert batches == [(at["step"] + k, records[size * k : size * (k + 1)]) for k in range(-(-len(records) // size))]
        standing.load_state_dict(good)


DAMAGED = [
    *(("contents", value) for value in ("", "0" * 15, "0" * 17, "G" * 16, "2FBDAD0B6C65DF9F", 5, b"0" * 16, True)),
    *(("weights", value) for value in ("", "x" * 10_000_000, 0, "none")),
]


@pytest.mark.parametrize(("name", "value"), DAMAGED, ids=lambda value: str(value)[:20])
def test_a_digest_that_is_none_is_refused_by_name(standing: sl.Loader, name: str, value: object) -> None:
    """Also where there is nothing here that it could be compared with."""
    with pytest.raises(
        sl.StateError,
        match=f"the state's {name} is .*, which is no digest of 16 hexadecimal digits. The state is damaged: load another one",
    ):
        standing.load_state_dict({**standing.state_dict(), name: value})


@pytest.mark.parametrize(("step", "position"), [(0, 30), (1, 0), (20, 0)])
def test_a_step_and_a_position_that_cannot_be_are_refused(standing: sl.Loader, step: int, position: int) -> None:
    with pytest.raises(sl.StateError, match=f"the state stands at step {step} and at position {position}: an epoch begins at 0 of both."):
        standing.load_state_dict({**standing.state_dict(), "step": step, "position": position})


@pytest.mark.parametrize("position", [0, 30, 90, 100])
def test_the_last_epoch_that_can_be_counted_is_delivered(tmp_path: Path, position: int) -> None:
    """Epoch 2^62 is as good as epoch 0."""
    data = sl.open(gzip(tmp_path / "data.h5"))
    for shuffle in (sl.Exact(), window(24)):
        for workers in (0, 1):
            with sl.Loader(data, batch_size=30, num_workers=workers, shuffle=shuffle) as loader:
                loader.load_state_dict({**loader.state_dict(), "epoch": 2**62, "position": position, "step": -(-position // 30)})
                assert [batch.step for batch in loader] == list(range(-(-position // 30), 4))


RECORDS = 10**9


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 10^9 records of 16 bytes, of which hardly anything is on disk."""
    path = tmp_path_factory.mktemp("sparse") / "sparse.h5"
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((RECORDS, 16)), plist)
    assert path.stat().st_size > 16 * RECORDS
    if path.stat().st_blocks * 512 > 100 * 1024**2:
        path.unlink()
        pytest.skip("this file system has no sparse files")
    return path


@pytest.mark.parametrize(
    ("shuffle", "window_nbytes"), [(sl.Exact(), 8 * 1024**2), (sl.Block(window="8 MB"), 8 * 1024**2)], ids=["exact", "block"]
)
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_resume_in_the_middle_of_a_huge_file_reads_next_to_nothing(sparse: Path, shuffle: object, window_nbytes: int, workers: int) -> None:
    """No more than one window before the first batch, whatever the position."""
    data = sl.open(sparse, fields=["x"])
    assert len(data) == RECORDS
    with sl.Loader(data, batch_size=1000, num_workers=workers, shuffle=shuffle) as loader:
        expected = loader._plan.order.records(7, RECORDS // 2, RECORDS // 2 + 1000)
        loader.load_state_dict({**loader.state_dict(), "epoch": 7, "position": RECORDS // 2, "step": RECORDS // 2000})
        batch = next(iter(loader))
        assert loader.stats.read_nbytes <= window_nbytes
        assert (batch.records == expected).all()
        assert batch.step == RECORDS // 2000
        assert not batch["x"].any()

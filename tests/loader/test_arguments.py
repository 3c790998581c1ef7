"""The arguments of a loader: taken in whatever kind they come, refused by name, shown, and not to be changed afterwards."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_files import epochs, write

import streamload as sl


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """100 records."""
    return sl.open(write(tmp_path / "data.h5"))


@pytest.mark.parametrize(
    ("keywords", "chosen"),
    [
        ({"batch_size": np.int32(30)}, {"batch_size": 30}),
        ({"batch_size": np.array(30)}, {"batch_size": 30}),
        ({"seed": np.uint64(2**64 - 1)}, {"seed": 2**64 - 1}),
        ({"num_workers": np.int8(0)}, {"num_workers": 0}),
        ({"memory": np.int64(200 * 1024**2)}, {"memory": 200 * 1024**2}),
        ({"memory": "200 MB"}, {"memory": 200 * 1024**2}),
        ({"drop_last": np.True_}, {"drop_last": True}),
        ({"drop_last": 1}, {"drop_last": True}),
        ({"timeout": None}, {}),
        ({"timeout": np.float32(5)}, {}),
        ({"timeout": 10**400}, {}),
        ({"shuffle": np.False_}, {}),
    ],
    ids=repr,
)
def test_numbers_of_any_kind_are_taken(data: sl.Source, keywords: dict[str, Any], chosen: dict[str, object]) -> None:
    with sl.Loader(data, **{"batch_size": 30, "num_workers": 0, **keywords}) as loader:
        for name, value in chosen.items():
            found = getattr(loader, name)
            assert (type(found), found) == (type(value), value)
        assert next(iter(loader)).step == 0


def test_without_a_timeout_workers_take_their_time(data: sl.Source) -> None:
    with sl.Loader(data, batch_size=30, num_workers=1, timeout=None, transform=lambda record: record) as loader:
        assert len(epochs(loader, 1)) == 4


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"timeout": "5"}, "timeout='5' is not a time. Give seconds as a number, such as 300, or None to wait for ever."),
        ({"timeout": float("nan")}, "timeout=nan is not a time."),
        ({"timeout": True}, "timeout=True is not a time."),
        ({"timeout": -1}, "timeout=-1 leaves no time at all. Give seconds, such as 300."),
        ({"drop_last": "no"}, "drop_last='no' is neither True nor False. Give one of them."),
        ({"drop_last": None}, "drop_last=None is neither True nor False."),
        ({"drop_last": 2}, "drop_last=2 is neither True nor False."),
        ({"memory": True}, "memory=True is not a size. Give bytes as an int, or text such as"),
        ({"memory": 1e9}, "memory=1000000000.0 is not a size."),
        ({"memory": np.array([1, 2])}, "memory=array([1, 2]) is not a size."),
        ({"memory": -5}, "memory=-5 is not a size."),
        ({"batch_size": None}, "batch_size=None is not a whole number."),
        ({"batch_size": [3]}, "batch_size=[3] is not a whole number."),
        ({"batch_size": 10**5000, "seed": 10**5000}, "seed=a int that cannot be shown is out of range."),
        ({"io": None}, 'io=None is not known. Give "auto", "mmap", "read" or "direct".'),
        ({"io": np.array(["auto", "read"])}, "is not known."),
        ({"on_worker_crash": True}, 'on_worker_crash=True is not known. Give "raise" or "restart".'),
        ({"on_bad_record": "ignore"}, 'on_bad_record=\'ignore\' is not known. Give "raise", "substitute" or "skip".'),
        ({"transform": "resize"}, "transform='resize' cannot be called. Give a function of a record, which returns a dict."),
        ({"indices": 5}, "indices= holds int64 of shape ()."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_right_is_named(data: sl.Source, keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(sl.ConfigError) as caught:
        sl.Loader(data, **{"batch_size": 30, "num_workers": 0, **keywords})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"batch_size": 3, "batchsize": 3}, "Loader() has no argument 'batchsize'. Did you mean batch_size?"),
        ({"batch_size": 3, "workers": 3}, "Loader() has no argument 'workers'. Did you mean num_workers?"),
        ({"batch_size": 3, "x": 3}, "Loader() has no argument 'x'. There are batch_size, shuffle, seed, num_workers, drop_last,"),
        ({"shuffle": True}, "Loader() needs batch_size, the records of a batch: sl.Loader(data, batch_size=256)."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arguments_that_there_are_not_are_named(data: sl.Source, keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        sl.Loader(data, **keywords)
    assert said in str(caught.value)
    with pytest.raises(TypeError, match=r"Loader\(\) takes all arguments but the data by name: sl.Loader\(data, batch_size=30\)"):
        sl.Loader(data, 30)


def test_the_signature_shows_every_argument_and_its_default() -> None:
    """Although they are written in one place only."""
    parameters = inspect.signature(sl.Loader).parameters
    assert list(parameters)[:4] == ["data", "batch_size", "shuffle", "seed"]
    assert parameters["batch_size"].default is inspect.Parameter.empty
    assert parameters["timeout"].default == 300.0
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in list(parameters.values())[1:])
    assert all(f"`{name}`: " in (inspect.getdoc(sl.Loader.__init__) or "") for name in list(parameters)[1:])


def test_what_was_chosen_can_be_read(data: sl.Source) -> None:
    with sl.Loader(data, batch_size=30, seed=5, drop_last=True, memory="100 MB", num_workers=1) as loader:
        assert (loader.batch_size, loader.seed, loader.drop_last) == (30, 5, True)
        assert (loader.memory, loader.num_workers) == (100 * 1024**2, 1)
    with sl.Loader(data, batch_size=30) as loader:
        assert f"{loader.num_workers} worker" in repr(loader)
        assert loader.memory == loader.footprint().budget


class Counting(sl.Loader):
    """A loader with something of its own."""

    def __init__(self, data: sl.Source, **options: Any) -> None:
        self.passes = 0
        super().__init__(data, **options)


def test_what_has_no_effect_cannot_be_set(data: sl.Source) -> None:
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        text = (
            r"loader.batch_size cannot be set: it was chosen when the loader was made. Make another: sl.Loader\(data, ..., batch_size=64\)"
        )
        with pytest.raises(AttributeError, match=text):
            loader.batch_size = 64
        with pytest.raises(AttributeError, match=r"loader.shuffle cannot be set: .*shuffle=False\); load_state_dict has it go on where"):
            loader.shuffle = False
        with pytest.raises(
            AttributeError, match=r"a loader has no 'batchsize', so setting it would change nothing. Did you mean batch_size\?"
        ):
            loader.batchsize = 3
        with pytest.raises(AttributeError, match="stats"):
            loader.stats = None
        assert len(loader) == 4
    with Counting(data, batch_size=30, num_workers=0) as loader:
        loader.passes += 1
        with pytest.raises(AttributeError, match=r"loader\.seed cannot be set"):
            loader.seed = 3


def test_an_epoch_without_any_step_is_said(data: sl.Source) -> None:
    """A last batch that is left out may be the only one: a run would learn nothing, in silence."""
    said = (
        rf"An epoch has no step: {len(data):,} records, batches of {len(data) + 1:,}, and drop_last=True leaves out what fills none\. "
        r"Give a smaller batch_size, or leave drop_last out\."
    )
    with pytest.warns(UserWarning, match=said), sl.Loader(data, batch_size=len(data) + 1, drop_last=True, num_workers=0) as loader:
        assert list(loader) == []
    with sl.Loader(data, batch_size=len(data), drop_last=True, num_workers=0) as loader:
        assert len(list(loader)) == 1
    said = rf"An epoch has no step: of {len(data):,} records, none is chosen\. Look at indices= and shuffle=, and at records that"
    for nothing in ({"indices": []}, {"shuffle": sl.Listed([])}):
        with pytest.warns(UserWarning, match=said), sl.Loader(data, batch_size=4, num_workers=0, **nothing) as loader:
            assert list(loader) == []


def test_a_part_of_which_nothing_is_chosen_is_refused(data: sl.Source) -> None:
    """Its batches would be looked for for ever."""
    mixed = sl.mix({"a": (data, 2), "b": (data, 1)})
    said = rf"of part 'b' of the mixture, none of the {len(data):,} records are left\. Look at its indices= and shuffle=, .* out of mix\(\)"
    with pytest.raises(sl.ConfigError, match=said):
        sl.Loader(mixed, batch_size=3, num_workers=0, indices={"b": []})

"""A batch is a mapping like any other, and says so when somebody takes it apart into names."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys
from collections.abc import Callable, ItemsView, KeysView, Mapping, ValuesView
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_files import values, write

import streamload as sl


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """100 records."""
    return sl.open(write(tmp_path / "data.h5"))


@pytest.fixture
def batch() -> sl.Batch:
    """30 records, in memory of its own."""
    images, labels = values(30)
    return sl.Batch({"image": images, "label": labels}, records=np.arange(30), epoch=0, step=0, total_step=0)


def first(data: sl.Source) -> sl.Batch:
    """One that a loader handed out."""
    with sl.Loader(data, batch_size=30, num_workers=0) as loader:
        return next(iter(loader))


def test_it_is_a_mapping(batch: sl.Batch) -> None:
    """Every promise of `collections.abc.Mapping`."""
    image, label = batch.tuple("image", "label")
    assert isinstance(batch, Mapping)
    assert list(batch) == list(batch.keys()) == ["image", "label"]
    assert len(batch) == 2
    assert all(one is other for one, other in zip(batch.values(), (image, label), strict=True))
    assert [(name, array is batch[name]) for name, array in batch.items()] == [("image", True), ("label", True)]
    assert batch.get("label") is label
    assert batch.get("mask") is None
    assert batch.get("mask", image) is image
    assert "label" in batch
    assert "mask" not in batch
    kinds = ((batch.keys(), KeysView), (batch.values(), ValuesView), (batch.items(), ItemsView))
    assert all(isinstance(view, kind) and len(view) == 2 for view, kind in kinds)
    assert (lambda **fields: list(fields))(**batch) == ["image", "label"]
    assert {**batch}["image"] is dict(batch)["image"] is image
    match batch:
        case {"label": found}:
            assert found is label


def test_its_fields_complete_in_a_notebook(batch: sl.Batch) -> None:
    """IPython asks for them as the user types `batch["`."""
    assert batch._ipython_key_completions_() == list(batch.keys())


def test_batches_are_equal_where_they_are_the_same_one(data: sl.Source) -> None:
    """Comparing arrays would be an array; batches can be kept in sets."""
    one, other = first(data), first(data)
    same = one
    assert same == one
    assert one != other
    assert one != dict(one)
    assert len({one, other, same}) == 2


def names_in_a_loop(batch: sl.Batch) -> list[str]:
    found = []
    for name in batch:
        found.append(name)
    return found


WAYS: dict[str, Callable[[sl.Batch], Any]] = {
    "for": names_in_a_loop,
    "list": list,
    "tuple": tuple,
    "sorted": sorted,
    "comprehension": lambda batch: [name for name in batch],  # noqa: C416
    "star": lambda batch: [*batch],
    "dict comprehension": lambda batch: list({name: batch[name] for name in batch}),
    "keys unpacked": lambda batch: (lambda image, label: [image, label])(*batch.keys()),
    "zip": lambda batch: [name for name, _ in zip(batch, itertools.count(), strict=False)],
    "map": lambda batch: list(map(str, batch)),
    "iter": lambda batch: list(iter(batch)),
    "arguments": lambda batch: (lambda *names: list(names))(*batch),
}


@pytest.mark.parametrize("way", WAYS)
def test_iterating_over_it_gives_names(batch: sl.Batch, way: str) -> None:
    """Whichever way a framework walks through it."""
    assert list(WAYS[way](batch)) == ["image", "label"]


def unpacked_by_name(batch: sl.Batch) -> None:
    _image, _label = batch


def unpacked_in_a_loop(batch: sl.Batch) -> None:
    for _image, _label in [batch]:
        pass


def unpacked_in_a_list(batch: sl.Batch) -> None:
    [_image, _label] = batch


def unpacked_with_a_rest(batch: sl.Batch) -> None:
    _image, *_rest = batch


def unpacked_within(batch: sl.Batch) -> None:
    for _number, (_image, _label) in enumerate([batch]):
        pass


def unpacked_in_a_comprehension(batch: sl.Batch) -> None:
    [image for image, _label in [batch]]


def unpacked_in_a_generator(batch: sl.Batch) -> None:
    list(image for image, _label in [batch])  # noqa: C400


@pytest.mark.parametrize(
    "taking_apart",
    [
        unpacked_by_name,
        unpacked_in_a_loop,
        unpacked_in_a_list,
        unpacked_with_a_rest,
        unpacked_within,
        unpacked_in_a_comprehension,
        unpacked_in_a_generator,
    ],
    ids=lambda one: one.__name__,
)
def test_taking_it_apart_into_names_is_an_error_with_the_cure(batch: sl.Batch, taking_apart: Callable[[sl.Batch], None]) -> None:
    """`for image, label in loader` would give the names "image" and "label"; hot code is noticed as cold code is."""
    for _ in range(100):
        with pytest.raises(TypeError) as caught:
            taking_apart(batch)
        assert str(caught.value) == (
            "a batch is a mapping, and unpacking it would give names, not arrays. "
            "Write image, label = batch.tuple('image', 'label'), in a loop over batches, or dict(batch)."
        )


def test_the_cure_is_code_whatever_fields_are_called() -> None:
    """It stands as it is written."""
    batch = sl.Batch({"sample/image": np.arange(3), "2": np.arange(2)})
    with pytest.raises(TypeError) as caught:
        unpacked_by_name(batch)
    cure = str(caught.value).partition("Write ")[2].partition(", in a loop")[0]
    found: dict[str, Any] = {"batch": batch}
    exec(cure, found)
    assert found["sample_image"].tolist() == [0, 1, 2]
    assert found["_2"].tolist() == [0, 1]
    single = sl.Batch({"x": np.arange(4)})
    with pytest.raises(TypeError, match=r"Write x, = batch.tuple\('x'\),"):
        (_x,) = single
    many = sl.Batch({f"field_{number}": np.arange(2) for number in range(300)})
    with pytest.raises(TypeError) as caught:
        _first, *_rest = many
    assert len(str(caught.value)) < 400


def test_whoever_makes_one_of_a_plain_mapping_has_the_fields(batch: sl.Batch) -> None:
    """As frameworks do that move arrays to a device: `type(data)({name: moved})`."""
    moved = type(batch)({name: array.astype("f4") for name, array in batch.items()})
    assert moved["image"].dtype == np.float32
    assert repr(moved) == "<Batch: image: float32 (30, 5, 4, 3), label: float32 (30,)>"
    with pytest.raises(AttributeError):
        moved.records
    with pytest.raises(AttributeError, match="only one that a loader hands out knows the state after it"):
        moved.state_dict()
    assert repr(sl.Batch({"x": [1, 2]})) == "<Batch: x: list>"


@pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy"])
def test_copies_are_whole(data: sl.Source, how: str) -> None:
    """Also in another process, which needs no loader."""
    batch = first(data)
    other = {"pickle": lambda one: pickle.loads(pickle.dumps(one)), "copy": copy.copy, "deepcopy": copy.deepcopy}[how](batch)
    assert all(np.array_equal(array, batch[name]) for name, array in other.items())
    assert (other.epoch, other.step, other.total_step) == (0, 0, 0)
    assert other.records.tolist() == batch.records.tolist()
    assert other.state_dict() == batch.state_dict()


def test_under_a_debugger_and_a_profiler_it_is_the_same(tmp_path: Path) -> None:
    """Traced code runs other instructions underneath."""
    code = """
import sys, numpy as np, streamload as sl
batch = sl.Batch({"image": np.arange(3), "label": np.arange(3)})
def taken(one):
    try:
        image, label = one
    except TypeError as error:
        return "batch.tuple" in str(error)
def named(one):
    return [name for name in one] == ["image", "label"] == list(one)
def traced(*_):
    return traced
for way in (None, "settrace", "setprofile"):
    if way:
        getattr(sys, way)(traced)
    found = [taken(batch) and named(batch) for _ in range(50)]
    sys.settrace(None), sys.setprofile(None)
    assert all(found), way
print("right")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("right\n", "")

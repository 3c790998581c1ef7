"""A function of the user's: what it is given, what it may return, and how it fails by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError, TransformError, to_plain
from streamload.fetch.draft import BatchDraft
from streamload.fetch.tasks import StepTask
from streamload.fetch.transform_records import Workspace
from streamload.order.shares import StepPiece
from streamload.schema import ARRAY, Field, Schema
from streamload.transforms.record import RecordTransform, received_error, transform_error
from streamload.transforms.trial import schema_of

STORED = Schema((Field("image", np.dtype("u1"), (2, 2)), Field("label", np.dtype("i8"), ())))


def transforming(function: Callable[..., Any]) -> RecordTransform:
    """A transform at work on four records, numbered 10 to 13."""
    arrays = {"image": np.zeros((4, 2, 2), "u1"), "label": np.array([10, 11, 12, 13])}
    arrays["image"][:] = np.arange(4, dtype="u1")[:, None, None]
    return RecordTransform(function, stored=STORED, stored_arrays=arrays)


def applied(function: Callable[..., Any], *, seed: int = 0, epoch: int = 0, start: int = 0) -> dict[str, np.ndarray]:
    """What it makes of the four records."""
    made = transforming(function)
    out = {field.name: np.empty((4, *field.shape), field.dtype) for field in schema_of(made.trials(10, seed=seed, shortened=False), STORED)}
    made.apply(np.arange(10, 14), out, seed=seed, epoch=epoch, start=start)
    return out


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"noise": rng.integers(0, 2**63), "label": record["label"]}


def test_a_record_is_a_dict_of_arrays_and_numbers() -> None:
    def check(record: dict[str, Any]) -> dict[str, Any]:
        assert record["image"].shape == (2, 2)
        assert int(record["label"]) == 10 + record["image"][0, 0]
        return {"sum": record["image"].sum(dtype="i4"), "flag": bool(record["label"] % 2), "pair": [1.5, 2]}

    out = applied(check)
    assert out["sum"].tolist() == [0, 4, 8, 12]
    assert out["flag"].tolist() == [False, True, False, True]
    assert (out["pair"].dtype, out["pair"].shape) == (np.dtype("f8"), (4, 2))


def test_randomness_comes_from_seed_epoch_and_record_alone() -> None:
    """Not from the step, the worker, or what was drawn before."""
    first = applied(noisy)["noise"].tolist()
    assert applied(noisy, start=400)["noise"].tolist() == first
    assert applied(noisy, epoch=1)["noise"].tolist() != first
    assert applied(noisy, seed=1)["noise"].tolist() != first
    assert len(set(first)) == 4
    made = transforming(noisy)
    out = {"noise": np.empty(4, np.int64), "label": np.empty(4, np.int64)}
    made.apply(np.array([13, 12, 11, 10]), out, seed=0, epoch=0, start=0)
    assert out["noise"].tolist() == first[::-1]


def test_global_generators_are_seeded_by_the_step() -> None:
    """Fresh in every epoch and step, and the same whoever runs it."""

    def drawn(_: dict[str, Any]) -> dict[str, Any]:
        return {"a": random.random(), "b": np.random.random()}

    first = applied(drawn)
    random.seed(5)
    np.random.seed(5)
    assert all((applied(drawn)[name] == first[name]).all() for name in first)
    assert all((applied(drawn, start=4)[name] != first[name]).all() for name in first)
    assert all((applied(drawn, epoch=1)[name] != first[name]).all() for name in first)


class WithGenerator:
    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        assert isinstance(rng, np.random.Generator)
        return record


def with_default(record: dict[str, Any], scale: float = 2.0) -> dict[str, Any]:
    assert scale == 2.0
    return record


@pytest.mark.parametrize(
    "function",
    [noisy, WithGenerator(), with_default, dict, lambda record, /, *more, **named: record],
    ids=["two", "callable object", "default", "builtin", "variadic"],
)
def test_who_wants_a_generator_is_given_one(function: Callable[..., Any]) -> None:
    """A second argument that must be given is the generator; one with a default is the user's own."""
    assert applied(function)["label"].tolist() == [10, 11, 12, 13]


class OwnError(ValueError):
    pass


def fails(error: BaseException) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def function(record: dict[str, Any]) -> dict[str, Any]:
        if record["label"] == 12:
            raise error
        return record

    return function


@pytest.mark.parametrize(
    "error", [ValueError("bad pixel"), OwnError("mine"), KeyError("x"), KeyboardInterrupt(), StopIteration(3), MemoryError()], ids=repr
)
def test_an_exception_names_the_record_and_stays_catchable_as_itself(error: BaseException) -> None:
    with pytest.raises(TransformError) as caught:
        applied(fails(error))
    assert f"the transform failed on record 12 with {type(error).__name__}" in str(caught.value)
    assert ". Its traceback is below." in str(caught.value)
    received = received_error(to_plain(caught.value))
    assert isinstance(received, TransformError)
    assert "in function\n" in received.traceback
    assert "in function\n" in received.__notes__[0]
    if isinstance(error, ValueError | KeyError):
        assert isinstance(received, type(error))
    assert not isinstance(received, StopIteration)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_exception_that_cannot_be_printed_is_still_named() -> None:
    error = transform_error(Unprintable(), 7)
    assert "the transform failed on record 7 with Unprintable: <unprintable Unprintable>" in str(error)
    assert isinstance(received_error(to_plain(error)), TransformError)


def test_a_very_long_message_is_cut() -> None:
    error = transform_error(ValueError("x" * 10_000_000), 7)
    assert len(str(error)) < 2_000_000
    assert "characters left out" in str(error)


def changing(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def function(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, **changes} if record["label"] == 13 else record

    return function


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (
            changing(more=1),
            "the transform returned fields ['image', 'label', 'more'] for record 13, and ['image', 'label'] for the first record",
        ),
        (
            changing(image=np.zeros((2, 3), "u1")),
            "the transform's field 'image' is uint8 (2, 3) for record 13, and uint8 (2, 2) for the first record",
        ),
        (
            changing(image=np.zeros((2, 2))),
            "the transform's field 'image' is float64 (2, 2) for record 13, and uint8 (2, 2) for the first record",
        ),
    ],
    ids=["fields", "shape", "dtype"],
)
def test_records_that_differ_are_named(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(SchemaMismatchError) as caught:
        applied(function)
    assert said in str(caught.value)
    assert caught.value.records == (13, 14)


MASKED = np.ma.masked_equal([1, 2], 2)


def test_what_lies_under_a_mask_is_not_delivered_for_a_later_record_either() -> None:
    masked = np.ma.masked_equal(np.ones((2, 2), "u1"), 1)
    with pytest.raises(ConfigError, match=r"the transform's field 'image' of record 13 is a masked array, 4 of whose 4 elements"):
        applied(changing(image=masked))
    assert applied(changing(image=np.ma.array(np.ones((2, 2), "u1"))))["image"][3].tolist() == [[1, 1], [1, 1]], "none of it masked"


def test_results_may_be_in_any_order_of_bytes() -> None:
    """For some records or for all, of one length or of several: what comes out is as this machine has it."""
    out = applied(lambda record: {"wide": record["label"].astype(">i4"), "texts": np.array(["é"]).astype(">U2")})
    assert (out["wide"].dtype, out["wide"].tolist()) == (np.dtype(np.int32), [10, 11, 12, 13])
    assert out["texts"].tolist() == [["é"]] * 4
    made = transforming(lambda record: {"list": np.arange(record["label"] - 9, dtype=">f4")})
    lists = made.apply(np.arange(10, 14), {}, seed=0, epoch=0, start=0, ragged=[Field("list", np.dtype(np.float32), (), ARRAY)])["list"]
    assert [(one.dtype, one.tolist()) for one in lists] == [(np.dtype(np.float32), list(range(count))) for count in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ((1, 2), "the transform returned tuple for record 10, where a dict of arrays was expected"),
        (None, "the transform returned NoneType for record 10"),
        ({"x": object()}, "the transform's field 'x' is of dtype object, which cannot lie in shared memory"),
        ({"x": ["a", None]}, "the transform's field 'x' is of dtype object"),
        ({"x": MASKED}, "the transform's field 'x' is a masked array, 1 of whose 2 elements are masked: what lies under the mask is no"),
    ],
    ids=["a tuple", "nothing", "an object", "a list with None", "a masked array"],
)
def test_results_that_cannot_be_delivered_are_refused(result: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        applied(lambda record: result)
    assert said in str(caught.value)
    assert caught.value.hint


class Remembering:
    """Gives the image of the record before, and lists from a buffer that it uses again and again."""

    def __init__(self) -> None:
        self.before: Any = None
        self.buffer = np.zeros(8, np.float32)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        before, self.before = self.before, record["image"]
        length = len(record["list"])
        self.buffer[:length] = record["list"]
        return {"image": record["image"], "before": record["image"] if before is None else before, "list": self.buffer[:length]}


def test_what_a_function_keeps_and_what_it_uses_again_are_its_own(tmp_path: Path) -> None:
    """A record that it looks at in a later step is as it was; a buffer that it fills again does not change earlier records."""
    images = np.arange(40 * 6, dtype="f4").reshape(40, 6)
    lists = [np.arange(k % 7, dtype="f4") + k for k in range(40)]
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["image"] = images
        stored = file.create_dataset("list", 40, h5py.vlen_dtype("f4"))
        for k, values in enumerate(lists):
            stored[k] = values
    options: Any = {"batch_size": 6, "shuffle": False, "num_workers": 0}
    with sl.open(tmp_path / "data.h5") as data, sl.Loader(data, transform=Remembering(), **options) as loader:
        batches = [(batch["image"].copy(), batch["before"].copy(), [one.copy() for one in batch["list"]]) for batch in loader]
    np.testing.assert_array_equal(np.concatenate([image for image, _, _ in batches]), images)
    np.testing.assert_array_equal(np.concatenate([before for _, before, _ in batches])[1:], images[:-1])
    for found, expected in zip([one for _, _, ragged in batches for one in ragged], lists, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_memory_of_a_step_serves_the_next_one_unless_it_is_kept() -> None:
    """As long as nobody looks at it, there is one array a field."""
    workspace = Workspace(STORED, 4)
    draft = BatchDraft(StepTask(0, 0, 0, 0, (StepPiece(0, 0, 0, 0, 4),)), np.arange(4), [], workspace)
    kept = workspace.fields["image"][2]
    kept[:] = 2
    address = kept.ctypes.data
    assert workspace.begin(draft).fields["image"][2].ctypes.data != address
    workspace.fields["image"][:] = 7
    assert kept.tolist() == [[2, 2], [2, 2]]
    address = workspace.fields["image"].ctypes.data
    assert workspace.begin(draft).fields["image"].ctypes.data == address

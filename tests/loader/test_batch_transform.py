"""The user's function of whole batches: what it may change, what it is given, and what is said where it fails."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from loader_files import WRITTEN

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError, TransformError

IMAGES = np.random.default_rng(3).integers(0, 256, (50, 12, 12, 3), np.uint8)
WORKERS = pytest.mark.parametrize("workers", [0, 2])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and their numbers."""
    path = tmp_path_factory.mktemp("batches") / "data.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_dataset("image", data=IMAGES)
        file.create_dataset("label", data=np.arange(50))
    return path


def _batches(path: Path, *, workers: int = 0, epochs: int = 1, **options: Any) -> list[dict[str, Any]]:
    with sl.Loader(sl.open(path), batch_size=8, num_workers=workers, seed=5, **options) as loader:
        names = loader.schema.names
        return [{name: np.array(batch[name]) for name in names} for epoch in loader.epochs(epochs) for batch in epoch]


def _means(batch: dict[str, Any]) -> dict[str, Any]:
    return {"mean": batch["image"].mean(axis=(1, 2), dtype=np.float32), "twice": batch["label"].astype(np.int32) * 2}


def _noise(batch: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"noise": rng.random((len(batch["label"]), 2)), "label": batch["label"]}


@WORKERS
def test_names_dtypes_and_shapes_change(path: Path, workers: int) -> None:
    """A batch transform is given the whole batch, the last and smaller one as well; what it returns is the batch."""
    batches = _batches(path, workers=workers, batch_transform=_means)
    assert [len(batch["mean"]) for batch in batches] == [8] * 6 + [2]
    assert set(batches[0]) == {"mean", "twice"}
    label = np.concatenate([batch["twice"] for batch in batches]) // 2
    assert sorted(label) == list(range(50))
    np.testing.assert_allclose(np.concatenate([batch["mean"] for batch in batches]), IMAGES[label].mean(axis=(1, 2)), rtol=1e-5)


def test_schema_is_that_of_the_result(path: Path) -> None:
    """The loader says beforehand what batches will be."""
    with sl.Loader(sl.open(path), batch_size=8, num_workers=0, batch_transform=_means) as loader:
        assert [(field.name, field.dtype, field.shape) for field in loader.schema] == [
            ("mean", np.dtype(np.float32), (3,)),
            ("twice", np.dtype(np.int32), ()),
        ]


def test_randomness_belongs_to_the_batch(path: Path) -> None:
    """The same numbers whatever the number of workers; others in the next batch and in the next epoch."""
    alone, shared = _batches(path, batch_transform=_noise, epochs=2), _batches(path, workers=2, batch_transform=_noise, epochs=2)
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one["noise"], other["noise"])
        np.testing.assert_array_equal(one["label"], other["label"])
    assert len({batch["noise"].tobytes() for batch in alone}) == len(alone)


@WORKERS
def test_comes_after_augmentation_and_transform(path: Path, workers: int) -> None:
    """Stored, augmented, transformed record by record, then as a batch."""
    augment = sl.Augment("image", sl.RandomCrop(8), sl.Normalize(mean=(0.0,) * 3, std=(1.0,) * 3))

    def record(one: dict[str, Any]) -> dict[str, Any]:
        return {"image": one["image"] * 2, "label": one["label"]}

    def batch(whole: dict[str, Any]) -> dict[str, Any]:
        assert whole["image"].dtype == np.float32
        return {"peak": whole["image"].max(axis=(1, 2, 3)), "label": whole["label"]}

    plain = _batches(path, augment=augment)
    for given, found in zip(plain, _batches(path, workers=workers, augment=augment, transform=record, batch_transform=batch), strict=True):
        np.testing.assert_array_equal(found["label"], given["label"])
        np.testing.assert_array_equal(found["peak"], given["image"].max(axis=(1, 2, 3)) * 2)


@WORKERS
def test_functions_are_tried_on_the_first_record_that_a_lane_has(path: Path, workers: int) -> None:
    """Of fewer records than lanes, some lanes have none, and the first may be one of them."""
    options = {"indices": [7], "shuffle": sl.Block(lanes=3), "transform": lambda record: {"label": record["label"]}}
    (batch,) = _batches(path, workers=workers, batch_transform=lambda batch: {"twice": batch["label"] * 2}, **options)
    assert batch["twice"].tolist() == [14]


@WORKERS
def test_ragged_fields_in_and_out(tmp_path: Path, workers: int) -> None:
    """Ragged fields are given as such, and may be returned as such, longer or shorter than they were."""
    with h5py.File(tmp_path / "texts.h5", "w", **WRITTEN) as file:
        texts = file.create_dataset("tokens", (30,), h5py.vlen_dtype(np.int32))
        for n in range(30):
            texts[n] = np.arange(n % 5)
        file.create_dataset("index", data=np.arange(30))

    def batch(whole: dict[str, Any]) -> dict[str, Any]:
        tokens = whole["tokens"]
        doubled = sl.Ragged(np.repeat(tokens.values, 2), tokens.offsets * 2, tokens.kind)
        return {"tokens": doubled, "length": tokens.lengths, "index": whole["index"]}

    seen = 0
    with sl.Loader(sl.open(tmp_path / "texts.h5"), batch_size=7, num_workers=workers, seed=5, batch_transform=batch) as loader:
        for found in next(loader.epochs(1)):
            for row, index in enumerate(found["index"].tolist()):
                np.testing.assert_array_equal(found["tokens"][row], np.arange(index % 5).repeat(2))
                assert found["length"][row] == index % 5
                seen += 1
    assert seen == 30


@WORKERS
def test_its_error_names_the_batch(path: Path, workers: int) -> None:
    """What the function raises arrives as a TransformError, which says where."""

    def batch(whole: dict[str, Any]) -> dict[str, Any]:
        if 20 in whole["label"]:
            raise KeyError("lost")
        return whole

    with pytest.raises(TransformError, match=r"batch transform failed on the batch that begins with record 16, with KeyError.*lost"):
        _batches(path, workers=workers, shuffle=False, batch_transform=batch)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (lambda batch: batch["label"], "returned ndarray"),
        (lambda batch: {"label": batch["label"][:1]}, "shape"),
        (lambda batch: {"label": np.array([object()] * len(batch["label"]))}, "dtype object"),
        (lambda batch: {"label": 3}, "shape"),
        (lambda batch: {"label": np.ma.masked_less(batch["label"], 50)}, "the batch transform's field 'label' is a masked array"),
    ],
)
def test_what_is_no_batch_is_refused(path: Path, result: Any, says: str) -> None:
    """What cannot be delivered is refused before the first epoch."""
    with pytest.raises(ConfigError, match=says):
        sl.Loader(sl.open(path), batch_size=8, num_workers=0, batch_transform=result)


@pytest.mark.parametrize("change", ["fields", "dtype", "rows"])
def test_batches_must_be_alike(path: Path, change: str) -> None:
    """A batch that becomes something else than the first is an error that says what differs."""

    def batch(whole: dict[str, Any]) -> dict[str, Any]:
        label = whole["label"]
        if 20 not in label:
            return {"label": label}
        return {"fields": {"other": label}, "dtype": {"label": label * 0.5}, "rows": {"label": label[:-1]}}[change]

    with pytest.raises(SchemaMismatchError, match="first batch"):
        _batches(path, shuffle=False, batch_transform=batch)


def test_what_cannot_be_sent_is_named(path: Path) -> None:
    """A function that holds what cannot be pickled is named by the argument it was given as."""
    lock = threading.Lock()

    def batch(whole: dict[str, Any]) -> dict[str, Any]:
        with lock:
            return whole

    with pytest.raises(ConfigError, match="batch_transform"):
        _batches(path, workers=2, batch_transform=batch)


@WORKERS
@pytest.mark.parametrize("argument", ["transform", "batch_transform"])
def test_dtypes_that_numpy_writes_otherwise_cross_to_workers(path: Path, workers: int, argument: str) -> None:
    """A structured dtype arrives with its names, whichever process found it out."""
    dtype = np.dtype([("box", np.float32, (2, 2)), ("kind", "S3")])

    def made(given: dict[str, Any]) -> dict[str, Any]:
        out = np.zeros(np.shape(given["label"]), dtype)
        out["box"] += np.asarray(given["label"])[..., None, None]
        out["kind"] = b"abc"
        return {"boxes": out, "label": given["label"]}

    for batch in _batches(path, workers=workers, **{argument: made}):
        assert batch["boxes"].dtype == dtype
        np.testing.assert_array_equal(batch["boxes"]["box"][:, 1, 1], batch["label"])
        assert (batch["boxes"]["kind"] == b"abc").all()


def test_must_be_callable(path: Path) -> None:
    """An argument that is no function is refused by name."""
    with pytest.raises(ConfigError, match="batch_transform=3"):
        sl.Loader(sl.open(path), batch_size=8, batch_transform=3)

"""Arrays of several splits that lie beside each other, in archives and stores, are no fields of one record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from command_line import said
from zarr.core.sync import cleanup_resources

import streamload as sl
from streamload.errors import ConfigError

Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(autouse=True)
def _no_threads_of_zarr() -> Iterator[None]:
    """They run on else."""
    yield
    cleanup_resources()


def write(path: Path, shapes: Shapes) -> Path:
    """Arrays of these shapes, each full of a number of its own; masks are truth values."""
    held = {name: np.full(shape, at + 1, bool if "mask" in name else "f4") for at, (name, shape) in enumerate(shapes.items())}
    if path.suffix == ".npz":
        np.savez(path, **held)
    else:
        store = zarr.open_group(str(path), mode="w")
        for name, array in held.items():
            store.create_array(name, data=array)
    return path


@pytest.mark.parametrize("ending", ["npz", "zarr"])
@pytest.mark.parametrize(
    "shapes",
    [
        {"X_train": (9, 5), "y_train": (9,), "X_test": (9, 5), "y_test": (9,)},
        {"trainX": (9, 5), "trainY": (9,), "testX": (9, 5), "testY": (9,)},
        {"Xtrain": (9, 5), "ytrain": (9,), "Xtest": (9, 5), "ytest": (9,)},
        {"mnist_train": (9, 5), "mnist_val": (9, 5), "names": (9,)},
        {"x_tr": (9, 5), "y_tr": (9,), "x_te": (9, 5), "y_te": (9,)},
        {"Xtr": (9, 5), "Ytr": (9,), "Xte": (9, 5), "Yte": (9,)},
        {"images_tr": (9, 4, 4), "images_te": (9, 4, 4), "ids": (9,)},
    ],
)
def test_splits_of_one_length_are_offered_apart(shapes: Shapes, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """By the library and at the prompt, and all together last."""
    path = write(tmp_path / f"a.{ending}", shapes)
    with pytest.raises(ConfigError, match="are of two splits, and would be fields of one record") as caught:
        sl.open(path)
    readings = [one["fields"] for one in caught.value.details["readings"]]
    assert sorted(readings[-1]) == sorted(shapes)
    assert caught.value.hint == "Say it: " + "; or ".join(f"fields={one} (9 records)" for one in readings) + "."
    for fields in readings:
        with sl.open(path, fields=fields) as source:
            assert sorted(int(values.max()) for values in source[:].values()) == sorted(list(shapes).index(name) + 1 for name in fields)
    assert f"--fields {','.join(readings[0])}" in said(capsys, "info", path)[1]


@pytest.mark.parametrize("ending", ["npz", "zarr"])
@pytest.mark.parametrize(
    "shapes",
    [
        {"x": (9, 5), "y": (9,), "train_mask": (9,), "val_mask": (9,), "test_mask": (9,)},
        {"image": (9, 4, 4), "pred_train": (9,), "pred_test": (9,)},
        {"contest": (9, 2), "latest": (9, 2), "std_dev": (9, 2)},
        {"train_x": (9, 2), "train_y": (9,)},
        {"x_tr": (9, 2), "y_tr": (9,)},
        {"image": (9, 4, 4), "score_tr": (9,), "score_te": (9,)},
        {"tree": (9, 2), "site": (9, 2), "ter": (9, 2)},
        {"img1_rgb": (9, 4, 4), "img2_rgb": (9, 4, 4), "label": (9,)},
        {"x_validation_0": (9, 2), "x_valid_1": (9, 2)},
    ],
)
def test_columns_that_speak_of_splits_are_fields(shapes: Shapes, ending: str, tmp_path: Path):
    """Beside others, a number a record each; and arrays of one split."""
    with sl.open(write(tmp_path / f"a.{ending}", shapes)) as source:
        assert sorted(source.schema.names) == sorted(shapes)


def test_groups_of_a_store_are_splits(tmp_path: Path):
    """As datasets of HDF5 are."""
    path = write(tmp_path / "a.zarr", {"train/x": (9, 5), "train/y": (9,), "test/x": (9, 5), "test/y": (9,)})
    with pytest.raises(ConfigError, match="'test/x' and 'train/x' are of two splits"):
        sl.open(path)
    with sl.open(path, fields=["train/x", "train/y"]) as source:
        assert [int(values.max()) for values in source[:].values()] == [1, 2]


def test_an_archive_that_a_conversion_writes_says_that_its_arrays_are_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Whoever names them has decided."""
    write(tmp_path / "a.npz", {"X_train": (9, 5), "X_test": (9, 5)})
    code, shown = said(capsys, "convert", tmp_path / "a.npz", tmp_path / "b.npz", "--fields", "X_train,X_test")
    assert code == 0, shown
    with sl.open(tmp_path / "b.npz") as source:
        assert [int(source[:][name].max()) for name in ("X_train", "X_test")] == [1, 2]
    with np.load(tmp_path / "b.npz") as held:
        assert sorted(held) == ["X_test", "X_train"]


def test_stores_of_several_splits_are_never_mixed(tmp_path: Path):
    """By any word that tells files apart; my_test_set is none of a split."""
    for at, name in enumerate(("my_test_set-train.zarr", "my_test_set-dev.zarr")):
        write(tmp_path / name, {"x": (2 + at, 5)})
    with pytest.raises(ConfigError, match=r"holds datasets of several splits \(dev, train\), whose records would be mixed"):
        sl.open(tmp_path)
    with sl.open(tmp_path, split="validation") as source:
        assert len(source) == 3


def test_short_words_of_splits_tell_datasets_of_hdf5_apart(tmp_path: Path):
    """As the long ones do."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, shape in (("x_tr", (9, 5)), ("y_tr", (9,)), ("x_te", (9, 5)), ("y_te", (9,))):
            file[name] = np.zeros(shape)
    with pytest.raises(ConfigError, match="are of two splits, and would be fields of one record"):
        sl.open(tmp_path / "a.h5")
    assert sl.open(tmp_path / "a.h5", fields=["x_te", "y_te"]).schema.names == ("x_te", "y_te")

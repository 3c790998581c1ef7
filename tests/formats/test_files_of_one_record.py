"""Files that hold one record each, and files that hold one field each: neither is taken for more records in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import said

import streamload as sl
from streamload.errors import ConfigError, SchemaMismatchError

RNG = np.random.default_rng(0)
Arrays = dict[str, np.ndarray]


def slices(kind: str, number: int) -> Arrays:
    """One record, as datasets of medicine, driving and robots lie in files of their own."""
    return {
        "brats": {"image": RNG.normal(size=(24, 20, 4)), "mask": np.full((24, 20, 3), number, np.uint8)},
        "synapse": {"image": RNG.random((16, 20), np.float32), "label": np.full((16, 20), number, np.float32)},
        "acdc": {"image": RNG.random((16 + number, 20), np.float32), "label": np.full((16 + number, 20), number, np.uint8)},
        "colours": {"img": np.full((24, 30, 3), number, np.uint8)},
        "grey": {"mask": np.full((24, 30), number, np.uint8)},
    }[kind]


def write(folder: Path, kind: str, number: int, ending: str) -> None:
    """As a file of its own."""
    held = slices(kind, number)
    if ending == "npz":
        np.savez(folder / f"case_{number}.npz", **held)
    elif ending == "npy":
        np.save(folder / f"{next(iter(held))}_{number}.npy", next(iter(held.values())))
    else:
        with h5py.File(folder / f"volume_1_slice_{number}.h5", "w") as file:
            for name, array in held.items():
                file[name] = array


@pytest.mark.parametrize(
    ("kind", "ending"), [("brats", "h5"), ("synapse", "npz"), ("acdc", "h5"), ("colours", "npy"), ("grey", "npy"), ("colours", "h5")]
)
def test_rows_of_pictures_are_no_records(kind: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Both readings are offered, and each gives as many records as it says."""
    for number in range(3):
        write(tmp_path, kind, number, ending)
    with pytest.raises(ConfigError, match="each of 3 files looks like one picture") as caught:
        sl.open(tmp_path)
    whole, rows = caught.value.details["readings"]
    assert (whole["record_axis"], whole["records"], "record_axis" in rows) == (None, 3, False)
    with sl.open(tmp_path, fields=whole["fields"], record_axis=None) as source:
        assert len(source) == 3
        for number in range(3):
            name = source.schema.names[-1]
            assert (np.asarray(source[number][name]) == number).all()
    with sl.open(tmp_path, fields=rows["fields"]) as source:
        assert len(source) == rows["records"]
    code, shown = said(capsys, "info", tmp_path)
    assert (code, "3 records" in shown, "--record-axis none" in shown) == (1, True, True)
    code, shown = said(capsys, "convert", tmp_path, tmp_path.parent / f"{tmp_path.name}.parquet", "--record-axis", "none")
    assert code == 0, shown


@pytest.mark.parametrize("heights", [(100, 100), (100, 120), (100, 140, 100)], ids=["as many as numbers", "taller", "of several heights"])
@pytest.mark.parametrize("name", ["x", "image", "depth"])
def test_pictures_alone_are_told_by_names_and_heights(name: str, heights: tuple[int, ...], tmp_path: Path):
    """Of three channels whatever they are called; of one where they are called as pictures are."""
    for number, height in enumerate(heights):
        shape = (height, 100) if name != "x" else (height, 100, 3)
        np.savez(tmp_path / f"part-{number}.npz", **{name: np.zeros(shape, np.float32 if name == "depth" else np.uint8)})
    with pytest.raises(ConfigError, match="looks like one picture"):
        sl.open(tmp_path)


@pytest.mark.parametrize(
    "held",
    [
        {"image": np.zeros((20, 30), np.uint8), "label": np.arange(20)},
        {"input_ids": np.zeros((20, 30), np.int32), "attention_mask_of": np.zeros((20, 16), np.int8)},
        {"images": np.zeros((40, 64), np.uint8)},
        {"image": np.zeros((20, 8, 8, 3), np.uint8)},
        {"image": np.zeros((400, 28), np.uint8)},
        {"points": np.zeros((20, 30, 3), np.float32)},
        {"dna": np.zeros((200, 100, 4), np.uint8)},
        {"x": np.zeros((100, 51, 3), np.uint8)},
        {"x": np.zeros((40, 20, 1), np.uint8)},
        {"image": np.zeros((100, 64), np.uint8)},
        {"image": np.zeros((100, 75), np.float32)},
        {"img_emb": np.zeros((64, 64), np.float16)},
        {"input_ids": np.zeros((64, 64), np.int32), "attention_mask": np.zeros((64, 64), np.int8)},
        {"x": np.zeros((100, 51), np.float32), "mask": np.zeros((100, 51), np.uint8)},
        {"temperature": np.zeros((40, 40), np.float32), "depth": np.zeros((40, 40), np.float32)},
    ],
    ids=[
        "a number a row",
        "tokens",
        "many",
        "whole images",
        "much longer",
        "points",
        "one-hot",
        "three numbers",
        "one number",
        "flattened",
        "flattened, scaled",
        "embeddings",
        "what counts of tokens",
        "what is missing",
        "profiles",
    ],
)
def test_files_of_rows_are_what_they_are(held: Arrays, tmp_path: Path):
    """Where something says that rows are records, or nothing says that they are not."""
    for number in range(2):
        np.savez(tmp_path / f"part-{number}.npz", **held)
    with sl.open(tmp_path) as source:
        assert len(source) == 2 * len(next(iter(held.values())))


def _patches(folder: Path) -> list[str]:
    for name, array in {"mask": np.zeros((9, 4, 4), np.uint8), "x": np.ones((9, 4, 4, 3), np.uint8), "y": np.arange(9)}.items():
        with h5py.File(folder / f"camelyon_valid_{name}.h5", "w") as file:
            file[name] = array
    return ["mask", "x", "y"]


def _corruptions(folder: Path) -> list[str]:
    for name in ("fog", "snow"):
        np.save(folder / f"{name}.npy", np.zeros((9, 4, 4, 3), np.uint8))
    np.save(folder / "labels.npy", np.arange(9))
    return ["fog", "labels", "snow"]


def _versions(folder: Path) -> list[str]:
    np.save(folder / "cifar10.1_v6_data.npy", np.zeros((9, 4, 4, 3), np.uint8))
    np.save(folder / "cifar10.1_v6_labels.npy", np.arange(9))
    return ["cifar10.1_v6_data", "cifar10.1_v6_labels"]


@pytest.mark.parametrize("make", [_patches, _corruptions, _versions])
def test_files_of_fields_are_joined_by_the_call_that_is_shown(make: Any, tmp_path: Path):
    """Where each holds one field of as many records, which the refusal says."""
    names = make(tmp_path)
    with pytest.raises(SchemaMismatchError) as caught:
        sl.open(tmp_path)
    hint = caught.value.hint
    assert hint.startswith("Each holds 9 records: if they are fields of the same, sl.open({")
    with eval(hint[hint.index("sl.open") :].rstrip("."), {"sl": sl}) as source:
        assert len(source) == 9
        assert sorted(source.schema.names) == names


@pytest.mark.parametrize("names", [("train_1", "test_1"), ("train/x", "test/y"), ("a", "b")], ids=["files", "folders", "fields"])
def test_splits_are_not_offered_as_fields_of_the_same(names: tuple[str, str], tmp_path: Path):
    """Records of what is learnt from and of what it is tested with are none of each other."""
    paths = [tmp_path / f"{name}.h5" for name in names]
    for path, field in zip(paths, ("train_x", "test_x") if names == ("a", "b") else ("a", "b"), strict=True):
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file[field] = np.zeros((50, 4))
    with pytest.raises(SchemaMismatchError) as caught:
        sl.open(paths)
    assert "if they are fields of the same" not in caught.value.hint


def test_files_that_differ_in_length_are_not_offered_as_one(tmp_path: Path):
    """Nor those that cannot be opened alone."""
    np.save(tmp_path / "a.npy", np.zeros((9, 4)))
    np.save(tmp_path / "b.npy", np.zeros(8))
    with pytest.raises(SchemaMismatchError) as caught:
        sl.open(tmp_path)
    assert caught.value.hint.startswith("Files of one source have one schema")

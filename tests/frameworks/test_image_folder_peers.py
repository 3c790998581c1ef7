"""Folders of images: record for record what torchvision's ImageFolder and Hugging Face's imagefolder deliver of them."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from bench.peers.torchvision_operators import import_torchvision

pytestmark = pytest.mark.filterwarnings("ignore")

SIDE = 16


def image(number: int) -> np.ndarray:
    """A smooth image that no other number has."""
    corners = np.random.default_rng(number).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.kron(corners, np.ones((SIDE // 2, SIDE // 2, 1), np.uint8))


def torchvision_folders() -> Any:
    """torchvision's data sets, also where its compiled operators do not fit the build of PyTorch."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    return import_torchvision().datasets


def write(folder: Path, names: list[str]) -> None:
    """An image under each name, JPEG or PNG as it says, grey where it says so."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Image.fromarray(image(number))
        (made.convert("L") if "grey" in name else made).save(path, quality=90)


NAMES = (
    *("b/2.png", "b/10.png", "b/x y/1.png", "b/x/9.jpg", "b/x-y/0.png", "b/x/deep/er/1.JPG", "B/0.jpeg", "B/_0.png"),
    *("a b/0.png", "a-b/0.png", "a/b/0.png", "a.b/0.png", "1/0.png", "10/0.png", "9/0.png"),
    *("\u00e9/z\u00e9.png", "\u00e9/z\U0001f600.png", "\u00e9/z\uffee.png", "e\u0301/0.png", "Z/grey.png", "Z/grey.jpg"),
)
"""Names that sort otherwise by folder than by path, by number than by text, in small letters than in capitals."""


def test_classes_order_labels_and_images_are_those_of_torchvision(tmp_path: Path) -> None:
    """Also below links to folders, beside files that are no images."""
    folders = torchvision_folders()
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    write(root, list(NAMES))
    write(elsewhere, ["l/1.png", "0.png"])
    os.symlink(elsewhere, root / "linked")
    for name in ("b/notes.txt", "b/x/metadata.xml"):
        (root / name).write_text("no image")
    known = folders.ImageFolder(root)
    assert len(known) == len(NAMES) + 2
    with sl.open(root) as source:
        assert source.classes["label"] == tuple(known.classes)
        taken = source[:]
        paths = [os.path.realpath(was.path) for was in source.fingerprints]
        with sl.Loader(source, batch_size=5, shuffle=False, num_workers=0, memory="256 MB") as loader:
            batches = [(batch["image"].copy(), batch["label"].tolist()) for batch in loader]
    assert paths == [os.path.realpath(path) for path, _ in known.samples]
    assert taken["label"].tolist() == known.targets
    expected = np.stack([np.asarray(known[record][0]) for record in range(len(known))])
    assert np.array_equal(taken["image"], expected)
    assert np.array_equal(np.concatenate([images for images, _ in batches]), expected)
    assert [label for _, labels in batches for label in labels] == known.targets


def of_datasets(root: Path, split: str, folder: Path) -> Any:
    """What `load_dataset` makes of a folder, kept elsewhere than in it."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return datasets.load_dataset("imagefolder", data_dir=str(root), split=split, cache_dir=str(folder / "cache"))


def by_bytes(images: np.ndarray, values: list[Any]) -> list[tuple[bytes, Any]]:
    """Images and what is said of each, in an order that is of neither library."""
    return sorted(((one.tobytes(), value) for one, value in zip(images, values, strict=True)), key=lambda pair: pair[0])


def pixels(rows: Any) -> np.ndarray:
    """The images of a data set, decoded: shape (records, SIDE, SIDE, 3)."""
    return np.stack([np.asarray(one.convert("RGB")) for one in rows["image"]])


@pytest.mark.parametrize("split", ["train", "test"])
def test_splits_and_classes_are_those_of_datasets(split: str, tmp_path: Path) -> None:
    """A folder for each split, in it a folder for each class: the same images under the same names of classes."""
    write(
        tmp_path / "data",
        [f"{part}/{name}/{number}.png" for part in ("train", "test") for name in ("owl", "Cat", "a b") for number in range(4)],
    )
    theirs = of_datasets(tmp_path / "data", split, tmp_path)
    names = theirs.features["label"].names
    with sl.open(tmp_path / "data", split=split) as source:
        taken, classes = source[:], source.classes["label"]
    assert classes == tuple(names)
    assert len(theirs) == 12
    assert by_bytes(taken["image"], taken["label"].tolist()) == by_bytes(pixels(theirs), list(theirs["label"]))


def test_images_without_classes_are_those_of_datasets(tmp_path: Path) -> None:
    """All in one folder: no labels."""
    write(tmp_path / "data", ["0.png", "1.jpg", "2.png"])
    theirs = of_datasets(tmp_path / "data", "train", tmp_path)
    with sl.open(tmp_path / "data") as source:
        assert list(source.schema.names) == list(theirs.features) == ["image"]
        assert by_bytes(source[:]["image"], [0] * 3) == by_bytes(pixels(theirs), [0] * 3)


ROWS = [
    {
        "file_name": f"deep/{number}.png" if number % 2 else f"{number}.png",
        "caption": f'\u00e9, no "{number}"',
        "score": number / 8,
        "count": 2**53 + number,
    }
    for number in (3, 0, 4, 1, 2)
]


def table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as a table of the kind that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_metadata_says_of_images_what_datasets_says(ending: str, tmp_path: Path) -> None:
    """In the order of its rows: texts, fractions and large whole numbers."""
    write(tmp_path / "data", [f"deep/{number}.png" if number % 2 else f"{number}.png" for number in range(5)])
    table(tmp_path / "data" / f"metadata.{ending}", ROWS)
    theirs = of_datasets(tmp_path / "data", "train", tmp_path)
    with sl.open(tmp_path / "data") as source:
        taken = source[:]
    assert np.array_equal(taken["image"], pixels(theirs))
    assert list(taken["caption"]) == list(theirs["caption"]) == [row["caption"] for row in ROWS]
    assert taken["score"].tolist() == list(theirs["score"])
    assert taken["count"].tolist() == list(theirs["count"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_metadata_of_a_split_is_that_of_datasets(split: str, tmp_path: Path) -> None:
    """A table in the folder of each split."""
    root = tmp_path / "data"
    write(root, [f"{part}/{number}.png" for part in ("train", "test") for number in range(3)])
    for part in ("train", "test"):
        table(root / part / "metadata.csv", [{"file_name": f"{number}.png", "caption": f"{part} {number}"} for number in (2, 0, 1)])
    theirs = of_datasets(root, split, tmp_path)
    with sl.open(root, split=split) as source:
        taken = source[:]
    assert np.array_equal(taken["image"], pixels(theirs))
    assert list(taken["caption"]) == list(theirs["caption"]) == [f"{split} {number}" for number in (2, 0, 1)]

"""Folders of images: classes and their order, splits, tables of labels, masks, what is left out, and files that go while they are read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import streamload as sl
from streamload.errors import (
    ConfigError,
    CorruptDataError,
    NullValueError,
    SchemaMismatchError,
    SourceChangedError,
    SourceError,
    UnsafeSourceError,
)
from streamload.omissions import Omission


def image(number: int) -> np.ndarray:
    """An image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def write(folder: Path, names: Sequence[str]) -> None:
    """Images of these names, numbered in their order."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(number)).save(folder / name)


def numbers_of(source: sl.Source) -> list[int]:
    """Which of the images that were written are the records."""
    known = {image(number).tobytes(): number for number in range(100)}
    return [known[one.tobytes()] for one in source[:]["image"]]


def as_torchvision(root: Path) -> list[tuple[str, int]]:
    """What ImageFolder of torchvision lists: paths and classes, in its order."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    found: list[tuple[str, int]] = []
    for number, name in enumerate(classes):
        for here, _, files in sorted(os.walk(root / name, followlinks=True)):
            found += [(os.path.join(here, file), number) for file in sorted(files) if file.lower().endswith((".png", ".jpg"))]
    return found


def test_classes_and_order_are_those_of_torchvision(tmp_path: Path):
    """Folders that sort otherwise than paths do, folders in folders, links to folders, capitals."""
    names = ["a/z.png", "a/b/1.png", "a/b-c/2.png", "a/b/d/0.png", "a-b/0.png", "B/10.PNG", "B/9.png", "a/b/10.png"]
    write(tmp_path / "data", names)
    write(tmp_path / "elsewhere", ["linked.png"])
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "c")
    source = sl.open(tmp_path / "data")
    expected = as_torchvision(tmp_path / "data")
    table = source.fingerprints
    assert [os.path.realpath(was.path) for was in table] == [os.path.realpath(path) for path, _ in expected]
    assert source[:]["label"].tolist() == [label for _, label in expected]
    assert source.classes == {"label": ("B", "a", "a-b", "c")}
    for record, (path, _) in enumerate(expected):
        np.testing.assert_array_equal(source[record]["image"], np.asarray(Image.open(path)))
    source.close()


def test_a_folder_without_images_is_a_class_and_one_without_folders_has_no_labels(tmp_path: Path):
    """Numbers do not change when it is filled."""
    write(tmp_path / "some", ["cat/0.png", "eel/1.png"])
    (tmp_path / "some" / "dog").mkdir()
    with sl.open(tmp_path / "some") as source:
        assert source.classes == {"label": ("cat", "dog", "eel")}
        assert source[:]["label"].tolist() == [0, 2]
    write(tmp_path / "flat", ["0.png", "1.png"])
    with sl.open(tmp_path / "flat") as source:
        assert source.schema.names == ("image",)
        assert numbers_of(source) == [0, 1]
    write(tmp_path / "some", ["0.png"])
    with pytest.raises(SchemaMismatchError, match="holds 1 images beside folders with 2: what is their label"):
        sl.open(tmp_path / "some")


def test_splits_are_never_mixed(tmp_path: Path):
    """Refused with their names; chosen by name, or by another word for it."""
    write(tmp_path, ["train/cat/0.png", "train/dog/1.png", "valid/cat/2.png", "test/cat/3.png"])
    with pytest.raises(
        ConfigError, match=re.escape('holds splits (test, train, valid), whose records would be mixed. Choose one: split="train".')
    ):
        sl.open(tmp_path)
    for split, expected in (("train", [0, 1]), ("valid", [2]), ("val", [2]), ("test", [3])):
        with sl.open(tmp_path, split=split) as source:
            assert numbers_of(source) == expected
    with pytest.raises(ConfigError, match=re.escape("has no split 'holdout'. It has test, train, valid.")):
        sl.open(tmp_path, split="holdout")
    with pytest.raises(ConfigError, match="It has none: leave split= out"):
        sl.open(tmp_path / "train", split="train")
    write(tmp_path / "capitals", ["Train/cat/0.png", "Val/cat/1.png"])
    with pytest.raises(ConfigError, match=re.escape('holds splits (Train, Val), whose records would be mixed. Choose one: split="Train".')):
        sl.open(tmp_path / "capitals")


ROWS: list[dict[str, Any]] = [
    {"file_name": "b.png", "label": "owl", "age": 3, "weight": 0.5},
    {"file_name": "a.png", "label": "cat", "age": None, "weight": None},
    {"file_name": "in/c.png", "label": "cat", "age": 7, "weight": 2},
]


def written_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Rows as CSV, JSON lines or Parquet."""
    if path.suffix == ".csv":
        lines = [",".join("" if row[name] is None else str(row[name]) for name in rows[0]) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({name: value for name, value in row.items() if value is not None}) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_tables_say_labels_and_what_they_lack_is_never_made_up(ending: str, tmp_path: Path):
    """Rows in their order; texts are classes; a missing number is a null, a missing fraction NaN."""
    write(tmp_path / "data", ["a.png", "b.png", "in/c.png", "d.png"])
    table = written_table(tmp_path / f"labels.{ending}", ROWS)
    with sl.open(tmp_path / "data", labels=table) as source:
        assert source.classes == {"label": ("cat", "owl")}
        assert source.nulls["age"].count == 1
        assert source.omissions == (Omission("file", f"an image that labels.{ending} does not name", 1, ("d.png",)),)
        with pytest.raises(NullValueError, match="null at row 1 of column 'age'"):
            source[:]
    with sl.open(tmp_path / "data", labels=table, fill={"age": -1}) as source:
        assert numbers_of(source) == [1, 0, 2]
        taken = source[:]
        assert taken["label"].tolist() == [1, 0, 0]
        assert taken["age"].tolist() == [3, -1, 7]
        np.testing.assert_array_equal(taken["weight"], [0.5, np.nan, 2])


def test_a_table_in_the_folder_is_taken_and_rows_without_an_image_are_nulls(tmp_path: Path):
    """It is said; a row for nothing is left out where that is asked for."""
    write(tmp_path, ["a.png", "b.png"])
    written_table(
        tmp_path / "metadata.csv", [{"file_name": "b.png", "x": 1}, {"file_name": "gone.png", "x": 2}, {"file_name": "a.png", "x": 3}]
    )
    source = sl.open(tmp_path)
    assert "labels are those of metadata.csv, which lies in the folder" in source.notes
    assert f"{tmp_path / 'metadata.csv'} names 1 file of which there is no image: gone.png" in source.notes
    assert not source.omissions
    with sl.Loader(source, batch_size=3, num_workers=0, shuffle=False, on_bad_record="skip") as loader:
        (batch,) = loader
        assert batch["x"].tolist() == [1, 3]
    with pytest.raises(CorruptDataError) as caught:
        source.replaced(nulls={})[1]
    assert caught.value.message == f"{tmp_path}: record 1 of 'image' is empty, where an image should be."
    source.close()


def test_a_table_beside_splits_says_what_is_in_each(tmp_path: Path):
    """Named, it is read, and a class has one number in all splits; not named, it is said to be there, and that it is not read."""
    write(tmp_path, ["train/a.png", "train/b.png", "test/a.png"])
    labels = {"train/b.png": "owl", "test/a.png": "bee", "train/a.png": "cat"}
    table = written_table(tmp_path / "labels.csv", [{"file_name": name, "label": label, "of": name} for name, label in labels.items()])
    for split, images, numbers, others in (("train", [1, 0], [2, 1], "1 row"), ("test", [2], [0], "2 rows")):
        with sl.open(tmp_path, split=split, labels=table) as source:
            assert source.classes == {"label": ("bee", "cat", "owl")}
            assert f"{table} has {others} of files outside of {tmp_path / split}" in source.notes
            assert numbers_of(source) == images
            assert source[:]["label"].tolist() == numbers
            assert list(source[:]["of"]) == [name for name in labels if name.startswith(split)]
        with sl.open(tmp_path, split=split) as source:
            assert f"labels.csv lies beside the splits and is not read: labels='{table}' takes what it says" in source.notes
            assert "of" not in source.schema.names


def test_texts_of_tables_stay_texts_where_they_are_no_names_of_classes(tmp_path: Path):
    """Captions, few or many, with one that is missing; what repeats is classes, and so is whatever is called label."""
    write(tmp_path, [f"{at}.png" for at in range(6)])
    rows = [{"file_name": f"{at}.png", "label": f"l{at}", "kind": "ab"[at % 2], "caption": f"picture {at}"} for at in range(6)]
    written_table(tmp_path / "metadata.csv", rows)
    with sl.open(tmp_path) as source:
        assert source.classes == {"label": tuple(f"l{at}" for at in range(6)), "kind": ("a", "b")}
        assert str(source.schema["caption"]) == "caption text (ragged)"
        assert source[:]["caption"].to_list() == [f"picture {at}" for at in range(6)]
    written_table(tmp_path / "metadata.csv", [row | {"caption": None if row["label"] == "l3" else row["caption"]} for row in rows])
    with sl.open(tmp_path, ["caption"]) as source, pytest.raises(NullValueError, match=r"3\.png: null at row 0 of column 'caption'"):
        source[:]
    with sl.open(tmp_path, ["caption"], fill={"caption": "?"}) as source:
        assert source[2:5]["caption"].to_list() == ["picture 2", "?", "picture 4"]


WRONG: dict[str, tuple[str, type[Exception], str]] = {
    "twice": ("file_name,x\na.png,1\na.png,2\n", SchemaMismatchError, "names a.png in 2 rows"),
    "outside": ("file_name,x\n../a.png,1\n", UnsafeSourceError, "names '../a.png', which lies outside"),
    "a zero byte": ("file_name,x\na\0.png,1\n", CorruptDataError, "which no file can be called: it holds a zero byte"),
    "no names": ("x,y\n1,2\n", ConfigError, "has no column with names of files; it has x, y. Call it file_name."),
}


@pytest.mark.parametrize("what", WRONG)
def test_tables_that_cannot_be_right_are_refused(what: str, tmp_path: Path):
    """By their names."""
    text, error, said = WRONG[what]
    write(tmp_path, ["a.png"])
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(error, match=re.escape(said)):
        sl.open(tmp_path)


def test_masks_keep_their_numbers(tmp_path: Path):
    """Palettes, few levels of grey, at their own size and scaled; an image without a mask is a null."""
    write(tmp_path, ["images/0.png", "images/1.png", "images/2.png"])
    (tmp_path / "masks").mkdir()
    numbers = np.random.default_rng(0).integers(0, 4, (6, 5), dtype=np.uint8)
    indexed = Image.fromarray(numbers, mode="P")
    indexed.putpalette([9, 8, 7] * 4)
    indexed.save(tmp_path / "masks" / "0_mask.png", bits=8)
    two = Image.fromarray(numbers, mode="P")
    two.putpalette([0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255])
    two.save(tmp_path / "masks" / "1.png", bits=2)
    Image.fromarray(numbers).save(tmp_path / "masks" / "alone.png")
    source = sl.open(tmp_path)
    assert source.omissions == (Omission("file", "a mask without an image", 1, ("masks/alone.png",)),)
    assert source.schema["mask"].shape == (6, 5, 1)
    for record in (0, 1):
        np.testing.assert_array_equal(source[record]["mask"][:, :, 0], numbers)
    with pytest.raises(SourceError):
        source[2]
    with sl.Loader(source, batch_size=3, num_workers=0, shuffle=False, on_bad_record="skip") as loader:
        (batch,) = loader
        np.testing.assert_array_equal(batch["mask"][..., 0], np.stack([numbers, numbers]))
    source.close()
    with sl.open(tmp_path, decode={"image": (12, 10), "mask": (12, 10)}) as larger:
        np.testing.assert_array_equal(larger[0]["mask"][:, :, 0], numbers.repeat(2, 0).repeat(2, 1))


def test_images_of_other_sizes_are_augmented_as_they_are(tmp_path: Path):
    """With the mask that belongs to each."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(4):
        numbers = np.full((30 + number, 20 + number), number, np.uint8)
        Image.fromarray(np.repeat(numbers[:, :, None], 3, 2)).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(numbers).save(tmp_path / "masks" / f"{number}.png")
    augment = sl.Augment("image", sl.augment.RandomCrop(16), masks="mask")
    with sl.open(tmp_path) as source, sl.Loader(source, batch_size=4, num_workers=0, shuffle=False, augment=augment) as loader:
        assert source.schema["image"].ragged == "bytes"
        (batch,) = loader
        assert batch["image"].shape[:3] == (4, 16, 16)
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch.records)
        np.testing.assert_array_equal(batch["mask"][:, 0, 0], batch.records)


def test_masks_beside_classes_are_not_one_of_them(tmp_path: Path):
    """Told by names and pixels."""
    write(tmp_path, ["photos/0.png", "photos/1.png"])
    (tmp_path / "masks").mkdir()
    for number in (0, 1):
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    with pytest.raises(ConfigError, match=r"holds masks .masks. of the images in photos, which are no class of their own"):
        sl.open(tmp_path)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path):
    """Other files by their endings, links that lead nowhere; hidden files, and words about the data, are nobody's."""
    write(tmp_path, ["cat/0.png", "dog/1.png", ".hidden/2.png"])
    for name in ("cat/a.xml", "cat/b.xml", "dog/.x.png", "README.md", "cat/Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    os.symlink("nowhere.png", tmp_path / "dog" / "9.png")
    with sl.open(tmp_path) as source:
        assert numbers_of(source) == [0, 1]
        assert source.omissions == (
            Omission("file", ".xml is not read here", 2, ("cat/a.xml", "cat/b.xml")),
            Omission("file", "cannot be looked at: No such file or directory", 1, ("dog/9.png",)),
        )
        assert "left out: 2 files, .xml is not read here (cat/a.xml, cat/b.xml)" in repr(source)


def test_a_folder_is_what_most_of_its_files_are(tmp_path: Path):
    """A picture beside data does not make it one of images."""
    np.save(tmp_path / "x.npy", np.arange(6))
    np.save(tmp_path / "y.npy", np.arange(6))
    write(tmp_path, ["0.png"])
    with pytest.raises(CorruptDataError, match=r"0.png .* is a PNG image"):
        sl.open(tmp_path)
    write(tmp_path, ["1.png", "2.png"])
    with sl.open(tmp_path) as source:
        assert source.format_name == "Images"
        assert source.omissions == (Omission("file", ".npy is not read here", 2, ("x.npy", "y.npy")),)


def test_folders_with_other_classes_are_no_one_source(tmp_path: Path):
    """A number would stand for two things."""
    write(tmp_path / "a", ["cat/0.png", "dog/1.png"])
    write(tmp_path / "b", ["cat/0.png", "eel/1.png"])
    with pytest.raises(SchemaMismatchError, match=r"The classes of 'label' in .*a are not those in .*b"):
        sl.open([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize("augmented", [False, True])
def test_a_file_that_goes_is_a_bad_record(augmented: bool, tmp_path: Path):
    """By policy, with its name; an error without one."""
    write(tmp_path, [f"cat/{number}.png" for number in range(6)])
    augment = sl.Augment("image", sl.augment.CenterCrop(4)) if augmented else None
    source = sl.open(tmp_path, decode=False if augmented else None)
    os.remove(tmp_path / "cat" / "2.png")
    Image.fromarray(image(50)).save(tmp_path / "cat" / "4.png")
    with sl.Loader(source, batch_size=6, num_workers=0, shuffle=False, augment=augment, on_bad_record="skip") as loader:
        (batch,) = loader
        assert batch.records.tolist() == [0, 1, 3, 5]
        assert [bad.record for bad in loader.bad_records] == [2, 4]
        assert loader.bad_records[0].why.startswith(f"{tmp_path / 'cat' / '2.png'} is gone: No such file or directory.")
    with (
        sl.Loader(source, batch_size=6, num_workers=0, augment=augment) as loader,
        pytest.raises(SourceChangedError, match=r"\.png (is gone|was)"),
    ):
        next(iter(loader))
    source.close()

"""Tars of class folders: labels as a folder of images has them, said as a guess; and folders that are no classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from examples.tar import png, write

import streamload as sl


def image(number: int) -> np.ndarray:
    """An image that no other number has."""
    return np.full((4, 5, 3), number, np.uint8)


def tar_of(path: Path, folders: Mapping[str, int], above: str = "") -> Path:
    """An archive of so many images in each folder."""
    names = [f"{above}{folder}/{number:03}.png" for folder, count in folders.items() for number in range(count)]
    write(path, [(name, png(image(number))) for number, name in enumerate(names)])
    return path


@pytest.mark.parametrize("above", ["", "./", "photos/", "./data/train/", "/abs/"])
def test_labels_are_those_of_the_folder_that_was_packed(above: str, tmp_path: Path):
    """The classes of the folder itself, in the same order, and the same images for each number."""
    folders = {"owl": 3, "Cat": 2, "10": 2, "9": 2, "ü b": 3}
    path = tar_of(tmp_path / "x.tar", folders, above)
    at = 0
    for folder, count in folders.items():
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "photos" / folder / f"{number:03}.png").write_bytes(png(image(at + number)))
        at += count
    with sl.open(path) as packed, sl.open(tmp_path / "photos") as folder_itself:
        assert packed.classes == folder_itself.classes == {"label": ("10", "9", "Cat", "owl", "ü b")}
        here, there = packed[:], folder_itself[:]
        assert any("'label' is a guess: the folder that each member lies in, 5 classes (10, 9, Cat, ...)" in note for note in packed.notes)
    pairs = [sorted(zip(one["image"][:, 0, 0, 0].tolist(), one["label"].tolist(), strict=True)) for one in (here, there)]
    assert pairs[0] == pairs[1]


def test_the_first_folder_counts_and_archives_share_their_classes(tmp_path: Path):
    """Deeper folders are of the class above them; a class that one archive lacks has its number all the same; again from what is kept."""
    tar_of(tmp_path / "a.tar", {"cat/young": 2, "cat/old": 2})
    tar_of(tmp_path / "b.tar", {"dog": 2, "ant": 1})
    for _ in range(2):
        with sl.open([tmp_path / "a.tar", tmp_path / "b.tar"]) as source:
            assert source.classes == {"label": ("ant", "cat", "dog")}
            assert source[:]["label"].tolist() == [1, 1, 1, 1, 2, 2, 0]
    with sl.open(tmp_path / "a.tar") as source:  # Alone, what is above is no class.
        assert source.classes == {"label": ("old", "young")}


def test_labels_are_delivered_by_a_loader(tmp_path: Path):
    """Shuffled, by workers, with the image that each is of."""
    path = tar_of(tmp_path / "x.tar", {"cat": 5, "dog": 7})
    with sl.open(path) as source, sl.Loader(source, batch_size=4, num_workers=1) as loader:
        pairs = [(int(i[0, 0, 0]), int(label)) for batch in loader for i, label in zip(batch["image"], batch["label"], strict=True)]
    assert sorted(pairs) == [(number, int(number >= 5)) for number in range(12)]


@pytest.mark.parametrize(
    "folders",
    [
        {"a": 3},  # One folder, which holds all.
        {"train": 3, "cars": 3},  # Called as a split is.
        {"images": 3, "depth": 3},
        {"rgb": 3, "masks": 3},
        {"00001": 1, "00002": 1, "00003": 1},  # A record each.
        {"000": 4, "001": 4, "002": 2},  # Parts of a set.
    ],
)
def test_folders_that_are_hardly_classes_make_no_label_unless_it_is_asked_for(folders: dict[str, int], tmp_path: Path):
    """As it is in a folder of images, where the user says so."""
    path = tar_of(tmp_path / "x.tar", folders)
    with sl.open(path) as source:
        assert source.schema.names == ("image",)
    with sl.open(path, fields=["image", "label"]) as source:
        assert source.classes == {"label": tuple(sorted(folders))}
        assert source[:]["label"].tolist() == [sorted(folders).index(name) for name, count in folders.items() for _ in range(count)]
        assert any("'label' is the folder that each member lies in" in note for note in source.notes)


def test_numbered_folders_of_different_sizes_are_classes(tmp_path: Path):
    """As road signs have them; but not where each archive is a folder of its own number."""
    tar_of(tmp_path / "x.tar", {"00000": 2, "00001": 5, "00002": 3})
    assert sl.open(tmp_path / "x.tar").classes == {"label": ("00000", "00001", "00002")}
    for number, count in enumerate((4, 3)):
        tar_of(tmp_path / f"{number:05}.tar", {f"{number:05}": count})
    assert sl.open(str(tmp_path / "{00000..00001}.tar")).schema.names == ("image",)


def test_splits_in_one_archive_are_said_and_make_no_label(tmp_path: Path):
    """All are read as one, and a note says so."""
    path = tar_of(tmp_path / "x.tar", {"train/cat": 2, "train/dog": 2, "val/cat": 2, "val/dog": 2})
    with sl.open(path) as source:
        assert source.schema.names == ("image",)
        assert "members lie in folders of several splits (train, val): all are read as one" in source.notes


def test_what_members_say_counts_and_not_their_folders(tmp_path: Path):
    """A class beside each image, or in JSON; and texts beside them leave the folder unread, unless it is asked for."""
    for ending, data in (("cls", b"5"), ("json", b'{"label": 5}')):
        write(tmp_path / f"{ending}.tar", [(f"c/{k}/{k}.{e}", d) for k in "ab" for e, d in (("png", png(image(1))), (ending, data))])
        with sl.open(tmp_path / f"{ending}.tar") as source:
            assert source[:]["label"].tolist() == [5, 5]
            assert not source.classes
    members = [(f"{k}/{n}.{e}", d) for k in "ab" for n in "12" for e, d in (("png", png(image(1))), ("txt", f"no {k}{n}".encode()))]
    write(tmp_path / "texts.tar", members)
    assert sl.open(tmp_path / "texts.tar").schema.names == ("image", "txt")
    with sl.open(tmp_path / "texts.tar", fields=["image", "label"]) as source:
        assert source.classes == {"label": ("a", "b")}


def test_a_record_beside_the_folders_leaves_no_classes(tmp_path: Path):
    """It would have none."""
    write(tmp_path / "x.tar", [("a/1.png", png(image(1))), ("b/1.png", png(image(2))), ("3.png", png(image(3)))])
    assert sl.open(tmp_path / "x.tar").schema.names == ("image",)

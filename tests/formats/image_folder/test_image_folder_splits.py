"""Folders of images within folders as people have them: splits below classes, masks beside splits, folders that are no classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import said
from PIL import Image
from test_image_folder import numbers_of, write
from test_image_folders_met import annotate

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError
from streamload.omissions import Omission


@pytest.mark.parametrize(
    ("folders", "alone"),
    [
        (["leftImg8bit/train/aachen", "leftImg8bit/val/bonn", "gtFine/train/aachen", "gtFine/val/bonn"], "leftImg8bit/train"),
        (["cat/train", "cat/test", "dog/train", "dog/test"], "cat/train"),
    ],
    ids=["by kind", "by class"],
)
def test_splits_within_classes_are_never_mixed(folders: list[str], alone: str, tmp_path: Path):
    """Folders that each hold the parts of a set are no classes whose images are one set; moved as the error says, none is lost."""
    write(tmp_path, [f"{folder}/{at}.png" for at, folder in enumerate(folders)])
    with pytest.raises(ConfigError, match=r"holds splits \((test, train|train, val)\) within '.*', whose records would be mixed") as caught:
        sl.open(tmp_path)
    kinds = sorted({folder.split("/")[0] for folder in folders})
    first, second = (f"train/{kind}" for kind in kinds)
    assert caught.value.hint == (
        f"If these are classes, put the splits above them: move {kinds[0]}/train to {first}, {kinds[1]}/train to {second}, and so on; "
        f'split="train" then chooses one. Else open the folder of one alone: sl.open({str(tmp_path / alone)!r}).'
    )
    with sl.open(tmp_path / alone) as source:
        assert len(source) == 1
    for kind, split in (folder.split("/")[:2] for folder in folders):
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / kind / split).rename(tmp_path / split / kind)
    with sl.open(tmp_path, split="train") as source:
        assert (len(source), source.classes) == (2, {"label": tuple(kinds)})
        assert source[:]["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("folders", "within", "hint"),
    [
        (["cat/train", "cat/val", "cow/train"], "cat", 'move cat/train to train/cat, and so on; split="train" then chooses one. Else '),
        (["cat/train", "cat/val", "cow"], "cat", 'move cat/train to train/cat, and so on; split="train" then chooses one. Else '),
        (["cat/train", "dog/test"], "cat", 'move cat/train to train/cat, and so on; split="train" then chooses one. Else '),
        (["set/data/train/cat", "set/data/val/cat"], "set/data", "Open the folder of one: sl.open('{root}/set/data/train')."),
        (["set/cat/train", "set/cat/val", "set/dog/val"], "set/cat", "sl.open('{root}/set', split=\"train\") then reads one."),
    ],
)
def test_one_class_with_splits_is_enough(folders: list[str], within: str, hint: str, tmp_path: Path):
    """Whatever the others have, and however deep they lie."""
    write(tmp_path, [f"{folder}/{at}.png" for at, folder in enumerate(folders)])
    with pytest.raises(ConfigError, match=rf"within '{within}', whose records would be mixed") as caught:
        sl.open(tmp_path)
    assert hint.format(root=tmp_path) in caught.value.hint


@pytest.mark.parametrize(
    ("folders", "chosen"),
    [
        (["1_train", "2_val"], "1_train"),
        (["01-train", "02-test"], "01-train"),
        (["mytrain", "mytest"], "mytrain"),
        (["trainA", "trainB", "testA", "testB"], "trainA"),
        (["faces_train_small", "faces_val_small", "others"], "faces_train_small"),
    ],
)
def test_folders_of_splits_have_many_names(folders: list[str], chosen: str, tmp_path: Path):
    """Numbers before the word, words in one with it, capitals behind it."""
    write(tmp_path, [f"{folder}/{at}.png" for at, folder in enumerate(folders)])
    with pytest.raises(ConfigError, match="whose records would be mixed") as caught:
        sl.open(tmp_path)
    assert caught.value.hint == f'Choose one: split="{chosen}". If these folders are classes, split=False says so.'
    with sl.open(tmp_path, split=chosen) as source:
        assert numbers_of(source) == [0]


@pytest.mark.parametrize("folders", [["train", "plane"], ["freight_train", "express_train"], ["contest", "protest"], ["latest", "dev"]])
def test_classes_that_speak_of_trains_and_tests_are_classes(folders: list[str], tmp_path: Path):
    """Where nothing is of another split."""
    write(tmp_path, [f"{folder}/{at}.png" for at, folder in enumerate(folders)])
    with sl.open(tmp_path) as source:
        assert source.classes["label"] == tuple(sorted(folders))


@pytest.mark.parametrize(
    "folders", [["train", "test_tube"], ["train", "test_tube", "bus"], ["test"], ["train/steam", "train/city", "bus/train", "bus/val"]]
)
def test_classes_that_are_called_as_splits_are_opened_by_saying_so(folders: list[str], tmp_path: Path):
    """They are refused without it, with the option that says it; the same at the prompt."""
    write(tmp_path, [f"{folder}/{at}.png" for at, folder in enumerate(folders)])
    with pytest.raises(ConfigError) as caught:
        sl.open(tmp_path)
    if "/" not in "".join(folders):
        assert caught.value.hint.endswith("If these folders are classes, split=False says so.")
    classes = sorted({folder.partition("/")[0] for folder in folders})
    with sl.open(tmp_path, split=False) as source:
        assert source.classes == {"label": tuple(classes)}
        found = source[:]["label"].tolist()
        assert sorted(zip(numbers_of(source), found, strict=True)) == [
            (n, classes.index(f.partition("/")[0])) for n, f in enumerate(folders)
        ]


def test_that_folders_are_classes_is_said_at_the_prompt_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of `info` and of `convert`, which writes their names."""
    write(tmp_path / "a", ["train/0.png", "test_tube/1.png"])
    code, text = said(capsys, "info", tmp_path / "a", "--option", "split=false")
    assert code == 0
    assert "split=False" in text
    code, text = said(capsys, "convert", tmp_path / "a", tmp_path / "a.h5", "--option", "split=false")
    assert code == 0, text
    with sl.open(tmp_path / "a.h5") as source:
        assert source.classes == {"label": ("test_tube", "train")}


def test_a_split_that_is_false_is_for_folders_of_images_alone(tmp_path: Path):
    """Files of other formats are named; another value is no split at all."""
    for name in ("train", "val"):
        np.save(tmp_path / f"{name}.npy", np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="holds files of several splits"):
        sl.open(tmp_path, split=False)
    with pytest.raises(ConfigError, match="split= is no option of NumPy files"):
        sl.open(tmp_path / "train.npy", split=False)
    for value in (True, 0, 1, b"train"):
        with pytest.raises(ConfigError, match="is no name of a split"):
            sl.open(tmp_path, split=value)


def test_a_split_is_chosen_by_its_word_in_folders_of_images_as_of_other_files(tmp_path: Path):
    """mnistTrain beside mnistTest; where two are of one split, both are named."""
    write(tmp_path / "a", ["mnistTrain/x/0.png", "mnistTest/x/1.png"])
    for name, value in (("mnistTrain", 0), ("mnistTest", 1)):
        (tmp_path / "b" / name).mkdir(parents=True)
        np.save(tmp_path / "b" / name / "x.npy", np.full((1, 3), value))
    for word, number in (("train", 0), ("training", 0), ("test", 1), ("eval", 1)):
        with sl.open(tmp_path / "a", split=word) as images, sl.open(tmp_path / "b", split=word) as arrays:
            assert numbers_of(images) == arrays[:][arrays.schema.names[0]][:, 0].tolist() == [number]
    write(tmp_path / "c", ["trainA/0.png", "trainB/1.png", "testA/2.png"])
    with pytest.raises(ConfigError, match="has several splits that 'train' could be: trainA, trainB"):
        sl.open(tmp_path / "c", split="train")
    for folder in ("a", "b"):
        with pytest.raises(ConfigError, match="has no split 'val'"):
            sl.open(tmp_path / folder, split="val")


def test_splits_within_one_folder_are_opened_by_their_own(tmp_path: Path):
    """There is no label that would be lost."""
    write(tmp_path, ["photos/train/0.png", "photos/val/1.png"])
    with pytest.raises(ConfigError, match=r"holds splits \(train, val\) within 'photos', whose records would be mixed") as caught:
        sl.open(tmp_path)
    assert caught.value.hint == f"Open the folder of one: sl.open({str(tmp_path / 'photos' / 'train')!r})."
    with sl.open(tmp_path / "photos" / "train") as source:
        assert numbers_of(source) == [0]


def test_folders_of_one_split_within_classes_are_no_mix(tmp_path: Path):
    """Photographs of trains in two folders, and of tests in two: classes."""
    write(tmp_path, ["train/train_1/0.png", "train/train_2/1.png", "plane/test1/2.png", "plane/test2/3.png"])
    with sl.open(tmp_path) as source:
        assert source.classes == {"label": ("plane", "train")}
        assert source[:]["label"].tolist() == [0, 0, 1, 1]


def test_a_split_may_be_the_end_of_a_name(tmp_path: Path):
    """bounding_box_train beside bounding_box_test, and a folder of queries; one such name alone is a class."""
    write(tmp_path, ["bounding_box_train/0.png", "bounding_box_test/1.png", "query/2.png"])
    with pytest.raises(ConfigError, match=r"holds splits \(bounding_box_test, bounding_box_train\)") as caught:
        sl.open(tmp_path)
    assert caught.value.hint == 'Choose one: split="bounding_box_train". If these folders are classes, split=False says so.'
    with sl.open(tmp_path, split="bounding_box_train") as source:
        assert numbers_of(source) == [0]
    write(tmp_path / "vehicles", ["bullet_train/0.png", "city_bus/1.png"])
    with sl.open(tmp_path / "vehicles") as source:
        assert source.classes["label"] == ("bullet_train", "city_bus")


def test_a_folder_of_classes_is_no_class(tmp_path: Path):
    """Where the folders beside it hold no image: what are called images, attributes and parts there are not three classes."""
    write(tmp_path, ["images/banded/0.png", "images/dotted/1.png"])
    annotate(tmp_path, ["parts/0.txt", "attributes/0.txt"])
    with pytest.raises(ConfigError, match=r"holds images in 2 folders of 'images', and none in attributes, parts: what are the classes\?"):
        sl.open(tmp_path)
    with sl.open(tmp_path / "images") as source:
        assert source.classes["label"] == ("banded", "dotted")


def test_a_class_without_images_is_one_beside_a_class_of_folders(tmp_path: Path):
    """Numbers must not change when it is filled; what is no data makes no annotations of it."""
    write(tmp_path, ["cats/persian/0.png", "cats/siam/1.png"])
    for name in ("birds", "dogs"):
        (tmp_path / name).mkdir()
    (tmp_path / "birds" / "README.md").write_text("to come")
    with sl.open(tmp_path) as source:
        assert source.classes == {"label": ("birds", "cats", "dogs")}
        assert source[:]["label"].tolist() == [1, 1]


@pytest.mark.parametrize("beside", ["train_masks", "trainannot", "train-labels"])
def test_masks_beside_a_split_are_never_left_out_unsaid(beside: str, tmp_path: Path):
    """By their names they are those of its images; the images alone are read by their folder."""
    names = [f"{folder}/{number}.png" for folder in ("train", "test") for number in range(3)]
    write(tmp_path, names)
    (tmp_path / beside).mkdir()
    for number in range(3):
        Image.fromarray(np.full((6, 5), number, np.uint8)).save(tmp_path / beside / f"{number}_mask.png")
    with pytest.raises(ConfigError) as caught:
        sl.open(tmp_path, split="train")
    assert str(caught.value) == (
        f"{tmp_path} holds {beside} beside train: by its name these are its masks, which would be left out. "
        "Move them to train/images and train/masks, and they are read as pairs; "
        f"or read the images alone: sl.open({str(tmp_path / 'train')!r})."
    )
    with sl.open(tmp_path / "train") as source:
        assert (len(source), source.schema.names) == (3, ("image",))
    (tmp_path / "train").rename(tmp_path / "images")
    (tmp_path / "train").mkdir()
    (tmp_path / "images").rename(tmp_path / "train" / "images")
    (tmp_path / beside).rename(tmp_path / "train" / "masks")
    with sl.open(tmp_path, split="train") as source:
        assert source[:]["mask"][:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("part", "beside", "names"),
    [
        ("train", "train_unlabeled", ["0.png", "1.png", "2.png"]),
        ("train", "train_labels_preview", ["0.png", "1.png", "2.png"]),
        ("test", "test_labeled", ["0.png", "1.png", "2.png"]),
        ("train", "train_segments", ["7.png", "8.png", "2.png"]),
        ("train", "train_labels", ["cover.png"]),
    ],
)
def test_what_lies_beside_a_split_and_is_no_folder_of_its_masks_is_another_part(part: str, beside: str, names: list[str], tmp_path: Path):
    """Images without labels, pictures of something else: the split that is asked for is read."""
    write(tmp_path, [f"{folder}/{number}.png" for folder in (part, "val") for number in range(3)])
    write(tmp_path / beside, names)
    with sl.open(tmp_path, split=part) as source:
        assert numbers_of(source) == [0, 1, 2]


def test_pairs_within_a_split_are_read_whatever_lies_beside_it(tmp_path: Path):
    """Its masks are where they are looked for; those in another form beside it are none that would be left out."""
    write(tmp_path, ["train/images/0.png", "train/images/1.png", "test/images/2.png"])
    for folder in ("train/masks", "train_masks"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            Image.fromarray(np.full((6, 5), number, np.uint8)).save(tmp_path / folder / f"{number}.png")
    with sl.open(tmp_path, split="train") as source:
        assert source[:]["mask"][:, 0, 0, 0].tolist() == [0, 1]


@pytest.mark.parametrize("inner", ["", "benign/"])
def test_masks_beside_a_split_that_have_other_names_are_to_be_renamed(inner: str, tmp_path: Path):
    """0_L.png of 0.png, in whichever folder of the split: what the error says makes pairs of them."""
    write(tmp_path, [f"train/{inner}0.png", f"train/{inner}1.png", "val/2.png"])
    (tmp_path / "train_labels").mkdir()
    for number in range(2):
        Image.fromarray(np.full((6, 5), number, np.uint8)).save(tmp_path / "train_labels" / f"{number}_L.png")
    with pytest.raises(ConfigError, match="holds train_labels beside train: by its name these are its masks") as caught:
        sl.open(tmp_path, split="train")
    assert (
        "Move them to train/images and train/masks, each mask under the name of its image, and they are read as pairs" in caught.value.hint
    )
    (tmp_path / "train").rename(tmp_path / "before")
    (tmp_path / "train" / "masks").mkdir(parents=True)
    (tmp_path / "before" / inner).rename(tmp_path / "train" / "images")
    for number in range(2):
        (tmp_path / "train_labels" / f"{number}_L.png").rename(tmp_path / "train" / "masks" / f"{number}.png")
    with sl.open(tmp_path, split="train") as source:
        assert source[:]["mask"][:, 0, 0, 0].tolist() == [0, 1]


def test_splits_below_images_and_masks_are_said(tmp_path: Path):
    """images/training beside annotations/training: there are images, and what the error says makes pairs of them."""
    write(tmp_path, [f"images/{part}/{number}.jpg" for part in ("training", "validation") for number in range(2)])
    for part in ("training", "validation"):
        (tmp_path / "annotations" / part).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.full((6, 5), number, np.uint8)).save(tmp_path / "annotations" / part / f"{number}.png")
    with pytest.raises(ConfigError) as caught:
        sl.open(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no image in 'images' itself, but in folders below it (training, validation): masks are looked for beside "
        "images. Put each of these folders beside the folder of its masks, as train/images and train/annotations; split= then chooses one."
    )
    for kind in ("images", "annotations"):
        for part in ("training", "validation"):
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / kind / part).rename(tmp_path / part / kind)
        (tmp_path / kind).rmdir()
    with sl.open(tmp_path, split="train") as source:
        assert source[:]["mask"][:, 0, 0, 0].tolist() == [0, 1]


def test_masks_without_any_image_are_said(tmp_path: Path):
    """Where the folder of images is empty; beside another folder, they are left out by name, as masks of no image are."""
    (tmp_path / "a" / "images").mkdir(parents=True)
    (tmp_path / "a" / "masks").mkdir()
    write(tmp_path, ["b/images/0.png"])
    (tmp_path / "b" / "masks").mkdir()
    for name in ("a/masks/0.png", "a/masks/1.png", "b/masks/0.png"):
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / name)
    with pytest.raises(CorruptDataError) as caught:
        sl.open(tmp_path / "a")
    assert str(caught.value) == (
        f"{tmp_path / 'a'} holds no image in 'images', and 2 in 'masks': masks alone are no records. "
        "Put the images there, each under the name of its mask."
    )
    with sl.open([tmp_path / "a", tmp_path / "b"]) as source:
        assert numbers_of(source) == [0]
        assert source.omissions == (Omission("file", "a mask without an image", 2, ("masks/0.png", "masks/1.png")),)
    write(tmp_path, ["a/images/1.png"])
    with sl.open(tmp_path / "a") as source:
        assert source.schema.names == ("image", "mask")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["COCO_train2014_1.png", "COCO_train2014_2.png", "COCO_val2014_1.png"], "(train, val)"),
        (["a/1.png", "b/test_1.png", "b/train_1.png"], "(test, train)"),
        (["images/test_1.png", "images/train_2.png", "masks/test_1.png", "masks/train_2.png"], "(test, train)"),
        (["train_1.png", "train_2.png"], ""),
        (["flight_test_1.png", "zebra.png"], ""),
    ],
)
def test_images_of_several_splits_in_one_folder_are_said(names: list[str], said: str, tmp_path: Path):
    """By their names: they are read as they lie, and whoever looks is told."""
    write(tmp_path, names)
    with sl.open(tmp_path) as source:
        notes = [note for note in source.notes if "called after two splits" in note]
        assert len(source) == sum(not name.startswith("masks") for name in names)
    assert len(notes) == bool(said)
    assert said in "".join(notes)

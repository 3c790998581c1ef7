"""Folders of images as people have them: annotations of detection, masks beside their images, archives of a Mac, tables without endings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import said
from PIL import Image
from test_image_folder import numbers_of, write

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError
from streamload.omissions import Omission


def annotate(folder: Path, names: Sequence[str]) -> None:
    """A text of boxes for each name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("0 .5 .5 .1 .1\n")


def test_a_folder_of_texts_is_no_folder_of_masks(tmp_path: Path):
    """Boxes of a detector beside images: no mask is made up, and no class; the texts are named as left out."""
    write(tmp_path, ["images/0.png", "images/1.png"])
    annotate(tmp_path, ["labels/0.txt", "labels/1.txt"])
    with sl.open(tmp_path) as source:
        assert source.schema.names == ("image",)
        assert numbers_of(source) == [0, 1]
        assert source.omissions == (Omission("file", ".txt is not read here", 2, ("labels/0.txt", "labels/1.txt")),)


def test_splits_within_images_are_never_mixed(tmp_path: Path):
    """images/train beside labels/train, as detectors want them."""
    write(tmp_path, ["images/train/0.png", "images/train/1.png", "images/val/2.png"])
    annotate(tmp_path, ["labels/train/0.txt", "labels/val/2.txt"])
    with pytest.raises(ConfigError, match=r"holds splits \(train, val\), whose records would be mixed"):
        sl.open(tmp_path)
    with sl.open(tmp_path, split="val") as source:
        assert source.schema.names == ("image",)
        assert numbers_of(source) == [2]


def test_one_split_alone_is_chosen_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It is no class, and what lies in it is of no other part."""
    write(tmp_path, ["train/images/0.png"])
    annotate(tmp_path, ["train/labels/0.txt"])
    with pytest.raises(ConfigError, match=r"holds one split \(train\), which is no class") as caught:
        sl.open(tmp_path)
    assert caught.value.hint == 'Choose it: split="train".'
    _, shown = said(capsys, "info", tmp_path)
    assert "1 file: .txt is not read here" in shown
    assert "another part" not in shown


@pytest.mark.parametrize("ending", ["_mask", "-seg", "_gt", "_label"])
def test_masks_beside_their_images_are_no_records(ending: str, tmp_path: Path):
    """In one folder, or in those of classes; photographs of people with masks are photographs."""
    write(tmp_path / "a", ["benign/0.png", "benign/1.png"])
    for number in (0, 1):
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "a" / "benign" / f"{number}{ending}.png")
    with pytest.raises(ConfigError) as caught:
        sl.open(tmp_path / "a")
    assert caught.value.message == (
        f"{tmp_path / 'a'} holds 2 masks beside the images that they are of (benign/0{ending}.png of benign/0.png, ...): "
        "each would be a record of its own."
    )
    assert (
        caught.value.hint
        == "Move images into a folder 'images' and masks into a folder 'masks', alone in one: they are then read as pairs."
    )
    write(tmp_path / "b", ["0.png", f"0{ending}.png", f"1{ending}.png"])
    with sl.open(tmp_path / "b") as source:
        assert sorted(numbers_of(source)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("images", "masks"), [("JPEGImages", "SegmentationClass"), ("CameraRGB", "CameraSeg"), ("photos", "regions"), ("a", "b_label")]
)
def test_folders_of_masks_by_any_name_are_no_classes(images: str, masks: str, tmp_path: Path):
    """Told by what lies in them: two that hold the same names, of which one holds numbers."""
    write(tmp_path, [f"{images}/0.png", f"{images}/1.png"])
    (tmp_path / masks).mkdir()
    for number in (0, 1):
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / masks / f"{number}.png")
    with pytest.raises(ConfigError, match=rf"holds masks \({masks}\) of the images in {images}, which are no class of their own"):
        sl.open(tmp_path)
    for number in (0, 1):
        write(tmp_path, [f"{masks}/{number}.png"])
    with sl.open(tmp_path) as source:
        assert source.classes == {"label": tuple(sorted((images, masks)))}


@pytest.mark.parametrize("images", ["rgb", "images"])
def test_distances_of_sixteen_bits_are_no_class(images: str, tmp_path: Path):
    """As depth cameras give them beside photographs; called as the error says, they are pairs, to the bit."""
    write(tmp_path, [f"{images}/{number}.jpg" for number in range(3)])
    (tmp_path / "depth").mkdir()
    distances = np.random.default_rng(0).integers(0, 65_536, (3, 6, 5)).astype(np.uint16)
    for number, one in enumerate(distances):
        Image.fromarray(one).save(tmp_path / "depth" / f"{number}.png")
    with pytest.raises(ConfigError, match=rf"holds masks \(depth\) of the images in {images}, .* that of masks 'masks', and leave"):
        sl.open(tmp_path)
    (tmp_path / images).rename(tmp_path / "images")
    (tmp_path / "depth").rename(tmp_path / "masks")
    with sl.open(tmp_path) as source:
        np.testing.assert_array_equal(source[:]["mask"][..., 0], distances)


def pixels_of(kind: str, number: int) -> np.ndarray:
    """A drawing in grey, of 30 x 40 pixels; or what could be a mask of an image that is as large."""
    levels = np.random.default_rng(number).integers(0, 256, (30, 40)).astype(np.uint8)
    return levels if kind == "grey" else levels // 64 * 85


def test_drawings_of_the_names_of_photographs_are_a_class(tmp_path: Path):
    """Many levels, or another size: no masks. What could be masks is refused, and fields= says that they are classes."""
    kinds = {"photo": "colour", "sketch": "grey"}
    for kind, side in (("grey", 30), ("few", 20), ("few", 30)):
        path = tmp_path / f"{kind}{side}"
        for folder in kinds:
            (path / folder).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.repeat(pixels_of("grey", number)[..., None], 3, 2)).save(path / "photo" / f"000{number}.png")
            Image.fromarray(pixels_of(kind, number)[:side]).save(path / "sketch" / f"000{number}.png")
    for name in ("grey30", "few20"):
        with sl.open(tmp_path / name) as source:
            assert source.classes == {"label": ("photo", "sketch")}
            assert len(source) == 6
    for fields in (None, ["image"], {"label": "image"}):
        with pytest.raises(ConfigError, match=r"holds masks \(sketch\) of the images in photo, which are no class of their own") as caught:
            sl.open(tmp_path / "few30", fields)
        assert caught.value.hint == (
            "Call the folder of images 'images', that of masks 'masks', and leave these two alone in one: they are then read as pairs. "
            'If both are classes all the same, fields=["image", "label"] says so.'
        )
    for fields in (["image", "label"], {"x": "image", "y": "label"}):
        with sl.open(tmp_path / "few30", fields) as source:
            assert source[:]["label" if "label" in fields else "y"].tolist() == [0, 0, 0, 1, 1, 1]


def test_folders_that_are_called_masks_can_be_classes_by_a_table(tmp_path: Path):
    """Which the error names."""
    write(tmp_path, ["photos/0.png", "photos/1.png"])
    (tmp_path / "masks").mkdir()
    for number in (0, 1):
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    with pytest.raises(ConfigError) as caught:
        sl.open(tmp_path, ["image", "label"])
    assert caught.value.hint.endswith('If both are classes all the same, labels="table.csv" says so of each image.')
    rows = [f"{folder}/{number}.png,{folder}" for folder in ("photos", "masks") for number in (0, 1)]
    (tmp_path / "table.csv").write_text("\n".join(["file_name,label", *rows]))
    with sl.open(tmp_path, labels=tmp_path / "table.csv") as source:
        assert source[:]["label"].tolist() == [1, 1, 0, 0]


def test_masks_of_a_split_are_found_beside_its_images(tmp_path: Path):
    """train/img and train/label."""
    for part in ("train", "test"):
        write(tmp_path, [f"{part}/img/0.png", f"{part}/img/1.png"])
        (tmp_path / part / "label").mkdir()
        for number in (0, 1):
            Image.fromarray(np.full((6, 5), number, np.uint8)).save(tmp_path / part / "label" / f"{number}.png")
    with sl.open(tmp_path, split="train") as source:
        assert source.schema.names == ("image", "mask")
        assert source[:]["mask"][:, 0, 0, 0].tolist() == [0, 1]


def test_what_a_mac_adds_to_archives_is_no_class(tmp_path: Path):
    """__MACOSX lies in every archive that one makes."""
    write(tmp_path, ["a/0.png", "b/1.png", "__MACOSX/a/2.png"])
    (tmp_path / "a" / "._0.png").write_bytes(b"\0\5\26\7")
    with sl.open(tmp_path) as source:
        assert source.classes == {"label": ("a", "b")}
        assert numbers_of(source) == [0, 1]


def labelled(folder: Path, text: str, name: str = "labels.csv") -> Path:
    """A table beside the folder of images 0001.png, 0002.png, 0003.png."""
    write(folder / "data", ["0001.png", "0002.png", "0003.png"])
    (folder / name).write_text(text)
    return folder / name


TABLES = {
    "no endings": "image,level\n0003,7\n0001,5\n",
    "semicolons": "filename;level\n0003.png;7\n0001.png;5\n",
    "tabs": "filename\tlevel\n0003.png\t7\n0001.png\t5\n",
    "another name": "Image Index,level\n0003.png,7\n0001.png,5\n",
    "another name, no endings": "image_id,level\n0003,7\n0001,5\n",
}


@pytest.mark.parametrize("what", TABLES)
def test_tables_find_the_images_that_they_name(what: str, tmp_path: Path):
    """Without endings, with other separators, in a column of any name: whatever names exactly one image each."""
    table = labelled(tmp_path, TABLES[what])
    with sl.open(tmp_path / "data", labels=table) as source:
        assert numbers_of(source) == [2, 0]
        assert source[:]["level"].tolist() == [7, 5]
        assert source.omissions == (Omission("file", "an image that labels.csv does not name", 1, ("0002.png",)),)


def test_tabs_are_read_from_a_file_of_such(tmp_path: Path):
    """By its ending, too."""
    table = labelled(tmp_path, TABLES["tabs"], "labels.tsv")
    with sl.open(tmp_path / "data", labels=table) as source:
        assert source[:]["level"].tolist() == [7, 5]


NAMELESS = {
    "zeros are lost": (
        "image,level\n1,5\n2,6\n",
        "names 2 files, and none of them is an image there: '1', where the images are such as '0001.png'.",
    ),
    "capitals": (
        "image,level\n0001.PNG,5\n",
        "names 1 file, and it is no image there: '0001.PNG', where the images are such as '0001.png'.",
    ),
}


@pytest.mark.parametrize("what", NAMELESS)
def test_a_table_of_other_images_is_refused(what: str, tmp_path: Path):
    """Records without any image are none."""
    text, why = NAMELESS[what]
    table = labelled(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(f"{table} {why}")) as caught:
        sl.open(tmp_path / "data", labels=table)
    assert caught.value.hint == "Write names as the files have them, relative to the folder."


def test_a_name_without_its_ending_that_two_images_have_is_none_of_them(tmp_path: Path):
    """It is a null, and said."""
    table = labelled(tmp_path, "image,level\n0001,5\n0002,6\n")
    Image.new("RGB", (5, 6)).save(tmp_path / "data" / "0001.jpg")
    with sl.open(tmp_path / "data", labels=table) as source:
        assert f"{table} names 1 file of which there is no image: 0001" in source.notes
        assert source.nulls["image"].count == 1


@pytest.mark.parametrize("texts", [("1_2", "12"), ("01", "1"), ("\u0661", "1")], ids=["points of numbers", "zeros", "digits of Arabic"])
def test_texts_that_differ_are_never_one_number(texts: tuple[str, str], tmp_path: Path):
    """They are two classes, though Python reads both as the same number."""
    table = labelled(tmp_path, f"filename,label\n0001.png,{texts[0]}\n0002.png,{texts[1]}\n0003.png,{texts[0]}\n")
    with sl.open(tmp_path / "data", labels=table) as source:
        assert source.classes == {"label": tuple(sorted(texts))}
        assert source[:]["label"].tolist() == [sorted(texts).index(texts[0]), sorted(texts).index(texts[1]), sorted(texts).index(texts[0])]


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
    assert caught.value.hint == 'Choose one: split="bounding_box_train".'
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

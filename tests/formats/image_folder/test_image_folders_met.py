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
from streamload.errors import ConfigError
from streamload.formats.image_folder.label_tables import read_rows
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
    assert caught.value.hint == 'Choose it: split="train". If these folders are classes, split=False says so.'
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
    "blanks": "file, level\n0003.png, 7\n0001.png,   5\n",
    "blanks and quotes": '"file", "level"\n"0003.png", 7\n"0001.png", "5"\n',
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


def test_blanks_behind_a_separator_are_no_part_of_a_value_unless_they_are_quoted(tmp_path: Path):
    """Neither of a name nor of a text; an empty cell stays empty, and in a file of tabs a tab is no blank."""
    rows = 'file, kind, " note"\n 0003.png, cat, " a"\n0001.png, "dog",\n'
    assert read_rows(str(labelled(tmp_path, rows))) == [
        {"file": "0003.png", "kind": "cat", " note": " a"},
        {"file": "0001.png", "kind": "dog", " note": ""},
    ]
    assert read_rows(str(labelled(tmp_path, "file\tkind\n0003.png\t\n", "a.tsv"))) == [{"file": "0003.png", "kind": ""}]


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
        assert any("'image' holds 1 null, which is a bad record" in note for note in source.notes)


@pytest.mark.parametrize("texts", [("1_2", "12"), ("01", "1"), ("\u0661", "1")], ids=["points of numbers", "zeros", "digits of Arabic"])
def test_texts_that_differ_are_never_one_number(texts: tuple[str, str], tmp_path: Path):
    """They are two classes, though Python reads both as the same number."""
    table = labelled(tmp_path, f"filename,label\n0001.png,{texts[0]}\n0002.png,{texts[1]}\n0003.png,{texts[0]}\n")
    with sl.open(tmp_path / "data", labels=table) as source:
        assert source.classes == {"label": tuple(sorted(texts))}
        assert source[:]["label"].tolist() == [sorted(texts).index(texts[0]), sorted(texts).index(texts[1]), sorted(texts).index(texts[0])]


@pytest.mark.parametrize(
    "beside", ["mnist/train.h5", "mnist/data/a.parquet", "mnist/a.zarr/x/c/0/0", "mnist/a/data.mdb", "flowers/rows.NPZ"]
)
def test_folders_of_datasets_with_pictures_in_them_are_no_classes(beside: str, tmp_path: Path):
    """However many pictures each has: what else lies in them holds records, too. They are classes where that is said, or without it."""
    for name in ("mnist", "flowers"):
        for number in range(4):
            write(tmp_path, [f"{name}/preview{number}.png"])
    (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / beside).write_bytes(b"data")
    with pytest.raises(ConfigError) as caught:
        sl.open(tmp_path)
    assert (
        caught.value.message == f"{tmp_path} holds images and, in folders of its own, other data ({beside}): which of them are the records?"
    )
    assert caught.value.hint == (
        f"Open what is meant: sl.open({str(tmp_path / beside)!r}), or that folder. "
        'Where these folders are classes of images all the same, fields=["image", "label"] says so.'
    )
    for options in ({"fields": ["image", "label"]}, {"split": False}):
        with sl.open(tmp_path, **options) as source:
            assert source.classes["label"] == ("flowers", "mnist")
    (tmp_path / beside).unlink()
    for alone in ("table.parquet", "mnist/features.npy"):
        (tmp_path / alone).write_bytes(b"data")
    with sl.open(tmp_path, labels=None, fields=["image"]) as source:
        assert len(source) == 8


def test_folders_that_each_hold_images_and_masks_are_read_as_pairs_or_not_at_all(tmp_path: Path):
    """The masks would be images of a class."""
    for name in ("a", "b"):
        write(tmp_path, [f"{name}/images/{number}.png" for number in range(2)])
        write(tmp_path, [f"{name}/masks/{number}.png" for number in range(2)])
    with pytest.raises(ConfigError) as caught:
        sl.open(tmp_path)
    assert caught.value.message == f"{tmp_path} holds images and masks within 'a' (images, masks): masks are no records of their own."
    assert caught.value.hint.startswith(
        f"Open that folder, sl.open({str(tmp_path / 'a')!r}), or several such as a list: they are read as pairs."
    )
    with sl.open([tmp_path / "a", tmp_path / "b"]) as source:
        assert source.schema.names == ("image", "mask")
        assert len(source) == 4
    with sl.open(tmp_path, fields=["image", "label"]) as source:
        assert len(source) == 8

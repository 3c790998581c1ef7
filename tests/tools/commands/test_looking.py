"""`head` and `show` look into whatever `convert` reads; the other commands say what to do with it."""

from __future__ import annotations

from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file, image_folder, said
from foreign_files import noise, png, tar_of, tfrecord, webdataset

import streamload as sl
from streamload.schema import Field
from streamload.tools.commands.captions import STRIP, _font_for, can_write, has_letter
from streamload.tools.commands.show import COLOURS, pictures, stretched


def test_head_reads_what_a_loader_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Folders of images with the names of their classes, TFRecord, tars."""
    made = image_folder(tmp_path / "in", {"ant": 2, "bee": 1})
    code, text = said(capsys, "head", tmp_path / "in", "-n", 1, "--start", -1)
    assert code == 0
    assert f"{tmp_path}/in: 3 records · image uint8 (12, 10, 3) · label int64 ()" in text
    assert "label  1 (bee)" in text
    found = answer(capsys, "head", tmp_path / "in")[1]
    np.testing.assert_array_equal(found["records"][2]["image"], made["bee"][0])
    assert found["classes"] == {"label": ["ant", "bee"]}
    path = tfrecord(tmp_path / "a.tfrecord", [{"image": png(noise()), "label": [4]}])
    assert answer(capsys, "head", path)[1]["records"][0]["label"] == 4
    path = webdataset(tmp_path / "a.tar", noise((2, 6, 5, 3)), [7, 8])
    assert [one["label"] for one in answer(capsys, "head", path)[1]["records"]] == [7, 8]


def test_head_says_that_nothing_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A number beyond the end, no records at all, and a number that cannot be."""
    path = hdf5_file(tmp_path / "a.h5", arrays(1))
    assert "there is no record 3" in said(capsys, "head", path, "--start", 3)[1]
    assert f"{path}: 1 record · " in said(capsys, "head", path)[1]
    assert "there are none" in said(capsys, "head", hdf5_file(tmp_path / "b.h5", arrays(0)))[1]
    code, text = said(capsys, "head", path, "-n", -1)
    assert (code, "--records -1 cannot be shown." in text) == (2, True)


def test_show_draws_folders_whose_images_differ_in_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With the names of their classes under them."""
    image_folder(tmp_path / "in", {"ant": 2, "bee": 1})
    assert answer(capsys, "show", tmp_path / "in")[1]["labels"] == {"label": ["ant", "ant", "bee"]}
    (tmp_path / "in" / "bee" / "001.png").write_bytes(png(noise((30, 40, 3))))
    code, text = said(capsys, "show", tmp_path / "in", "-o", tmp_path / "sheet.png")
    assert (code, text.strip()) == (0, f"4 images of 'image': {tmp_path}/sheet.png")
    assert imagecodecs.png_decode((tmp_path / "sheet.png").read_bytes()).shape == (160 + STRIP, 4 * 162 - 2, 3)


def test_show_draws_what_augmentation_makes_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Each record as it is stored and in five epochs, with its boxes and masks; and what was drawn, in words."""
    image, mask = np.full((3, 20, 30, 3), 90, np.uint8), np.zeros((3, 20, 30), np.uint8)
    mask[:, 5:10, 5:10] = 1
    boxes = np.tile(np.array([[12, 4, 25, 15]], np.float32), (3, 1, 1))
    path = hdf5_file(tmp_path / "a.h5", {"boxes": boxes, "image": image, "mask": mask})
    (tmp_path / "chain.py").write_text(
        "import streamload as sl\n"
        'AUGMENT = sl.Augment("image", sl.RandomHorizontalFlip(), masks="mask", boxes="boxes")\n'
        'VIEWS = sl.Augment("image", sl.RandomCrop(16), sl.Normalize((0.5,) * 3, (0.5,) * 3), layout="CHW", views=2)\n'
    )
    sheet = tmp_path / "sheet.png"
    code, text = said(capsys, "show", path, "-n", 2, "--augment", tmp_path / "chain.py", "-o", sheet)
    assert code == 0
    assert f"12 images of 'image': {sheet}" in text
    assert "record 1 in epoch 4\n  'image'\n    RandomHorizontalFlip" in text
    drawn = imagecodecs.png_decode(sheet.read_bytes())
    times = 2  # small images are shown twice as large
    assert drawn[4 * times, 15 * times].tolist() == [255, 220, 0]  # the upper edge of the box
    assert drawn[7 * times, 7 * times].tolist() == [153, 76, 76]  # in the mask
    assert drawn[15 * times, 28 * times].tolist() == [90, 90, 90]
    found = answer(capsys, "show", path, "-n", 1, "--augment", f"{tmp_path / 'chain.py'}:VIEWS", "-o", sheet, "--overwrite")[1]
    assert [(one["record"], one["epoch"]) for one in found["drawn"]] == [(0, epoch) for epoch in range(2)]
    assert imagecodecs.png_decode(sheet.read_bytes()).shape[1] == 5 * (30 * times + 2) - 2  # stored, and two views in two epochs
    code, text = said(capsys, "show", path, "--augment", f"{tmp_path / 'chain.py'}:OTHER")
    assert (code, "has no OTHER" in text) == (2, True)


def test_show_draws_every_crop_in_its_own_proportions_and_key_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Five crops stand beside each other, what is wide stays wide; of many bands three are drawn, and volumes are not."""
    from streamload.tools.commands.captions import PAPER

    points, bands = np.tile(np.array([[20.5, 10.5]], np.float32), (2, 1, 1)), np.full((2, 40, 40, 12), 70, np.uint8)
    path = hdf5_file(tmp_path / "a.h5", {"points": points, "bands": bands, "scan": np.zeros((2, 8, 9, 10), np.uint8)})
    (tmp_path / "chain.py").write_text(
        "import streamload as sl\n"
        'FIVE = sl.Augment("bands", sl.FiveCrop((16, 32)), keypoints="points")\n'
        'SCAN = sl.Augment("scan", sl.RandomFlip(), stored="DHW")\n'
    )
    sheet = tmp_path / "sheet.png"
    code, text = said(capsys, "show", path, "--augment", f"{tmp_path / 'chain.py'}:FIVE", "-o", sheet)
    assert (code, f"12 images of 'bands': {sheet}" in text) == (0, True)
    drawn = imagecodecs.png_decode(sheet.read_bytes())
    left, height = np.arange(6) * (2 * 40 + 2), 2 * 40  # small images are shown twice as large
    assert drawn[2 * 10, 2 * 20].tolist() == [0, 255, 255]
    assert [drawn[height // 4 - 1, x].tolist() for x in left] == [[70] * 3] + [[PAPER] * 3] * 5
    assert [drawn[height // 4, x].tolist() for x in left] == [[70] * 3] * 6
    # Crops of 16 rows: the point lies in the tenth, which only those at the upper corners have.
    assert [(drawn[:height, x : x + 80] == (0, 255, 255)).all(axis=2).any() for x in left.tolist()] == [1, 1, 1, 0, 0, 0]
    code, text = said(capsys, "show", path, "--augment", f"{tmp_path / 'chain.py'}:SCAN", "-o", tmp_path / "b.png")
    assert (code, "'scan' holds volumes, and only images are drawn." in text) == (1, True)


def test_show_says_what_a_label_becomes_where_records_are_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A rectangle of the record before, in every crop alike, and the share of its class; smoothed labels have the largest two."""
    image = np.repeat(np.array([50, 100, 200], np.uint8), 40 * 40 * 3).reshape(3, 40, 40, 3)
    path = hdf5_file(tmp_path / "a.h5", {"image": image, "label": np.array([4, 7, 2])})
    (tmp_path / "chain.py").write_text(
        "import streamload as sl\n"
        'CUT = [sl.Augment("image", sl.FiveCrop(16)), sl.CutMix(num_classes=8)]\n'
        'SMOOTH = [sl.Augment("image"), sl.OneHot(8, smoothing=0.4)]\n'
    )
    sheet = tmp_path / "sheet.png"
    code, text = said(capsys, "show", path, "--augment", f"{tmp_path / 'chain.py'}:CUT", "-o", sheet)
    assert (code, f"18 images of 'image': {sheet}" in text) == (0, True)
    cell, drawn = 2 * 40, imagecodecs.png_decode(sheet.read_bytes())[..., 0]
    for row, (own, before) in enumerate(((50, 200), (100, 50), (200, 100))):
        crops = [drawn[row * (cell + STRIP + 2) :, column * (cell + 2) :][:cell, :cell] for column in range(1, 6)]
        assert set(np.unique(crops[0]).tolist()) == {own, before}
        assert all((crop == crops[0]).all() for crop in crops)
        share = round(100 * (crops[0] == own).mean())
        classes = {50: 4, 100: 7, 200: 2}
        both = sorted(((share, classes[own]), (100 - share, classes[before])), reverse=True)
        assert f"record {row} in epoch 0" in text
        assert f"  'label': {both[0][1]} {both[0][0]}%, {both[1][1]} {both[1][0]}%" in text
    found = answer(capsys, "show", path, "-n", 1, "--augment", f"{tmp_path / 'chain.py'}:SMOOTH", "-o", tmp_path / "b.png")[1]
    assert [one["drawn"] for one in found["drawn"]] == [f"record 0 in epoch {epoch}\n  'label': 4 65%, 0 5%" for epoch in range(5)]


def test_show_says_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Nothing to show; no folder for the sheet, found before anything is read."""
    path = hdf5_file(tmp_path / "a.h5", arrays(0))
    assert said(capsys, "show", path) == (0, f"{path}: 0 records; there are none\n")
    code, text = said(capsys, "show", path, "-o", tmp_path / "no" / "sheet.png")
    assert (code, f"{tmp_path}/no does not exist." in text, "Make the folder first." in text) == (2, True, True)


def test_head_shows_every_record_of_images_that_differ_in_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Each by its own header; with a size, their pixels; and one that is damaged hides no other."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    for at in range(6):
        (tmp_path / "in" / "a" / f"{at}.png").write_bytes(png(noise((6 + at, 5, 3), at)))
    code, document = answer(capsys, "head", tmp_path / "in", "-n", 6)
    assert (code, [one["record"] for one in document["records"]]) == (0, list(range(6)))
    assert [one["image"].partition(" (RGB), ")[0] for one in document["records"]] == [f"PNG {6 + at} x 5" for at in range(6)]
    code, document = answer(capsys, "head", tmp_path / "in", "--decode", "4x4")
    assert (code, np.shape(document["records"][4]["image"])) == (0, (4, 4, 3))
    (tmp_path / "in" / "a" / "2.png").write_bytes(png(noise((8, 5, 3)))[:60])
    code, document = answer(capsys, "head", tmp_path / "in", "-n", 6)
    assert [one["record"] for one in document["records"]] == list(range(6))


@pytest.mark.parametrize("command", ["plan", "tune", "bench"])
def test_what_cannot_be_shuffled_is_read_in_order_or_converted(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The error says the argument to give, and the command to type, quotes and all."""
    path = webdataset(tmp_path / "my images.tgz", noise((2, 6, 5, 3)), [0, 1], "gz")
    code, document = answer(capsys, command, path)
    assert code == 2
    assert "my images.tgz is compressed as a whole, so that its records are read in the order in" in document["error"]["message"]
    assert document["error"]["hint"] == (
        f"Give --order stored; or, to shuffle them, convert once: `streamload convert '{path}' 'my images.parquet' --store keep`."
    )
    if command == "plan":
        code, document = answer(capsys, "plan", path, "--order", "stored")
        assert (code, document["records"], "shuffle=False" in document["call"]) == (0, 2, True)


@pytest.mark.parametrize("command", ["plan", "bench"])
def test_what_is_wrong_with_a_container_is_said(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A tar whose members collide, and labels that name an image twice: the error is that of `sl.open`."""
    (tmp_path / "x.tar").write_bytes(tar_of([("0.a.png", png(noise())), ("0.a.png", png(noise()))]))
    image_folder(tmp_path / "photos", {"ant": 2})
    (tmp_path / "photos" / "labels.csv").write_text("file,label\nant/000.png,1\nant/000.png,2\n")
    for name in ("x.tar", "photos"):
        with pytest.raises(sl.SourceError) as caught:
            sl.open(tmp_path / name)
        code, document = answer(capsys, command, tmp_path / name)
        assert (code, document["error"]["message"], document["error"]["hint"]) == (1, caught.value.message, caught.value.hint)


def test_what_lies_there_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Folders of images, of splits those for training, tars and TFRecord: planned, looked at, and accounted for."""
    image_folder(tmp_path / "photos" / "train", {"ant": 2, "bee": 1})
    image_folder(tmp_path / "photos" / "test", {"ant": 1, "bee": 1})
    tfrecord(tmp_path / "x.tfrecord", [{"label": [1]}, {"label": [2]}])
    (tmp_path / "x.tar").write_bytes(tar_of([("0.cls", b"1"), ("1.cls", b"2"), ("1.csv", b"x")]))
    for name, records in (("photos", 3), ("x.tfrecord", 2), ("x.tar", 2)):
        code, document = answer(capsys, "plan", tmp_path / name)
        assert (code, document["records"]) == (0, records)
    code, document = answer(capsys, "info", tmp_path / "x.tfrecord", "--no-measure")
    assert document["advice"] == ["nothing to do: any record can be read by its offset"]
    code, text = said(capsys, "verify", tmp_path / "x.tar")
    assert "accounted for: 1 file found, 1 taken; left out: 1 member: .csv is not read here" in text


def test_bytes_that_are_no_encoded_images_are_not_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Images that lie flat have no shape, and HDF5 files say what they have: --shape is for tables."""
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["image"] = np.random.default_rng(0).integers(0, 255, (5, 64 * 64), np.uint8)
    code, document = answer(capsys, "show", tmp_path / "flat.h5", "--output", tmp_path / "sheet.png")
    assert code == 1
    assert document["error"]["message"].endswith("no field looks like an image; it has image uint8 (4096,).")
    assert document["error"]["hint"] == "`streamload head` shows records as text."


def test_a_damaged_image_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It is named, and the exit code says that something was found; all are damaged, and still no traceback."""
    image_folder(tmp_path / "in", {"ant": 3})
    (tmp_path / "in" / "ant" / "001.png").write_bytes(b"no image")
    code, document = answer(capsys, "show", tmp_path / "in", "-o", tmp_path / "sheet.png")
    assert (code, document["records"], document["damaged"][0][0]) == (1, [0, 2], 1)
    code, text = said(capsys, "head", tmp_path / "in")
    assert code == 1
    assert "  ! " in text
    assert "001.png" in text
    assert text.count("label  0 (ant)") == 2
    assert answer(capsys, "head", tmp_path / "in")[1]["records"][1].keys() == {"record", "(damaged)"}
    code, document = answer(capsys, "verify", tmp_path / "in")
    assert (code, "001.png: record 1 of 'image' is no image" in document["error"]["message"]) == (1, True)
    path = webdataset(tmp_path / "a.tar", noise((3, 6, 5, 3)), [7, 8, 9])
    data = path.read_bytes()
    path.write_bytes(data[: 8 * 512] + data[8 * 512 :].replace(b"IDAT", b"IDXX"))
    for words in ([], ["--start", 2]):
        code, text = said(capsys, "show", path, *words)
        assert (code, "! record 2: " in text) == (1, True)


def test_a_manifest_of_somebody_elses_hides_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Many programs write a file of that name."""
    image_folder(tmp_path / "in", {"ant": 2})
    (tmp_path / "in" / "manifest.json").write_text("{}")
    for words in (("info",), ("head",), ("show",), ("convert", tmp_path / "out.h5")):
        assert answer(capsys, words[0], tmp_path / "in", *words[1:])[0] == 0


class TestSheets:
    """What show makes of numbers that are no photographs."""

    def test_masks_have_a_colour_for_each_class(self):
        """And shades have none."""
        mask = np.zeros((2, 20, 20), np.uint8)
        mask[:, 5:15, 5:15] = 2
        first, second = pictures(mask, Field("mask", np.dtype(np.uint8), (20, 20)))
        assert first[10, 10].tolist() == second[10, 10].tolist() == COLOURS[2].tolist()
        assert first[0, 0].tolist() == [0, 0, 0]
        grey = noise((1, 20, 20))
        assert (pictures(grey, Field("grey", np.dtype(np.uint8), (20, 20)))[0] == grey[0][..., None]).all()

    def test_a_few_hot_pixels_do_not_make_the_rest_black(self):
        """Of 16 bits, and of fractions."""
        values = np.random.default_rng(0).integers(100, 200, (2, 64, 64)).astype(np.uint16)
        values[0, 3, 3] = 65535
        shown = stretched(values)
        assert shown[0, 3, 3] == 255
        assert 100 < shown.mean() < 155

    @pytest.mark.parametrize("shape", [(24, 30, 13), (13, 24, 30)], ids=["bands last", "bands first"])
    def test_of_many_bands_three_are_shown(self, shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """The first three."""
        path = hdf5_file(tmp_path / "a.h5", arrays(4, shape))
        assert said(capsys, "show", path, "-o", tmp_path / "a.png")[0] == 0
        bands = np.moveaxis(arrays(4, shape)["image"], 1 if shape[0] == 13 else 3, 3)
        shown = pictures(arrays(4, shape)["image"], Field("image", np.dtype(np.uint8), shape))
        assert (shown[0] == bands[0, :, :, :3]).all()

    @pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")], ids=["NO_COLOR", "TERM=dumb"])
    def test_no_colours_where_none_are_wanted(
        self, variable: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        """Text instead; with FORCE_COLOR alone there is a picture."""
        path = hdf5_file(tmp_path / "a.h5", arrays(3))
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        assert "\033[38;2;" in said(capsys, "show", path)[1]
        monkeypatch.setenv(*variable)
        text = said(capsys, "show", path)[1]
        assert "\033" not in text
        assert "record 2: 2" in text

    @pytest.mark.skipif(not can_write(), reason="Pillow is missing")
    @pytest.mark.parametrize("text", ["é", "日本", "\U0001f98a"])
    def test_letters_are_drawn_or_spelt_and_never_boxes(self, text: str):
        """Whatever fonts this machine has."""
        font, shown = _font_for(text)
        assert all(has_letter(font, letter) for letter in shown)
        assert shown == text or shown == ascii(text)[1:-1]
        assert not has_letter(font, "\ufffe")

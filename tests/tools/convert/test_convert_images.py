"""Images: folders for classes, tables beside them, masks, and single pictures of every kind, whole and damaged."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, image_folder, said
from foreign_files import taken

import streamload as sl
from streamload.errors import CorruptDataError, SchemaMismatchError, UnsafeSourceError
from streamload.omissions import Omission
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.images import decoded, image_in
from streamload.tools.convert.readers.open import open_records


class TestImageFolders:
    """Folders of images."""

    def test_a_folder_for_each_class(self, tmp_path: Path):
        """Labels count folders in order of their names, empty ones too."""
        made = image_folder(tmp_path / "in", {"dog": 2, "cat": 3, "empty": 0})
        origin, records = taken(tmp_path / "in")
        assert origin.facts["classes"] == {"label": ["cat", "dog", "empty"]}
        assert records["label"].tolist() == [0, 0, 0, 1, 1]
        np.testing.assert_array_equal(records["image"], made["cat"] + made["dog"])

    @pytest.mark.parametrize("name", ["metadata.csv", "labels.jsonl", "metadata.parquet"])
    def test_a_table_beside_the_images(self, name: str, tmp_path: Path):
        """Numbers stay numbers, texts texts; where they repeat, or are called label, they are numbers of their sorted values."""
        made = image_folder(tmp_path, {"x": 3})["x"]
        rows = [("x/002.png", "4", "yes", "two cats", "q"), ("x/000.png", "5", "yes", "a dog", "p")]
        names = ("file_name", "age", "kind", "caption", "label")
        if name.endswith("parquet"):
            columns = dict(zip(names, zip(*rows, strict=True), strict=True))
            pq.write_table(pa.table(columns | {"age": [int(age) for age in columns["age"]]}), tmp_path / name)
            text = ""
        elif name.endswith("csv"):
            text = ",".join(names) + "\n" + "".join(",".join(row) + "\n" for row in rows)
        else:
            text = "".join(json.dumps(dict(zip(names, row, strict=True)) | {"age": int(row[1])}) + "\n" for row in rows)
        if text:
            (tmp_path / name).write_text(text)
        origin, records = taken(tmp_path)
        np.testing.assert_array_equal(records["image"], [made[2], made[0]])
        assert records["age"].tolist() == [4, 5]
        assert (records["kind"].tolist(), records["label"].tolist()) == ([0, 0], [1, 0])
        assert records["caption"].to_list() == ["two cats", "a dog"]
        assert origin.facts["classes"] == {"kind": ["yes"], "label": ["p", "q"]}

    def test_flat_without_a_table_has_no_labels(self, tmp_path: Path):
        """Images alone."""
        image_folder(tmp_path, {"x": 2})
        assert list(taken(tmp_path / "x")[1]) == ["image"]

    @pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd"])
    def test_a_table_names_nothing_outside(self, name: str, tmp_path: Path):
        """Names are paths only within the folder."""
        image_folder(tmp_path, {"x": 1})
        (tmp_path / "metadata.csv").write_text(f"file_name\n{name}\n")
        with pytest.raises(UnsafeSourceError, match="lies outside"):
            taken(tmp_path)

    def test_strays_are_named(self, tmp_path: Path):
        """Another size is an error that names the file, where the first one's is that of all; else images stay bytes."""
        image_folder(tmp_path, {"x": 2})
        (tmp_path / "x" / "big.png").write_bytes(imagecodecs.png_encode(np.zeros((20, 20, 3), np.uint8)))
        with pytest.raises(SchemaMismatchError, match=r"big.png: record 2 of 'image' is 20 x 20 pixels, where 12 x 10 are expected"):
            taken(tmp_path, first_size=True)
        kept = taken(tmp_path)[1]["image"]
        assert [imagecodecs.png_decode(one).shape for one in kept] == [(12, 10, 3), (12, 10, 3), (20, 20, 3)]

    def test_images_beside_folders_of_images_are_refused(self, tmp_path: Path):
        """It is not clear what their label is."""
        image_folder(tmp_path, {"x": 2})
        (tmp_path / "loose.png").write_bytes(imagecodecs.png_encode(np.zeros((12, 10, 3), np.uint8)))
        with pytest.raises(SchemaMismatchError, match="holds 1 images beside folders with 2: what is their label"):
            taken(tmp_path)


def test_pictures_of_every_colour_are_alike_afterwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Grey, palette, alpha and the inks of print are no strays; 16 bits and another size are."""
    pillow = pytest.importorskip("PIL.Image")
    grey = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    for number, mode in enumerate(["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"]):
        pillow.fromarray(grey).convert(mode).save(tmp_path / f"{number}.{'jpg' if mode == 'CMYK' else 'png'}", quality=100)
    (tmp_path / "7.png").write_bytes(imagecodecs.png_encode(grey.astype(np.uint16)))
    (tmp_path / "8.png").write_bytes(imagecodecs.png_encode(grey[:9]))
    code, document = answer(capsys, "convert", tmp_path, tmp_path.parent / f"{tmp_path.name}.h5", "--on-bad", "skip")
    assert (code, document["records"], [number for number, _ in document["left_out"]]) == (1, 7, [7, 8])
    assert "7.png: record 7 of 'image' has 16 bits, and mode 'RGB' has 8" in document["left_out"][0][1]
    source = sl.open(tmp_path.parent / f"{tmp_path.name}.h5")
    for image in source[:]["image"][:5]:
        np.testing.assert_array_equal(image, np.repeat(grey[:, :, None], 3, axis=2))
    source.close()


class TestMasks:
    """Folders of images beside folders of masks."""

    @pytest.mark.parametrize("names", [("images", "masks"), ("IMAGES", "Labels"), ("img", "gt")], ids=" ".join)
    def test_masks_belong_to_images_of_their_name(self, names: tuple[str, str], tmp_path: Path):
        """Whatever their kind, and with or without _mask behind it; the image's mode does not change them."""
        images, masks = (tmp_path / name for name in names)
        made = [np.random.default_rng(at).integers(0, 4, (6, 5), dtype=np.uint8) for at in range(3)]
        for folder in (images, masks):
            folder.mkdir()
        for at, mask in enumerate(made):
            (images / f"{at}.bmp").write_bytes(imagecodecs.bmp_encode(np.full((6, 5, 3), at * 20, np.uint8)))
            (masks / f"{at}{['', '_mask', '-seg'][at]}.png").write_bytes(imagecodecs.png_encode(mask))
        _, records = taken(tmp_path, mode="grey")
        np.testing.assert_array_equal(records["mask"][..., 0], made)
        assert records["image"].shape == (3, 6, 5, 1)
        assert taken(tmp_path)[1]["image"][:, 0, 0, 0].tolist() == [0, 20, 40]

    @pytest.mark.parametrize("colours", [2, 4, 16, 200])
    def test_numbers_of_a_palette_are_the_classes(self, colours: int, tmp_path: Path):
        """Not the colours that they are shown in, however few bits a pixel has; scaling makes no new ones."""
        image = pytest.importorskip("PIL.Image")
        mask = np.random.default_rng(0).integers(0, colours, (6, 9), dtype=np.uint8)
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
        (tmp_path / "images" / "a.png").write_bytes(imagecodecs.png_encode(np.zeros((6, 9, 3), np.uint8)))
        shown = image.frombytes("P", (9, 6), mask.tobytes())
        shown.putpalette([one * 7 % 256 for one in range(768)])
        shown.save(tmp_path / "masks" / "a.png", bits={2: 1, 4: 2, 16: 4, 200: 8}[colours])
        assert taken(tmp_path)[1]["mask"][0, ..., 0].tolist() == mask.tolist()
        small = taken(tmp_path, size=(3, 3))[1]["mask"][0, ..., 0]
        assert small.shape == (3, 3)
        assert set(small.ravel().tolist()) <= set(mask.ravel().tolist())

    def test_an_image_without_a_mask_is_a_stray_and_a_mask_without_an_image_is_left_out(self, tmp_path: Path):
        """Both are said."""
        for folder, names in (("images", "ab"), ("masks", "ac")):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / f"{name}.png").write_bytes(imagecodecs.png_encode(np.zeros((4, 4), np.uint8)))
        origin = open_records(OpenRequest(path=str(tmp_path)))
        assert origin.omissions == (Omission("file", "a mask without an image", 1, ("masks/c.png",)),)
        with pytest.raises(CorruptDataError, match=r"record 1 of 'mask' is empty, where an image should be"):
            origin.take(np.array([1]))
        with pytest.raises(CorruptDataError, match=r"record 1 of 'mask' is empty, where an image should be"):
            origin.take_encoded(np.array([1]))

    @pytest.mark.parametrize("folder", ["images", "masks"])
    def test_names_must_tell_images_apart(self, folder: str, tmp_path: Path):
        """Two of one name have no masks of their own."""
        for one in ("images", "masks"):
            (tmp_path / one).mkdir()
            (tmp_path / one / "a.png").write_bytes(imagecodecs.png_encode(np.zeros((4, 4), np.uint8)))
        (tmp_path / folder / "a.bmp").write_bytes(imagecodecs.bmp_encode(np.zeros((4, 4), np.uint8)))
        with pytest.raises(SchemaMismatchError, match=r"for one image|two images called a"):
            taken(tmp_path)

    def test_a_mask_that_is_cut_short_is_named(self, tmp_path: Path):
        """By its own file."""
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "a.png").write_bytes(imagecodecs.png_encode(np.zeros((40, 40), np.uint8)))
        data = (tmp_path / "masks" / "a.png").read_bytes()
        (tmp_path / "masks" / "a.png").write_bytes(data[:50])
        with pytest.raises(CorruptDataError, match=r"masks/a.png: record 0 of 'mask' is a PNG that cannot be decoded"):
            taken(tmp_path)
        head = bytearray(data)
        head[25] = 3
        (tmp_path / "masks" / "a.png").write_bytes(head[:60])
        with pytest.raises(CorruptDataError, match=r"masks/a.png: record 0 of 'mask' is a PNG that"):
            taken(tmp_path)


class TestPictures:
    """One image."""

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
    @pytest.mark.parametrize("mode", ["rgb", "grey"])
    def test_every_kind_is_decoded_by_content(self, suffix: str, mode: str, tmp_path: Path):
        """The name says nothing; the mode says the shape."""
        image = np.full((16, 24, 3), 200, np.uint8)
        encode = {
            "jpg": imagecodecs.jpeg8_encode,
            "png": imagecodecs.png_encode,
            "webp": imagecodecs.webp_encode,
            "bmp": imagecodecs.bmp_encode,
        }
        (tmp_path / "a.png").write_bytes(encode[suffix](image))
        found = decoded(str(tmp_path / "a.png"), mode=mode)
        assert found.shape == ((16, 24, 3) if mode == "rgb" else (16, 24))
        assert abs(int(found.mean()) - 200) < 4

    def test_grey_alpha_and_colour_become_one_mode(self):
        """Alpha is laid over white; luma makes grey; 16 bits stay."""

        def made(image: np.ndarray, mode: str) -> np.ndarray:
            return image_in(bytes(imagecodecs.png_encode(image)), "a.png", mode=mode)

        assert made(np.zeros((2, 2, 4), np.uint8), "rgb").tolist() == np.full((2, 2, 3), 255).tolist()
        assert made(np.full((2, 2), 7, np.uint8), "rgb").tolist() == np.full((2, 2, 3), 7).tolist()
        assert made(np.full((2, 2, 3), 7, np.uint8), "grey").tolist() == [[7, 7], [7, 7]]
        assert made(np.full((2, 2), 700, np.uint16), "grey").tolist() == [[700, 700], [700, 700]]
        assert made(np.full((2, 2, 4), 9, np.uint8), "any").shape == (2, 2, 4)

    def test_photographs_are_turned_upright(self):
        """As their Exif says: cameras are held sideways."""
        image = pytest.importorskip("PIL.Image")
        file = io.BytesIO()
        exif = image.Exif()
        exif[274] = 6
        image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(file, "JPEG", exif=exif)
        assert image_in(file.getvalue(), "a.jpg", mode="rgb").shape == (32, 16, 3)
        assert image_in(file.getvalue(), "a.jpg", mode="rgb", size=(8, 4)).shape == (8, 4, 3)

    def test_the_four_inks_of_print_become_colours(self):
        """As Pillow makes them, to a level."""
        image = pytest.importorskip("PIL.Image")
        noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        for mode, quality in (("CMYK", 95), ("CMYK", 40)):
            file = io.BytesIO()
            image.fromarray(noise).convert(mode).save(file, "JPEG", quality=quality)
            wanted = np.asarray(image.open(io.BytesIO(file.getvalue())).convert("RGB")).astype(int)
            found = image_in(file.getvalue(), "a.jpg", mode="rgb").astype(int)
            assert found.shape == (16, 16, 3)
            assert abs(found - wanted).max() <= 1

    @pytest.mark.parametrize("keep", [0.3, 0.7, 0.98])
    def test_a_jpeg_that_is_cut_short_is_damaged(self, keep: float, tmp_path: Path):
        """Decoders fill in grey and say nothing: that must not pass."""
        data = imagecodecs.jpeg8_encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        (tmp_path / "a.jpg").write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(CorruptDataError, match=r"a\.jpg is a JPEG (that cannot be decoded|whose header is damaged or cut short)"):
            decoded(str(tmp_path / "a.jpg"), mode="rgb")

    def test_what_follows_a_jpeg_does_not_matter(self, tmp_path: Path):
        """Cameras leave padding and second pictures behind the end."""
        data = imagecodecs.jpeg8_encode(np.full((8, 8, 3), 9, np.uint8))
        (tmp_path / "a.jpg").write_bytes(data + bytes(10_000))
        assert decoded(str(tmp_path / "a.jpg"), mode="rgb").shape == (8, 8, 3)

    def test_an_image_bomb_is_not_decoded(self, tmp_path: Path):
        """A head that says 50,000 x 50,000 is enough to refuse it."""
        data = bytearray(imagecodecs.png_encode(np.zeros((4, 4, 3), np.uint8)))
        data[16:24] = struct.pack(">II", 50_000, 50_000)
        (tmp_path / "bomb.png").write_bytes(data)
        with pytest.raises(CorruptDataError, match="claims 50,000 x 50,000 pixels"):
            decoded(str(tmp_path / "bomb.png"), mode="rgb")

    def test_what_is_no_image_says_how_it_begins(self, tmp_path: Path):
        """By its bytes."""
        (tmp_path / "a.jpg").write_bytes(b"hello")
        with pytest.raises(CorruptDataError, match="it begins with 68 65 6c 6c 6f"):
            decoded(str(tmp_path / "a.jpg"), mode="rgb")

    def test_sizes_are_filled_and_cut_to_the_middle(self):
        """A flat image stays flat; the sides of a wide one go."""
        image = np.zeros((10, 30, 3), np.uint8)
        image[:, 10:20] = 255
        small = image_in(bytes(imagecodecs.png_encode(image)), "a.png", mode="rgb", size=(5, 5))
        assert small.min() == 255
        flat = bytes(imagecodecs.png_encode(np.full((7, 9), 3, np.uint8)))
        assert image_in(flat, "a.png", mode="grey", size=(20, 10)).tolist() == np.full((20, 10), 3).tolist()


def test_a_folder_of_images_becomes_a_file_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """And it is the same, record for record, says `verify`."""
    made = image_folder(tmp_path / "in", {"a": 3, "b": 2})
    code, document = answer(capsys, "convert", tmp_path / "in", tmp_path / "out.h5", "--workers", 2)
    assert (code, document["records"]) == (0, 5)
    np.testing.assert_array_equal(sl.open(tmp_path / "out.h5")[:]["image"], made["a"] + made["b"])
    assert answer(capsys, "verify", tmp_path / "out.h5", "--against", tmp_path / "in", "--deep")[0] == 0


def test_damaged_images_are_left_out_where_that_was_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """raise stops with the name; skip and log leave them out, and the exit code says so."""
    image_folder(tmp_path / "in", {"a": 3})
    (tmp_path / "in" / "a" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    code, document = answer(capsys, "convert", tmp_path / "in", tmp_path / "out.h5")
    assert code == 1
    assert "001.png is a PNG" in document["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    code, document = answer(capsys, "convert", tmp_path / "in", tmp_path / "out.h5", "--on-bad", "log")
    assert (code, document["records"]) == (1, 2)
    assert json.loads((tmp_path / "out.h5.bad.jsonl").read_text())["record"] == 1
    assert answer(capsys, "verify", tmp_path / "out.h5", "--against", tmp_path / "in")[0] == 0
    words = ["--store", "png", "--on-bad", "skip", "--size", "12x10"]
    assert answer(capsys, "convert", tmp_path / "in", tmp_path / "out.parquet", *words)[0] == 1
    assert answer(capsys, "verify", tmp_path / "out.parquet", "--against", tmp_path / "in")[0] == 0
    (tmp_path / "in" / "a" / "002.png").write_bytes(b"damaged since then")
    code, document = answer(capsys, "verify", tmp_path / "out.h5", "--against", tmp_path / "in")
    assert (code, document["counts"]) == (1, {"unreadable record": 1})


def test_one_field_alone_goes_to_npy_in_parts_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """An array in an .npy file has no name but the file's: nothing is compared by it."""
    made = image_folder(tmp_path / "in", {"x": 6})["x"]
    words = ["--to", "npy", "--split", "0.5,0.5", "--shard-size", "800"]
    assert answer(capsys, "convert", tmp_path / "in" / "x", tmp_path / "out", *words)[1]["records"] == 6
    assert answer(capsys, "verify", tmp_path / "out", "--deep")[0] == 0
    assert answer(capsys, "convert", tmp_path / "in" / "x", tmp_path / "a.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), made)
    assert answer(capsys, "verify", tmp_path / "a.npy", "--deep", "--against", tmp_path / "in" / "x")[0] == 0


@pytest.mark.parametrize("more", [[], ["--mode", "grey"], ["--store", "keep"], ["--dry-run"]], ids=["colour", "grey", "kept", "dry"])
def test_transparency_is_not_lost_without_a_word(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It is laid over white where pixels are written, and said; where images are kept there is nothing to say."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    (tmp_path / "in" / "a" / "0.png").write_bytes(imagecodecs.png_encode(pixels))
    code, shown = said(capsys, "convert", tmp_path / "in", tmp_path / "o.parquet", *more)
    assert code == 0
    assert ("'image' may be transparent, and is laid over white" in shown) == (more != ["--store", "keep"])
    if more == ["--store", "keep"]:
        with sl.open(tmp_path / "o.parquet", decode=sl.Decode(mode="RGBA")) as source:
            np.testing.assert_array_equal(source[0]["image"], pixels)

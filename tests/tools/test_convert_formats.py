"""Round trips: what is written to any format is read again, record for record; foreign sources are read as they are meant."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pytest
from command_line import answer, image_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from streamload.tools.manifest import Content
from streamload.tools.origins import Request, origin_of
from streamload.tools.pictures import decoded, image_in
from streamload.tools.targets import CODECS, FORMATS, style_of, writer_of

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, UnsafeSourceError
from streamload.schema import Field, Schema

NUMBERS = count()
DTYPES = ["u1", "i2", "<f4", "<f8", "?", "<i8", "<f2", "u2"]


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """One to three fields of any dtype and shape, with 0 to 40 records; the first has at least one value a record."""
    records = draw(st.integers(0, 40))
    held: dict[str, np.ndarray] = {}
    for number in range(draw(st.integers(1, 3))):
        shape = draw(st.lists(st.integers(1, 5), max_size=3).map(tuple))
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        data = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 2, (records, *shape))
        held[f"field{number}"] = (data * draw(st.integers(1, 100))).astype(dtype)
    return held


def write(path: Path, held: dict[str, np.ndarray], style: Any, parts: int) -> None:
    """Write all records, so many at a time."""
    records = len(next(iter(held.values())))
    writer = writer_of(str(path), Schema(tuple(Field(n, v.dtype, v.shape[1:]) for n, v in held.items())), records, style)
    for start in range(0, records, parts):
        writer.append({name: values[start : start + parts] for name, values in held.items()})
    writer.close()


@pytest.mark.parametrize(("name", "codec"), [(name, codec) for name in FORMATS for codec in CODECS[name]])
@settings(max_examples=20)
@given(held=datasets(), parts=st.integers(1, 50), chunk=st.none() | st.integers(1, 20))
def test_what_is_written_is_read_again(tmp_path: Path, name: str, codec: str, held: dict[str, np.ndarray], parts: int, chunk: int | None):
    """Every format and codec, any fields, however records come in and however large blocks are."""
    path = tmp_path / f"{next(NUMBERS)}{FORMATS[name]}"
    write(path, held, style_of(name=name, path=str(path), codec=codec, chunk_records=None if name in ("npy", "npz") else chunk), parts)
    source = sl.open(path, list(held) if len(held) > 1 else None)
    records = len(next(iter(held.values())))
    assert len(source) == records
    taken = source.take(np.arange(records, dtype=np.int64))
    for got, wanted in zip(taken.values(), held.values(), strict=True):
        assert got.dtype == wanted.dtype
        # Labels of shape (N, 1) in HDF5 are delivered as single numbers.
        np.testing.assert_array_equal(got, wanted.reshape(got.shape) if name == "hdf5" and got.ndim == 1 else wanted)
    source.close()


def test_hdf5_is_written_for_every_reader(tmp_path: Path):
    """The first superblock, and h5py reads what was compressed here."""
    held = {"image": np.random.default_rng(0).integers(0, 9, (10, 4, 4, 3)).astype("<u2")}
    write(tmp_path / "a.h5", held, style_of(name=None, path="a.h5", codec="gzip", chunk_records=3), 4)
    assert (tmp_path / "a.h5").read_bytes()[8] in (0, 2)
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["image"].compression, file["image"].shuffle, file["image"].chunks) == ("gzip", True, (3, 4, 4, 3))
        np.testing.assert_array_equal(file["image"], held["image"])


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"name": "hdf4"}, "Did you mean 'hdf5'?"),
        ({"path": "a.npy", "codec": "gzip"}, "--codec gzip is not written to npy files"),
        ({"codec": "gzip:10"}, "--codec gzip:10 has a level that gzip does not"),
        ({"chunk_records": 0}, "--chunk-records 0 holds nothing"),
        ({"path": "a.npy", "name": "hdf5"}, "a.npy is named like npy, and --to says hdf5"),
        ({"path": "a.npy", "chunk_records": 5}, "--chunk-records means nothing in npy files"),
    ],
)
def test_styles_that_cannot_be_are_refused(asked: dict[str, Any], text: str):
    """Before anything is read."""
    with pytest.raises(ConfigError, match=text):
        style_of(**({"name": None, "path": "a", "codec": "none", "chunk_records": None} | asked))


@given(held=datasets(), cut=st.integers(0, 40))
def test_a_digest_depends_on_records_alone(held: dict[str, np.ndarray], cut: int):
    """However they are divided, and whatever the order of fields; but not if they change places."""
    whole, first, second = Content(), Content(), Content()
    whole.add(held, 0)
    first.add({name: held[name][:cut] for name in reversed(held)}, 0)
    second.add({name: values[cut:] for name, values in held.items()}, min(cut, len(held["field0"])))
    assert whole.numbered == (first.numbered + second.numbered) % (1 << 128)
    turned = Content()
    turned.add({name: values[::-1] for name, values in held.items()}, 0)
    assert turned.unnumbered == whole.unnumbered
    assert (turned.numbered == whole.numbered) == all(np.array_equal(values, values[::-1]) for values in held.values())


def taken(path: Path, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """An origin, and all its records."""
    origin = origin_of(Request(path=str(path), **options))
    records = origin.take(np.arange(len(origin), dtype=np.int64))
    origin.close()
    return origin, records


class TestImageFolders:
    """Folders of images."""

    def test_a_folder_for_each_class(self, tmp_path: Path):
        """Labels count folders in order of their names, empty ones too."""
        made = image_folder(tmp_path / "in", {"dog": 2, "cat": 3, "empty": 0})
        origin, records = taken(tmp_path / "in")
        assert origin.facts["classes"] == {"label": ["cat", "dog", "empty"]}
        assert records["label"].tolist() == [0, 0, 0, 1, 1]
        np.testing.assert_array_equal(records["image"], made["cat"] + made["dog"])

    @pytest.mark.parametrize("name", ["metadata.csv", "labels.jsonl"])
    def test_a_table_beside_the_images(self, name: str, tmp_path: Path):
        """Numbers stay numbers; texts become numbers of their sorted values."""
        made = image_folder(tmp_path, {"x": 3})["x"]
        rows = [("x/002.png", "4", "no"), ("x/000.png", "5", "yes")]
        if name.endswith("csv"):
            text = "file_name,age,kind\n" + "".join(",".join(row) + "\n" for row in rows)
        else:
            text = "".join(json.dumps({"file_name": a, "age": int(b), "kind": c}) + "\n" for a, b, c in rows)
        (tmp_path / name).write_text(text)
        origin, records = taken(tmp_path)
        np.testing.assert_array_equal(records["image"], [made[2], made[0]])
        assert records["age"].tolist() == [4, 5]
        assert records["kind"].tolist() == [0, 1]
        assert origin.facts["classes"] == {"kind": ["no", "yes"]}

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
        """Another size is an error that names the file and both ways out."""
        image_folder(tmp_path, {"x": 2})
        (tmp_path / "x" / "big.png").write_bytes(imagecodecs.png_encode(np.zeros((20, 20, 3), np.uint8)))
        with pytest.raises(SchemaMismatchError, match=r"big.png is uint8 \(20, 20, 3\), and the first .* Give --size"):
            taken(tmp_path)

    def test_images_beside_folders_of_images_are_refused(self, tmp_path: Path):
        """It is not clear what their label is."""
        image_folder(tmp_path, {"x": 2})
        (tmp_path / "loose.png").write_bytes(imagecodecs.png_encode(np.zeros((12, 10, 3), np.uint8)))
        with pytest.raises(SchemaMismatchError, match="holds 1 images beside folders with 2: what is their label"):
            taken(tmp_path)


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
        np.testing.assert_array_equal(records["mask"], made)
        assert records["image"].shape == (3, 6, 5)
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
        assert taken(tmp_path)[1]["mask"][0].tolist() == mask.tolist()
        small = taken(tmp_path, size=(3, 3))[1]["mask"][0]
        assert small.shape == (3, 3)
        assert set(small.ravel().tolist()) <= set(mask.ravel().tolist())

    def test_an_image_without_a_mask_is_a_stray_and_a_mask_without_an_image_is_left_out(self, tmp_path: Path):
        """Both are said."""
        for folder, names in (("images", "ab"), ("masks", "ac")):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / f"{name}.png").write_bytes(imagecodecs.png_encode(np.zeros((4, 4), np.uint8)))
        origin = origin_of(Request(path=str(tmp_path)))
        assert origin.left_out == {"masks": "1 masks to which there is no image"}
        with pytest.raises(CorruptDataError, match=r"images/b.png has no mask. Leave it out with --on-bad skip"):
            origin.take(np.array([1]))

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
        with pytest.raises(CorruptDataError, match=r"masks/a.png is a PNG that cannot be decoded"):
            taken(tmp_path)
        head = bytearray(data)
        head[25] = 3
        (tmp_path / "masks" / "a.png").write_bytes(head[:60])
        with pytest.raises(CorruptDataError, match=r"masks/a.png is cut short: a part of it lacks bytes"):
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


def idx(values: np.ndarray) -> bytes:
    """An array as an IDX file of bytes."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


class TestIdx:
    """MNIST's files."""

    @pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
    @pytest.mark.parametrize("records", [0, 1, 5])
    def test_images_and_the_labels_beside_them(self, packed: bool, records: int, tmp_path: Path):
        """Found by their names, packed or not."""
        images = np.random.default_rng(0).integers(0, 256, (records, 4, 3), dtype=np.uint8)
        labels = np.arange(records, dtype=np.uint8)
        end = ".gz" if packed else ""
        for name, values in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
            data = idx(values)
            (tmp_path / (name + end)).write_bytes(gzip.compress(data) if packed else data)
        _, records_ = taken(tmp_path / ("train-images-idx3-ubyte" + end))
        np.testing.assert_array_equal(records_["image"], images)
        np.testing.assert_array_equal(records_["label"], labels)

    def test_a_file_that_is_cut_short_is_damaged(self, tmp_path: Path):
        """The head says how much there should be."""
        (tmp_path / "t-images").write_bytes(idx(np.zeros((5, 4, 4), np.uint8))[:-3])
        with pytest.raises(CorruptDataError, match="holds 77 bytes of values, and its head says 80"):
            taken(tmp_path / "t-images")
        (tmp_path / "g-images.gz").write_bytes(gzip.compress(idx(np.zeros((5, 4, 4), np.uint8)))[:-12])
        with pytest.raises(CorruptDataError, match="is damaged"):
            taken(tmp_path / "g-images.gz")

    def test_labels_must_be_as_many(self, tmp_path: Path):
        """Else they belong to something else."""
        (tmp_path / "t-images").write_bytes(idx(np.zeros((5, 4, 4), np.uint8)))
        (tmp_path / "t-labels").write_bytes(idx(np.zeros(4, np.uint8)))
        with pytest.raises(SchemaMismatchError, match=r"holds 5 records, and .*t-labels 4 labels"):
            taken(tmp_path / "t-images")


class Harm:
    """An object whose pickle runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch harmed",)


class TestCifar:
    """CIFAR's files."""

    DATA = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)

    @pytest.mark.parametrize(("names", "labels"), [(["data_batch_1.bin", "data_batch_2.bin"], 1), (["train.bin"], 2)], ids=["10", "100"])
    def test_binary_batches(self, names: list[str], labels: int, tmp_path: Path):
        """Planes become pixels; batches follow each other."""
        rows = np.concatenate([np.tile(np.arange(4, dtype=np.uint8)[:, None], labels), self.DATA], axis=1)
        for name in names:
            (tmp_path / name).write_bytes(rows.tobytes())
        _, records = taken(tmp_path)
        wanted = self.DATA.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(records["image"], np.concatenate([wanted] * len(names)))
        assert list(records) == (["image", "label"] if labels == 1 else ["image", "coarse_label", "fine_label"])
        assert records["label" if labels == 1 else "fine_label"].tolist() == [0, 1, 2, 3] * len(names)

    @pytest.mark.parametrize("protocol", [2, 4])
    def test_pickles_of_arrays_and_lists(self, protocol: int, tmp_path: Path):
        """As Python 2 and 3 wrote them, keys as bytes or as text."""
        for number, key in ((1, str), (2, lambda text: text.encode())):
            held = {key("data"): self.DATA, key("labels"): [3, 1, 2, 0], key("filenames"): [b"a"]}
            (tmp_path / f"data_batch_{number}").write_bytes(pickle.dumps(held, protocol=protocol))
        _, records = taken(tmp_path)
        assert records["label"].tolist() == [3, 1, 2, 0] * 2
        np.testing.assert_array_equal(records["image"][:4], self.DATA.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))

    @pytest.mark.parametrize(
        "held", [Harm(), {"data": Harm()}, [Harm], np.array([Harm()], object)], ids=["call", "inside", "class", "objects"]
    )
    def test_a_pickle_runs_nothing(self, held: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """What asks for a function is refused by its name."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data_batch_1").write_bytes(pickle.dumps(held, protocol=2))
        with pytest.raises((UnsafeSourceError, CorruptDataError)) as caught:
            taken(tmp_path)
        assert isinstance(caught.value, UnsafeSourceError) or not isinstance(held, Harm)
        assert not (tmp_path / "harmed").exists()

    @pytest.mark.parametrize(
        "steps",
        [
            b"cos\nsystem\n(S'touch harmed'\ntR.",
            b"(S'touch harmed'\nios\nsystem\n.",
            b"(cos\nsystem\nS'touch harmed'\no.",
            b"\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch harmed\x85R.",
            b"cbuiltins\neval\n(S'1'\ntR.",
            b"cnumpy\nload\n(S'x'\ntR.",
            b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR.",
            b"Pos.system\n.",
            b"\x82\x01.",
            b"\x8f.",
            b"\x97.",
            b"r\xff\xff\xff\x7f" + b"N" + b"r\xff\xff\xff\x7f.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.",
            b"\x8b\xff\xff\xff\x7f.",
            b"(" * 100_000 + b"t" * 100_000 + b".",
            b"}" + b"]" * 50_000 + b"a" * 49_999 + b"Ns.",
        ],
        ids=[
            "call", "call, old", "call, older", "call, new", "eval", "load", "function for a class", "outside", "extension", "set",
            "buffer",            "memo of billions", "bytes of billions", "number of billions", "nested", "list for a key",
        ],
    )  # fmt: skip
    def test_hostile_pickles_do_nothing(self, steps: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """No step of the machine that reads them leads anywhere, and none takes more than the file has."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "data_batch_1").write_bytes(b"\x80\x02" + steps)
        with pytest.raises((UnsafeSourceError, CorruptDataError), match="data_batch_1"):
            taken(tmp_path)
        assert not (tmp_path / "harmed").exists()

    def test_attributes_cannot_be_set_on_what_a_pickle_may_call(self, tmp_path: Path):
        """State goes to arrays, and to nothing else; objects and structures are no numbers."""
        for state in (b"}S'__call__'\nNsb.", b"(N}S'x'\nNstb."):
            (tmp_path / "data_batch_1").write_bytes(b"\x80\x02cnumpy\ndtype\n" + state)
            with pytest.raises((UnsafeSourceError, CorruptDataError)):
                taken(tmp_path)
        for kind in ("O8", "V8", "i4,f8"):
            (tmp_path / "data_batch_1").write_bytes(b"\x80\x02cnumpy\ndtype\n(S'" + kind.encode() + b"'\nI0\nI1\ntR.")
            with pytest.raises(UnsafeSourceError, match="an array of other things than numbers"):
                taken(tmp_path)

    @given(data=st.binary(max_size=200))
    def test_nonsense_is_an_error_of_ours(self, tmp_path: Path, data: bytes):
        """Whatever the bytes are."""
        (tmp_path / "data_batch_1").write_bytes(b"\x80\x02" + data)
        with pytest.raises((CorruptDataError, UnsafeSourceError)):
            taken(tmp_path)


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


def test_one_field_alone_goes_to_npy_in_parts_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """An array in an .npy file has no name but the file's: nothing is compared by it."""
    made = image_folder(tmp_path / "in", {"x": 6})["x"]
    words = ["--to", "npy", "--split", "0.5,0.5", "--shard-size", "800"]
    assert answer(capsys, "convert", tmp_path / "in" / "x", tmp_path / "out", *words)[1]["records"] == 6
    assert answer(capsys, "verify", tmp_path / "out", "--deep")[0] == 0
    assert answer(capsys, "convert", tmp_path / "in" / "x", tmp_path / "a.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), made)
    assert answer(capsys, "verify", tmp_path / "a.npy", "--deep", "--against", tmp_path / "in" / "x")[0] == 0

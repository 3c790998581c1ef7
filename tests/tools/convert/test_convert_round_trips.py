"""Any source to any target and back: the same records, bit for bit, whatever the formats on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import answer, hdf5_file
from foreign_files import cifar, idx_files, noise, png, taken, tfrecord, webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from store_files import _end_threads, database, zarr_store  # noqa: F401 - a fixture

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.encode_images import stored
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.writers.registry import FORMATS, Annotations, write_options, writer_of

NUMBERS = count()
Maker = Callable[[Path, np.ndarray, np.ndarray], Path]


def images_folder(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Files in a folder, labels in a table."""
    path.mkdir()
    lines = ["file_name,label"] + [f"{at:03d}.png,{label}" for at, label in enumerate(labels)]
    (path / "metadata.csv").write_text("\n".join(lines) + "\n")
    for at, image in enumerate(images):
        (path / f"{at:03d}.png").write_bytes(png(image))
    return path


def numbered_lmdb(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Keys with numbers."""
    held = {b"num-samples": str(len(images)).encode()}
    for at, (image, label) in enumerate(zip(images, labels, strict=True), start=1):
        held |= {b"image-%09d" % at: png(image), b"label-%09d" % at: str(label).encode()}
    return database(path, held)


def hub_parquet(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """As the Hugging Face hub has it."""
    features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array([{"bytes": png(image), "path": None} for image in images], kind), "label": pa.array(labels)})
    path = path.with_suffix(".parquet")
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path, row_group_size=2)
    return path


def structured_npy(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Records of a structure."""
    held = np.zeros(len(images), [("image", "u1", images.shape[1:]), ("label", "i8")])
    held["image"], held["label"] = images, labels
    np.save(path.with_suffix(".npy"), held)
    return path.with_suffix(".npy")


def npz(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """An array each."""
    np.savez(path.with_suffix(".npz"), image=images, label=labels)
    return path.with_suffix(".npz")


SOURCES: dict[str, Maker] = {
    "image folder": images_folder,
    "WebDataset": lambda path, images, labels: webdataset(path.with_suffix(".tar"), images, labels.tolist()),
    "WebDataset, gz": lambda path, images, labels: webdataset(path.with_suffix(".tgz"), images, labels.tolist(), "gz"),
    "WebDataset, zst": lambda path, images, labels: webdataset(path.with_suffix(".tzst"), images, labels.tolist(), "zst"),
    "TFRecord": lambda path, images, labels: tfrecord(
        path.with_suffix(".tfrecord"), [{"image": png(one), "label": [int(label)]} for one, label in zip(images, labels, strict=True)]
    ),
    "Zarr 2": lambda path, images, labels: zarr_store(
        path, {"image": images, "label": labels}, zarr_format=2, chunks=(2, *images.shape[1:])
    ),
    "Zarr 3": lambda path, images, labels: zarr_store(path, {"image": images, "label": labels}, chunks=(3, *images.shape[1:])),
    "LMDB": numbered_lmdb,
    "IDX": idx_files,
    "CIFAR": cifar,
    "Hugging Face Parquet": hub_parquet,
    "npy": structured_npy,
    "npz": npz,
    "HDF5": lambda path, images, labels: hdf5_file(path.with_suffix(".h5"), {"image": images, "label": labels}),
}
TARGETS = [*FORMATS, "parquet, png", "parquet, keep"]


def sets(shape: tuple[int, ...] | None = None) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """A few images of one shape, and a label each."""
    shapes = st.tuples(st.integers(2, 6), st.integers(2, 6), st.just(3)) if shape is None else st.just(shape)
    labels = st.lists(st.integers(0, 2), min_size=1, max_size=5)
    return st.tuples(shapes, labels).map(lambda one: (noise((len(one[1]), *one[0]), len(one[1])), np.array(one[1], np.int64)))


def written(source: Path, target: str, folder: Path) -> Path:
    """A source in another format, as a task of a conversion writes it."""
    name, _, store = target.partition(", ")
    style = write_options(name=name, path="", codec="none", chunk_records=None, store=store or "raw")
    origin = open_records(OpenRequest(path=str(source)))
    path = folder / f"{next(NUMBERS)}{FORMATS[name]}"
    try:
        kept = stored(origin, style)
        said = Annotations() if name == "npy" else Annotations(classes=origin.classes)  # It has no place for names.
        writer = writer_of(str(path), kept.schema, len(kept), style, said)
        for start in range(0, len(kept), 2):
            writer.append(kept.take(np.arange(start, min(start + 2, len(kept)))))
        writer.close()
        if kept is not origin:
            kept.close()
    finally:
        origin.close()
    return path


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=4)
@given(data=st.data(), back=st.sampled_from(["hdf5", "npz", "arrow", "parquet"]))
def test_records_come_back(tmp_path: Path, source: str, target: str, data: st.DataObject, back: str):
    """From any source to any target, and from there to another: the same images and labels, in the same order."""
    images, labels = data.draw(sets((32, 32, 3) if source == "CIFAR" else None))
    made = SOURCES[source](tmp_path / f"source{next(NUMBERS)}", images, labels)
    encoded = source not in ("Zarr 2", "Zarr 3", "IDX", "CIFAR", "npy", "npz", "HDF5")
    if target.endswith("keep") and not encoded:
        with pytest.raises(ConfigError, match="holds no encoded images that could be kept"):
            written(made, target, tmp_path)
        return
    there = written(made, target, tmp_path)
    for path in (there, written(there, back, tmp_path)):
        with_source = sl.open(path)
        found = with_source.take(np.arange(len(with_source)))
        with_source.close()
        np.testing.assert_array_equal(found["image"], images)
        np.testing.assert_array_equal(found["label"], labels)


@pytest.mark.parametrize("source", [name for name in SOURCES if name not in ("image folder", "CIFAR")])
def test_sets_without_records_are_sets_where_a_head_says_what_they_hold(source: str, tmp_path: Path):
    """Elsewhere nothing is made up: there is an error."""
    path = SOURCES[source](tmp_path / "a", np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, np.int64))
    if source.startswith(("WebDataset", "TFRecord", "LMDB")):
        with pytest.raises(CorruptDataError, match=r"holds no records|is empty \(0 bytes\)"):
            taken(path)
        return
    assert len(taken(path)[0]) == 0


class TestStores:
    """What is kept of images."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Images in folders of two classes."""
        for name in ("cat", "dog"):
            (tmp_path / "in" / name).mkdir(parents=True)
            for at in range(3):
                (tmp_path / "in" / name / f"{at}.png").write_bytes(png(noise((16, 12, 3), at)))
        return tmp_path / "in"

    @pytest.mark.parametrize("store", ["jpeg", "jpeg:95", "png", "png:1", "keep"])
    @pytest.mark.parametrize("words", [[], ["--shuffle"], ["--chunk-records", 2]], ids=["plain", "shuffled", "groups of two"])
    def test_a_folder_becomes_what_the_hub_has(self, store: str, words: list, folder: Path, capsys: pytest.CaptureFixture[str]):
        """Images as bytes with a feature that says so, labels by the names of their classes; verified against the folder."""
        path = folder.parent / "a.parquet"
        code, document = answer(capsys, "convert", folder, path, "--store", store, *words)
        assert (code, document["records"]) == (0, 6)
        file = pq.ParquetFile(path)
        features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        assert features == {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
        held = file.read().to_pydict()
        file.close()
        if store == "keep" and not words:
            assert held["image"][0] == {"bytes": (folder / "cat" / "0.png").read_bytes(), "path": None}
        assert all(one["bytes"].startswith(b"\xff\xd8" if store.startswith("jpeg") else b"\x89PNG") for one in held["image"])
        assert sorted(held["label"]) == [0, 0, 0, 1, 1, 1]
        assert answer(capsys, "verify", path, "--deep")[0] == 0
        if "--shuffle" not in words:
            assert answer(capsys, "verify", path, "--against", folder)[0] == 0
        source = sl.open(path)
        assert source.classes == {"label": ("cat", "dog")}
        assert source.schema["image"].shape == (16, 12, 3)
        source.close()

    def test_sizes_may_differ_only_where_bytes_are_kept(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        """Else they must be made alike."""
        (folder / "cat" / "9.png").write_bytes(png(noise((30, 30, 3))))
        code, document = answer(capsys, "convert", folder, folder.parent / "a.parquet", "--store", "png")
        assert (code, "9.png is uint8 (30, 30, 3)" in document["error"]["message"]) == (1, True)
        assert answer(capsys, "convert", folder, folder.parent / "b.parquet", "--store", "keep")[1]["records"] == 7
        assert answer(capsys, "verify", folder.parent / "b.parquet", "--deep", "--against", folder)[0] == 0
        words = ["--store", "jpeg", "--size", "8x8"]
        assert answer(capsys, "convert", folder, folder.parent / "c.parquet", *words)[1]["records"] == 7
        assert sl.open(folder.parent / "c.parquet").schema["image"].shape == (8, 8, 3)

    @pytest.mark.parametrize(("store", "files"), [("raw", 6), ("png", 3), ("jpeg", 1)])
    def test_files_are_cut_by_what_images_will_take(self, store: str, files: int, folder: Path, capsys: pytest.CaptureFixture[str]):
        """About: it is not known before."""
        words = ["--store", store, "--to", "parquet", "--shard-size", "600"]
        document = answer(capsys, "convert", folder, folder.parent / "out", *words)[1]
        assert len(document["files"]) == files
        assert answer(capsys, "verify", folder.parent / "out", "--deep")[0] == 0

    def test_a_damaged_image_is_never_kept(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        """Though its bytes could be."""
        (folder / "cat" / "1.png").write_bytes((folder / "cat" / "1.png").read_bytes()[:200])
        words = ["convert", folder, folder.parent / "a.parquet", "--store", "keep"]
        code, document = answer(capsys, *words)
        assert (code, "1.png is a PNG that cannot be decoded" in document["error"]["message"]) == (1, True)
        assert answer(capsys, *words, "--on-bad", "skip")[1]["records"] == 5

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["a.h5", "--store", "jpeg"], "--store jpeg is written to Parquet only, not to hdf5"),
            (["a.parquet", "--store", "gif"], "--store gif is not known"),
            (["a.parquet", "--store", "jpeg:101"], "--store jpeg:101 has a quality that jpeg does not"),
            (["a.parquet", "--store", "keep:1"], "--store keep:1 has a quality that keep does not"),
            (["a.parquet", "--store", "png", "--codec", "zstd"], "--codec zstd would pack what --store png has packed"),
            (["a.parquet", "--store", "keep", "--size", "4x4"], "--store keep leaves images as they are, and --size would change them"),
            (["a.parquet", "--store", "keep", "--mode", "grey"], "--store keep leaves images as they are, and --mode grey would change"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_meant_is_refused(self, words: list[str], text: str, folder: Path, capsys: pytest.CaptureFixture[str]):
        """Before anything is read."""
        code, document = answer(capsys, "convert", folder, folder.parent / words[0], *words[1:])
        assert (code, text in document["error"]["message"]) == (2, True), document

    def test_jpeg_cannot_hold_everything(self, tmp_path: Path):
        """Four colours, 16 bits, or no image at all."""
        for number, (values, text) in enumerate(
            [
                (np.zeros((2, 4, 4, 4), np.uint8), "--store jpeg cannot hold 'x', which is uint8 (4, 4, 4)"),
                (np.zeros((2, 4, 4), np.uint16), "--store jpeg cannot hold 'x', which is uint16 (4, 4)"),
                (np.zeros((2, 4), np.float32), "--store jpeg has nothing to encode: no field is an image"),
            ]
        ):
            origin = open_records(OpenRequest(path=str(hdf5_file(tmp_path / f"{number}.h5", {"x": values}))))
            with pytest.raises(ConfigError) as caught:
                stored(origin, write_options(name="parquet", path="", codec="none", chunk_records=None, store="jpeg"))
            assert text in str(caught.value)
            origin.close()

    def test_packed_archives_that_are_shuffled_cannot_be_kept(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """They are read once, in order, and their pixels moved through files."""
        webdataset(tmp_path / "a.tar.gz", noise((3, 4, 4, 3)), [0, 1, 2], "gz")
        words = ["convert", tmp_path / "a.tar.gz", tmp_path / "b.parquet", "--shuffle", "--store"]
        assert "--store keep cannot be shuffled" in answer(capsys, *words, "keep")[1]["error"]["message"]
        assert answer(capsys, *words, "png")[1]["records"] == 3
        mixed = sl.open(tmp_path / "b.parquet")[:]
        np.testing.assert_array_equal(mixed["image"], noise((3, 4, 4, 3))[mixed["label"]])


def test_lmdb_is_left_as_it_was(tmp_path: Path):
    """Not even a lock file is written."""
    database(tmp_path / "a", {b"1": png(noise())})
    (tmp_path / "a" / "lock.mdb").unlink()
    taken(tmp_path / "a")
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["data.mdb"]
    assert lmdb.version()


class TestHubSources:
    """Parquet files of encoded images as a source."""

    def test_sizes_that_differ_are_made_alike_or_kept(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Else they are refused with both ways out; texts go along where images are kept."""
        images = [png(noise((4, 6, 3))), png(noise((9, 5, 3))), png(noise((4, 4)))]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        held = {"image": pa.array([{"bytes": one, "path": "x"} for one in images], kind), "text": ["a", "", "ccc"], "label": [3, 1, 2]}
        pq.write_table(pa.table(held), tmp_path / "a.parquet")
        words = ["convert", tmp_path / "a.parquet"]
        code, document = answer(capsys, *words, tmp_path / "b.h5", "--fields", "image,label")
        assert (code, document["error"]["hint"]) == (1, "Give --size HEIGHTxWIDTH, or --store keep.")
        assert "'image' holds images of different sizes" in document["error"]["message"]
        code, document = answer(capsys, *words, tmp_path / "b.h5", "--size", "5x5")
        assert (code, document["records"]) == (0, 3)
        assert sl.open(tmp_path / "b.h5")[:]["text"].to_list() == held["text"]
        (tmp_path / "b.h5").unlink()
        assert answer(capsys, *words, tmp_path / "b.h5", "--size", "5x5", "--fields", "image,label")[0] == 0
        assert sl.open(tmp_path / "b.h5").schema["image"].shape == (5, 5, 3)
        assert answer(capsys, *words, tmp_path / "c.npz", "--size", "5x5", "--mode", "grey", "--fields", "x=image")[0] == 0
        assert sl.open(tmp_path / "c.npz").schema["x"].shape == (5, 5, 1)
        assert answer(capsys, *words, tmp_path / "d.parquet", "--store", "keep")[0] == 0
        kept = pq.read_table(tmp_path / "d.parquet").to_pydict()
        assert [one["bytes"] for one in kept["image"]] == images
        assert (kept["text"], kept["label"]) == (["a", "", "ccc"], [3, 1, 2])
        assert answer(capsys, "verify", tmp_path / "d.parquet", "--deep", "--against", tmp_path / "a.parquet")[0] == 0

    def test_an_image_that_does_not_decode_is_named_or_left_out(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """As in any other source."""
        path = hub_parquet(tmp_path / "a", noise((5, 9, 9, 3)), np.arange(5) % 3)
        table = pq.read_table(path)
        images = table["image"].to_pylist()
        images[3]["bytes"] = images[3]["bytes"][:90]
        pq.write_table(table.set_column(0, "image", pa.array(images, table.schema.field("image").type)), path, row_group_size=2)
        for number, words in enumerate([[], ["--store", "png"], ["--store", "keep"]]):
            words = ["convert", path, tmp_path / f"b{number}.parquet", *words]
            code, document = answer(capsys, *words)
            assert (code, "record 3" in document["error"]["message"]) == (1, True), document
            code, document = answer(capsys, *words, "--on-bad", "skip")
            assert (code, document["records"], [at for at, _ in document["left_out"]]) == (1, 4, [3])
            assert sl.open(words[2])[:]["label"].tolist() == [0, 1, 2, 1]


def test_values_other_than_images_go_to_the_hub_as_lists(tmp_path: Path):
    """Of fixed length, nested where there are several axes; and come back."""
    held: dict[str, Any] = {
        "image": noise((3, 4, 4, 3)),
        "box": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
        "ok": np.array([1, 0, 1], bool),
    }
    path = written(hdf5_file(tmp_path / "a.h5", held), "parquet, png", tmp_path)
    features = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
    inner = {"feature": {"dtype": "float32", "_type": "Value"}, "length": 2, "_type": "Sequence"}
    assert features == {
        "image": {"_type": "Image"},
        "box": {"feature": inner, "length": 2, "_type": "Sequence"},
        "ok": {"dtype": "bool", "_type": "Value"},
    }
    source = sl.open(path)
    for name, values in source[:].items():
        np.testing.assert_array_equal(values, held[name])
    source.close()

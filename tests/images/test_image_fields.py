"""Fields of encoded images, wherever their bytes lie, reach the user as arrays: found by content, decoded as asked for."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import by_pillow, encoded, photograph, picture
from PIL import Image

import streamload as sl
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, UnsupportedFeatureError

RECORDS = 40
Writer = Callable[[Path, list[bytes]], Path]


def same(kind: str = "jpeg") -> list[bytes]:
    """Images of one size."""
    return [encoded(picture("RGB", 24, 32, seed=record), kind) or b"" for record in range(RECORDS)]


def various() -> list[bytes]:
    """Images of different sizes."""
    return [encoded(picture("RGB", 20 + record, 30 + record % 7, seed=record), "jpeg") or b"" for record in range(RECORDS)]


def table(images: list[bytes]) -> pa.Table:
    """Bytes and labels."""
    return pa.table({"image": pa.array(images, pa.binary()), "label": 1000 * np.arange(len(images))})


def hub_table(images: list[bytes]) -> pa.Table:
    """As the Hugging Face hub has it."""
    cells = [{"bytes": data, "path": f"{record}.jpg"} for record, data in enumerate(images)]
    return pa.table(
        {"image": pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "label": 1000 * np.arange(len(images))}
    )


def parquet(path: Path, images: list[bytes]) -> Path:
    pq.write_table(table(images), path / "a.parquet", row_group_size=16)
    return path / "a.parquet"


def hub_parquet(path: Path, images: list[bytes]) -> Path:
    pq.write_table(hub_table(images), path / "a.parquet", row_group_size=16)
    return path / "a.parquet"


def padded_hdf5(path: Path, images: list[bytes], **options: Any) -> Path:
    rows = np.zeros((len(images), max(map(len, images)) + 3), np.uint8)
    for row, data in zip(rows, images, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("image", data=rows, **options)
        file["label"] = 1000 * np.arange(len(images))
    return path / "a.h5"


def gzip_hdf5(path: Path, images: list[bytes]) -> Path:
    return padded_hdf5(path, images, chunks=(8, max(map(len, images)) + 3), compression="gzip")


def string_hdf5(path: Path, images: list[bytes]) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        file["image"] = np.array(images, f"S{max(map(len, images))}")
        file["label"] = 1000 * np.arange(len(images))
    return path / "a.h5"


def vlen_hdf5(path: Path, images: list[bytes]) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        rows = file.create_dataset("image", (len(images),), h5py.vlen_dtype(np.uint8))
        for record, data in enumerate(images):
            rows[record] = np.frombuffer(data, np.uint8)
        file["label"] = 1000 * np.arange(len(images))
    return path / "a.h5"


def hub_arrow(path: Path, images: list[bytes]) -> Path:
    data = hub_table(images)
    with pa.ipc.new_stream(str(path / "a.arrow"), data.schema) as writer:
        writer.write_table(data, max_chunksize=16)
    return path / "a.arrow"


WRITERS: dict[str, Writer] = {
    "Arrow as the hub has it": hub_arrow,
    "HDF5 rows of any length": vlen_hdf5,
    "Parquet": parquet,
    "Parquet as the hub has it": hub_parquet,
    "HDF5 rows of zeros behind": padded_hdf5,
    "HDF5 rows, gzip": gzip_hdf5,
    "HDF5 fixed strings": string_hdf5,
}


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "bmp", "gif"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_images_of_one_size_are_found_and_decoded(write: Writer, kind: str, tmp_path: Path):
    """Every format in every container: Pillow's pixels, whether zeros follow or not."""
    images = same(kind)
    data = sl.open(write(tmp_path, images))
    assert str(data.schema["image"]) == "image uint8 (24, 32, 3)"
    np.testing.assert_array_equal(data[3:9]["image"], np.stack([by_pillow(one, "RGB") for one in images[3:9]]))
    assert "'image' is decoded: the 40 images looked at are all" in repr(data)
    assert "decode=False leaves bytes" in repr(data)
    data.close()


@pytest.mark.filterwarnings("ignore:A window mixes only")
@pytest.mark.parametrize("order", [sl.Exact(), sl.Block(window="60 KB"), False], ids=["exact", "block", "sequential"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_epochs_hold_every_image_once(write: Writer, order: Any, tmp_path: Path):
    """In any order, with any number of workers: the same bytes."""
    images = various()
    data = sl.open(write(tmp_path, images), decode=(16, 16))
    expected = {record: data[record]["image"] for record in range(RECORDS)}
    found = []
    for workers in (0, 2):
        with sl.Loader(data, batch_size=6, shuffle=order, num_workers=workers, memory="600 MB") as loader:
            batches = [(batch.records.tolist(), batch["image"].copy(), batch["label"].tolist()) for batch in loader]
        for records, pixels, labels in batches:
            assert labels == [1000 * record for record in records]
            np.testing.assert_array_equal(pixels, np.stack([expected[record] for record in records]))
        found.append([records for records, _, _ in batches])
    assert found[0] == found[1]
    assert sorted(record for records in found[0] for record in records) == list(range(RECORDS))
    data.close()


@pytest.mark.parametrize("write", [parquet, hub_parquet, padded_hdf5])
def test_images_of_different_sizes_stay_bytes_with_a_note(write: Writer, tmp_path: Path):
    """It says what there is, and which argument decodes it."""
    images = various()
    data = sl.open(write(tmp_path, images))
    note = "'image' holds JPEG 20 x 30 ... 59 x 34 (RGB) of different sizes, delivered as bytes; decode={'image': (224, 224)} decodes"
    assert note in repr(data)
    if data.schema["image"].ragged:
        assert data[7]["image"] == images[7]
    data.close()


def test_decode_false_leaves_bytes(tmp_path: Path):
    """For all fields, or for one."""
    images = same()
    for wish in (False, {"image": False}):
        data = sl.open(parquet(tmp_path, images), decode=wish)
        assert data[5]["image"] == images[5]
        data.close()


def test_what_decode_asks_for(tmp_path: Path):
    """Size, fit, mode and channel order; a mapping speaks of the fields that it names."""
    images = various()
    path = parquet(tmp_path, images)
    data = sl.open(path, decode={"image": sl.Decode(size=(10, 12), fit="resize", mode="L", channels="first")})
    assert data[0]["image"].shape == (1, 10, 12)
    assert "scaled to (1, 10, 12) L" in repr(data)
    other = sl.open(path, decode=sl.Decode(size=(10, 12), mode="RGBA"))
    assert other[0]["image"].shape == (10, 12, 4)
    assert "scaled and cut to (10, 12, 4) RGBA" in repr(other)
    unnamed = sl.open(path, decode={})
    assert unnamed.schema["image"].ragged == "bytes"
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again[3]["image"], data[3]["image"])
    for one in (data, other, unnamed, again):
        one.close()


def test_modes_are_those_that_images_agree_on(tmp_path: Path):
    """Grey stays grey, alpha stays alpha, sixteen bits stay; where they differ, colour."""
    for modes, expected in ((("L",), "L"), (("RGBA",), "RGBA"), (("I;16",), "L16"), (("L", "RGB"), "RGB"), (("P", "CMYK"), "RGB")):
        images = [encoded(picture(mode, 12, 12), "tiff") or b"" for mode in modes * 4]
        folder = tmp_path / "-".join(modes).replace(";", "")
        folder.mkdir()
        data = sl.open(parquet(folder, images))
        assert f"decoded as {data.schema['image'].shape} {expected}" in repr(data)
        data.close()


def test_a_joined_field_is_decoded_too(tmp_path: Path):
    """Images from one file, labels from another."""
    images = same()
    np.save(tmp_path / "y.npy", np.arange(RECORDS))
    pq.write_table(table(images).select(["image"]), tmp_path / "x.parquet", row_group_size=16)
    data = sl.open({"picture": tmp_path / "x.parquet", "y": tmp_path / "y.npy"}, decode={"picture": (8, 8)})
    assert data.schema["picture"].shape == (8, 8, 3)
    with sl.Loader(data, batch_size=8, num_workers=2, on_bad_record="skip") as loader:
        assert sorted(number for batch in loader for number in batch["y"].tolist()) == list(range(RECORDS))
    with pytest.raises(ConfigError, match=r"decode names 'image', which is no field\. The fields are 'picture', 'y'."):
        sl.open({"picture": tmp_path / "x.parquet", "y": tmp_path / "y.npy"}, decode={"image": (8, 8)})
    data.close()


def test_several_files_name_the_one_that_is_damaged(tmp_path: Path):
    """The record is counted over all files, the path is the file's."""
    images = same()
    broken = [*images[:10], images[10][:800], *images[11:]]
    for number, part in enumerate((images, broken)):
        pq.write_table(table(part), tmp_path / f"{number}.parquet")
    data = sl.open(sorted(tmp_path.glob("*.parquet")))
    with pytest.raises(CorruptDataError, match=r"1\.parquet: record 50 of 'image' is a JPEG that cannot be decoded"):
        data[50]
    assert data[49]["image"].shape == (24, 32, 3)
    data.close()


def test_an_image_of_another_size_is_named(tmp_path: Path):
    """Where the size was found, not asked for."""
    images = [*same() * 2, encoded(picture("RGB", 25, 32), "jpeg") or b"", *same()]
    data = sl.open(parquet(tmp_path, images))
    with pytest.raises(SchemaMismatchError, match=r"record 80 of 'image' is 25 x 32 pixels, where 24 x 32 are expected\. Say"):
        data[80]
    data.close()


def test_bombs_are_refused_record_by_record(tmp_path: Path):
    """From their headers."""
    images = same("png")
    bomb = bytearray(images[7])
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    images[7] = bytes(bomb)
    data = sl.open(parquet(tmp_path, images), decode=(8, 8))
    with pytest.raises(CorruptDataError, match="record 7 of 'image' claims 60,000 x 60,000 pixels, and more than 134,217,728 are"):
        data[7]
    data.close()


def test_bytes_that_are_no_images_stay_bytes(tmp_path: Path):
    """Whatever their column is called; and asking for them to be decoded says how they begin."""
    texts = [f"record {record}".encode() * 20 for record in range(RECORDS)]
    data = sl.open(parquet(tmp_path, texts))
    assert data[3]["image"] == texts[3]
    with pytest.raises(CorruptDataError, match="'image' cannot be decoded: its first record is no image that is known here"):
        sl.open(parquet(tmp_path, texts), decode=(8, 8))
    with pytest.raises(ConfigError, match="decode names 'label', which is no field of encoded images but int64"):
        sl.open(parquet(tmp_path, texts), decode={"label": (8, 8)})
    data.close()


def test_rows_of_pixels_are_no_images(tmp_path: Path):
    """Rows of bytes without a header are delivered as they are."""
    rows = photograph(24, 32).reshape(24, -1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = rows
    data = sl.open(tmp_path / "a.h5")
    np.testing.assert_array_equal(data[:]["image"], rows)
    data.close()


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ("224", "decode='224' is not known. Give a size, decode="),
        ({"image": 224}, "decode=224 is not known"),
        ({"picture": (8, 8)}, "decode names 'picture', which is no field. The fields are 'image', 'label'."),
        (sl.Decode(), r"images in 'image' differ in size \(20 x 30, 21 x 31\), and Decode has none. Give the one that all are to have"),
    ],
)
def test_what_cannot_be_asked_for(wish: Any, text: str, tmp_path: Path):
    """What, why, what to do."""
    with pytest.raises(ConfigError, match=text):
        sl.open(parquet(tmp_path, various()), decode=wish)


def test_images_that_all_claim_an_absurd_size_stay_bytes(tmp_path: Path):
    """With a note; asking for them names the file, the field and both numbers."""
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 100_000, 100_000, 8, 2, 0, 0, 0) + bytes(4)
    path = parquet(tmp_path, [bomb] * 5)
    data = sl.open(path)
    assert data[3]["image"] == bomb
    assert "'image' holds PNG 100,000 x 100,000 (RGB), more than 134,217,728 pixels each, delivered as bytes; Decode(max" in repr(data)
    with pytest.raises(ConfigError) as caught:
        sl.open(path, decode=sl.Decode())
    assert str(caught.value) == (
        f"{path}: images in 'image' claim 100,000 x 100,000 pixels, and Decode allows 134,217,728. "
        "Ask for a size, Decode(size=(224, 224)), or allow more with max_pixels."
    )
    data.close()


def test_a_foreign_format_is_refused_by_name(tmp_path: Path):
    """What is known, but not decoded here."""
    stream = io.BytesIO()
    Image.fromarray(photograph(16, 16)).save(stream, format="JPEG2000")
    data = sl.open(parquet(tmp_path, [stream.getvalue()] * 5))
    assert data.schema["image"].ragged == "bytes"
    assert "\n  'image' is delivered as bytes: its first record is JPEG 2000, which is not decoded here" in repr(data)
    with pytest.raises(UnsupportedFeatureError, match="its first record is JPEG 2000, which is not decoded here"):
        sl.open(parquet(tmp_path, [stream.getvalue()] * 5), decode=(8, 8))
    data.close()


def test_missing_packages_are_named_when_a_file_is_opened(tmp_path: Path):
    """Not in a worker, hours later."""
    path = parquet(tmp_path, same())
    (tmp_path / "simplejpeg.py").write_text("raise ImportError('not here', name='simplejpeg')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport streamload as sl\nsl.open({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Encoded images need simplejpeg, which is not installed. Run: pip install 'streamload[images]'" in done.stderr


def spark_table(images: list[np.ndarray], modes: list[int] | None = None) -> pa.Table:
    """As Spark ML writes images: rows of blue, green and red."""
    names = ("origin", "height", "width", "nChannels", "mode", "data")
    types = (pa.string(), pa.int32(), pa.int32(), pa.int32(), pa.int32(), pa.binary())
    cells = []
    for record, image in enumerate(images):
        channels = image.shape[2]
        mode = {1: 0, 3: 16, 4: 24}[channels] if modes is None else modes[record]
        turned = image if channels == 1 else image[:, :, [2, 1, 0, 3][:channels]]
        cells.append(dict(zip(names, (f"file:{record}", *image.shape, mode, turned.tobytes()), strict=True)))
    return pa.table({"image": pa.array(cells, pa.struct(list(zip(names, types, strict=True)))), "label": 1000 * np.arange(len(images))})


def spark_parquet(path: Path, data: pa.Table) -> Path:
    pq.write_table(data, path / "a.parquet", row_group_size=16)
    return path / "a.parquet"


def spark_arrow(path: Path, data: pa.Table, codec: str | None = None) -> Path:
    with pa.ipc.new_file(str(path / "a.arrow"), data.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(data, max_chunksize=16)
    return path / "a.arrow"


@pytest.mark.filterwarnings("ignore:A window mixes only")
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("write", [spark_parquet, spark_arrow, partial(spark_arrow, codec="zstd")], ids=["Parquet", "Arrow", "zstd"])
def test_images_of_spark_are_delivered_red_first(write: Any, channels: int, tmp_path: Path):
    """Grey, colour, and colour with alpha."""
    rng = np.random.default_rng(channels)
    images = [rng.integers(0, 256, (9, 7, channels), dtype=np.uint8) for _ in range(RECORDS)]
    data = sl.open(write(tmp_path, spark_table(images)))
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    assert f"Spark image 9 x 7 ({mode})" in repr(data)
    np.testing.assert_array_equal(data[:]["image"], np.stack(images))
    with sl.Loader(data, batch_size=8, shuffle=sl.Block(window="12 KB"), num_workers=2, memory="600 MB") as loader:
        for batch in loader:
            np.testing.assert_array_equal(batch["image"], np.stack([images[record] for record in batch.records.tolist()]))
    data.close()


def test_images_of_spark_of_other_types_or_lengths_are_refused(tmp_path: Path):
    """By name, with what to do."""
    images = [np.zeros((9, 7, 3), np.uint8)] * 5
    floats = spark_parquet(tmp_path, spark_table(images, modes=[16, 16, 16, 21, 16]))
    data = sl.open(floats)
    text = r"record 3 of 'image' is a Spark image of OpenCV's type 21 with 3 channels, which is not decoded here\. Convert it to CV_8UC1"
    with pytest.raises(UnsupportedFeatureError, match=text):
        data[3]
    data.close()
    cells = spark_table(images).to_pylist()
    cells[2]["image"]["data"] = b"short"
    data = sl.open(spark_parquet(tmp_path, pa.Table.from_pylist(cells, schema=spark_table(images).schema)))
    with pytest.raises(CorruptDataError, match="is a Spark image that cannot be decoded: it holds 5 bytes, where 189 are expected"):
        data[2]
    data.close()
    cells[4]["image"] = None
    data = sl.open(spark_parquet(tmp_path, pa.Table.from_pylist(cells, schema=spark_table(images).schema)), decode=(4, 4))
    assert "'image' holds 1 null, which is a bad record: on_bad_record= says what becomes of it" in repr(data)
    assert data[3]["image"].shape == (4, 4, 3)
    with pytest.raises(sl.StreamloadError, match=r"record 4 of 'image'"):
        data[4]
    data.close()


def test_a_null_among_images_is_one_bad_record(tmp_path: Path):
    """The policy decides what becomes of it, as of any other that cannot be decoded."""
    stored = [encoded(Image.fromarray(np.full((8, 8, 3), at, np.uint8)), "png") for at in range(6)]
    column = pa.array([{"bytes": None if at == 4 else one, "path": "p"} for at, one in enumerate(stored)])
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    data = sl.open(tmp_path / "a.parquet")
    assert "'image' holds 1 null, which is a bad record: on_bad_record= says what becomes of it" in repr(data)
    with sl.Loader(data, batch_size=2, num_workers=0, on_bad_record="skip") as loader:
        found = {int(number): int(image[0, 0, 0]) for batch in loader for number, image in zip(batch.records, batch["image"], strict=True)}
        assert found == {number: number for number in (0, 1, 2, 3, 5)}
        assert [bad.record for bad in loader.bad_records] == [4]
    data.close()

"""IDX files deliver what a plain reading of MNIST's files gives, packed or not, labels from the file beside them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import assert_delivers
from examples.idx import CODES, idx, images

from streamload import testing
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, UnsupportedFeatureError
from streamload.formats.idx import header
from streamload.formats.open import open_source


def mnist(folder: Path, end: str = "", **splits: int) -> dict[str, dict[str, np.ndarray]]:
    """MNIST's files, of so many records a split; what each of them holds."""
    held: dict[str, dict[str, np.ndarray]] = {}
    for split, records in splits.items():
        held[split] = {"image": images(records), "label": (np.arange(records) % 10).astype(np.uint8)}
        for name, values in (("images-idx3", held[split]["image"]), ("labels-idx1", held[split]["label"])):
            data = idx(values)
            (folder / f"{split}-{name}-ubyte{end}").write_bytes(gzip.compress(data) if end else data)
    return held


def as_torchvision_reads(path: Path) -> np.ndarray:
    """What torchvision's `read_sn3_pascalvincent_tensor` does, in NumPy."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    magic = int.from_bytes(data[:4], "big")
    axes, kind = magic % 256, magic // 256
    shape = [int.from_bytes(data[4 * (at + 1) : 4 * (at + 2)], "big") for at in range(axes)]
    dtype = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[kind]
    return np.frombuffer(data, dtype, offset=4 * (axes + 1)).reshape(shape)


@pytest.mark.parametrize("end", ["", ".gz"], ids=["plain", "packed"])
@pytest.mark.parametrize("records", [0, 1, 40])
def test_images_come_with_the_labels_beside_them(records: int, end: str, tmp_path: Path):
    """As torchvision reads them; the note says which file the labels come from."""
    mnist(tmp_path, end, train=records)
    path = tmp_path / f"train-images-idx3-ubyte{end}"
    labels = tmp_path / f"train-labels-idx1-ubyte{end}"
    expected = {"image": as_torchvision_reads(path), "label": as_torchvision_reads(labels)}
    assert_delivers(path, expected)
    assert_delivers(labels, {"label": expected["label"]})
    source = open_source(path)
    assert f"'label' from {labels}, found by name" in repr(source)
    assert ("image: gzip, held in memory" if end and records else "image: contiguous") in repr(source)


@pytest.mark.parametrize("dtype", CODES)
def test_values_of_every_type_are_delivered_in_native_order(dtype: str, tmp_path: Path):
    """The files are big-endian."""
    values = images(dtype=dtype)
    (tmp_path / "x").write_bytes(idx(values))
    assert_delivers(tmp_path / "x", {"image": values})


def test_a_packed_file_is_a_whole_source(tmp_path: Path):
    """It is shuffled, resumed and counted as any other, from memory."""
    held = mnist(tmp_path, ".gz", train=30)["train"]
    source = open_source(tmp_path / "train-images-idx3-ubyte.gz")
    testing.check_source(source, held, num_workers=(0,))
    source.close()


def test_a_folder_has_splits(tmp_path: Path):
    """Which are named, and never mixed; the packed copy of a file is not read twice."""
    held = mnist(tmp_path, train=30, t10k=7)
    mnist(tmp_path, ".gz", train=30)
    with pytest.raises(ConfigError) as caught:
        open_source(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} holds files of several splits (test: 1, train: 1), whose records would be mixed.")
    assert "Choose one: split='test'" in str(caught.value)
    assert_delivers(tmp_path, held["train"], split="train")
    assert_delivers(tmp_path, held["t10k"], split="test")
    assert "of the folder, t10k-images-idx3-ubyte is read" in repr(open_source(tmp_path, split="test"))
    with pytest.raises(ConfigError, match=r"has no split 'val'; its files: test: 1, train: 1\. Choose one of \['test', 'train'\]"):
        open_source(tmp_path, split="val")
    with pytest.raises(ConfigError, match=r"split='train' chooses among the files of a folder, and .* is none"):
        open_source(tmp_path / "train-images-idx3-ubyte", split="train")
    (tmp_path / "train2-images-idx3-ubyte").write_bytes(idx(images(3)))
    with pytest.raises(ConfigError, match="several sets of images: train-images-idx3-ubyte, train2-images-idx3-ubyte"):
        open_source(tmp_path, split="train")


def test_a_folder_of_one_split_needs_no_choice(tmp_path: Path):
    """Nor do two files that are named; and the folder may lie alone in another, as torchvision leaves it."""
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    assert_delivers(tmp_path / "MNIST", mnist(tmp_path / "MNIST" / "raw", t10k=7, train=9)["train"], split="train")
    (tmp_path / "MNIST" / "raw").rename(tmp_path / "raw")
    (tmp_path / "MNIST").rmdir()
    for name in ("images-idx3", "labels-idx1"):
        (tmp_path / "raw" / f"train-{name}-ubyte").unlink()
        (tmp_path / "raw" / f"t10k-{name}-ubyte").rename(tmp_path / f"t10k-{name}-ubyte")
    held = {"image": images(7), "label": (np.arange(7) % 10).astype(np.uint8)}
    assert_delivers(tmp_path, held)
    (tmp_path / "more").mkdir()
    other = mnist(tmp_path / "more", train=5)["train"]
    both = [tmp_path / "t10k-images-idx3-ubyte", tmp_path / "more" / "train-images-idx3-ubyte"]
    assert_delivers(both, {name: np.concatenate([held[name], other[name]]) for name in held})


def test_labels_must_be_as_many(tmp_path: Path):
    """Else they belong to something else; packed and plain files are not mixed."""
    mnist(tmp_path, train=5)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(SchemaMismatchError, match=r"holds 5 records, and .*train-labels-idx1-ubyte 4 labels"):
        open_source(tmp_path)
    (tmp_path / "a").write_bytes(idx(images(2)))
    (tmp_path / "b").write_bytes(gzip.compress(idx(images(2))))
    with pytest.raises(UnsupportedFeatureError, match="'image' is packed in some files and not in others"):
        open_source([tmp_path / "a", tmp_path / "b"])


DAMAGED = {
    "short": (idx(images(5))[:-3], "holds 207 bytes of values, and its head says 210"),
    "long": (idx(images(5)) + b"x", "holds 211 bytes of values, and its head says 210"),
    "head": (idx(images(5))[:9], "cannot be read as IDX: its head is cut short"),
    "packed and short": (gzip.compress(idx(images(5))[:-3]), "holds 207 bytes of values, and its head says 210"),
    "packed and cut": (gzip.compress(idx(images(5)))[:-12], "cannot be read as IDX"),
    "packed, and a lie": (
        gzip.compress(idx(images(5)).replace(b"\0\0\0\5", b"\0\0\0\6", 1)),
        "holds 210 bytes of values, and its head says 252",
    ),
}


@pytest.mark.parametrize(("data", "text"), DAMAGED.values(), ids=DAMAGED)
def test_what_the_head_says_must_be_there(data: bytes, text: str, tmp_path: Path):
    """No more, and no less."""
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CorruptDataError, match=text):
        open_source(tmp_path / "x")


def test_files_too_large_to_be_held_are_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Unpacked as they go by; labels beside them are held, and another order is refused with the conversion."""
    monkeypatch.setattr(header, "MOST_UNPACKED_NBYTES", 100)
    for at in (0, 1):
        (tmp_path / f"{at}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images(5)[at:])))
        (tmp_path / f"{at}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(5 - at, dtype=np.uint8))))
    source = open_source([tmp_path / f"{at}-images-idx3-ubyte.gz" for at in (0, 1)])
    expected = {"image": np.concatenate([images(5), images(5)[1:]]), "label": np.array([*range(5), *range(4)], np.uint8)}
    testing.check_source(source, expected)
    source.close()
    (tmp_path / "short").write_bytes(gzip.compress(idx(images(5))[:-1]))
    with pytest.raises(CorruptDataError, match="holds 209 bytes of values, and its head says 210"):
        open_source(tmp_path / "short")


def test_no_more_is_unpacked_than_the_head_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever follows it."""
    asked: list[int] = []
    read = gzip.GzipFile.read

    def counted(self: Any, size: int = -1) -> bytes:
        asked.append(size)
        return read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    (tmp_path / "y").write_bytes(gzip.compress(idx(images(1)) + bytes(1 << 20)))
    with pytest.raises(CorruptDataError, match="holds 43 bytes of values, and its head says 42"):
        open_source(tmp_path / "y")
    assert max(asked) == 43


def test_a_folder_that_cannot_be_listed_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whichever format looks into it first."""

    def refuse(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="holds no data file"):
        open_source(tmp_path)

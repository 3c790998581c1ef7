"""CIFAR's batches deliver what torchvision's reading of them gives, binary or pickled; pickles run nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from contract import assert_delivers
from examples.cifar import LABELS, PLANES, upright

from streamload import testing
from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsafeSourceError
from streamload.formats.cifar.planes import TOGETHER
from streamload.formats.open import open_source

WORDS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def of_python_2(planes: np.ndarray, labels: list[int]) -> bytes:
    """A batch as it is published: protocol 2 of Python 2, whose strings are bytes. Written step by step."""

    def string(data: bytes) -> bytes:
        return b"T" + len(data).to_bytes(4, "little") + data

    shape = b"K" + bytes([len(planes)]) + b"M\x00\x0c\x86"
    dtype = b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89" + string(planes.tobytes()) + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"labels") + listed + string(b"batch_label") + string(b"1 of 5") + b"u."


def as_torchvision_reads(paths: list[Path]) -> dict[str, np.ndarray]:
    """What torchvision's CIFAR10 makes of files: with pickle itself, which is safe on what these tests wrote."""
    entries = [pickle.loads(path.read_bytes(), encoding="latin1") for path in paths]
    labels = [entry["labels"] if "labels" in entry else entry["fine_labels"] for entry in entries]
    data = np.vstack([entry["data"] for entry in entries]).reshape(-1, 3, 32, 32).transpose((0, 2, 3, 1))
    return {"image": data, "label": np.concatenate(labels)}


def published(folder: Path) -> Path:
    """CIFAR-10 as it is published, in small: batches, what is tested with, and the names of classes."""
    folder.mkdir()
    for number in range(1, 11):
        planes, labels = np.roll(PLANES, number, axis=0), np.roll(LABELS, number).tolist()
        (folder / f"data_batch_{number}").write_bytes(of_python_2(planes, labels))
    (folder / "test_batch").write_bytes(of_python_2(PLANES[:5], LABELS[:5].tolist()))
    (folder / "batches.meta").write_bytes(pickle.dumps({"num_vis": 3072, "label_names": list(WORDS)}, protocol=2))
    (folder / "readme.html").write_text("<html>")
    return folder


def test_the_published_pickles_are_read_by_offset(tmp_path: Path):
    """As torchvision reads them: ten batches in the order of their numbers, with the names of their classes."""
    folder = published(tmp_path / "cifar-10-batches-py")
    batches = [folder / f"data_batch_{number}" for number in range(1, 11)]
    expected = as_torchvision_reads(batches)
    assert_delivers(folder, expected, split="train")
    assert_delivers(batches, expected)
    source = open_source(folder, split="train")
    assert source.classes == {"label": WORDS}
    assert source.addressable
    assert "image: pickled batches, planes of colour turned to pixels" in repr(source)
    assert "of the folder, data_batch_1, data_batch_2, " in repr(source)
    assert_delivers(folder, as_torchvision_reads([folder / "test_batch"]), split="test")
    with pytest.raises(ConfigError) as caught:
        open_source(folder)
    assert str(caught.value) == (
        f"{folder} holds files of several splits (train: 10, test: 1), whose records would be mixed. "
        "Choose one: split='train', or name the files that are meant."
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_python_3_are_read(protocol: int, tmp_path: Path):
    """By offset, or from memory where their bytes were encoded anew."""
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": PLANES, "labels": LABELS.tolist()}, protocol=protocol))
    source = open_source(tmp_path)
    assert ("pickled, re-encoded, held in memory" if protocol == 2 else "pickled batches, planes") in repr(source)
    testing.check_source(source, {"image": upright(), "label": LABELS}, num_workers=(0,))
    source.close()


def test_more_images_than_are_turned_together(tmp_path: Path):
    """In any order, each once and several times."""
    planes = np.random.default_rng(1).integers(0, 256, (2 * TOGETHER + 3, 3072), dtype=np.uint8)
    labels = np.arange(len(planes), dtype=np.uint8)
    (tmp_path / "data_batch_1.bin").write_bytes(np.concatenate([labels[:, None], planes], axis=1).tobytes())
    assert_delivers(tmp_path, {"image": upright(planes), "label": labels.astype(np.int64)})


def test_cifar_100_has_two_labels(tmp_path: Path):
    """Binary and pickled, with the names of both."""
    coarse, fine = LABELS % 3, LABELS
    rows = np.concatenate([np.stack([coarse, fine], axis=1).astype(np.uint8), PLANES], axis=1)
    binary, pickled = tmp_path / "binary", tmp_path / "pickled"
    for folder in (binary, pickled):
        folder.mkdir()
    (binary / "train.bin").write_bytes(rows.tobytes())
    (binary / "fine_label_names.txt").write_text("\n".join(WORDS))
    (binary / "coarse_label_names.txt").write_text("a\nb\nc\n")
    held = {b"data": PLANES, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
    (pickled / "train").write_bytes(pickle.dumps(held, protocol=4))
    names = {b"fine_label_names": [word.encode() for word in WORDS], b"coarse_label_names": [b"a", b"b", b"c"]}
    (pickled / "meta").write_bytes(pickle.dumps(names, protocol=2))
    for folder in (binary, pickled):
        assert_delivers(folder, {"image": upright(), "coarse_label": coarse, "fine_label": fine})
        assert open_source(folder).classes == {"fine_label": WORDS, "coarse_label": ("a", "b", "c")}
    assert open_source(binary, {"y": "fine_label", "x": "image"}).classes == {"y": WORDS}


def test_too_few_names_are_not_used(tmp_path: Path):
    """Which is said; and a change of the names is found out like that of a batch."""
    (tmp_path / "data_batch_1.bin").write_bytes(np.concatenate([LABELS.astype(np.uint8)[:, None], PLANES], axis=1).tobytes())
    (tmp_path / "batches.meta.txt").write_text("a\nb\n")
    source = open_source(tmp_path)
    assert source.classes == {}
    assert "'label' goes up to 9, and there are names of 2 classes, which are not used" in repr(source)
    assert [Path(was.path).name for was in source.fingerprints] == ["data_batch_1.bin", "batches.meta.txt"]


def test_batches_that_do_not_belong_together_are_refused(tmp_path: Path):
    """Binary ones beside pickled ones; of CIFAR-10 and of CIFAR-100."""
    (tmp_path / "data_batch_1.bin").write_bytes(np.concatenate([LABELS.astype(np.uint8)[:, None], PLANES], axis=1).tobytes())
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": PLANES, "labels": LABELS.tolist()}, protocol=2))
    with pytest.raises(ConfigError, match=r"batches both binary and pickled: data_batch_1, data_batch_1\.bin"):
        open_source(tmp_path)
    both = [tmp_path / "data_batch_1.bin", tmp_path / "data_batch_1"]
    assert_delivers(both, {"image": np.concatenate([upright()] * 2), "label": np.tile(LABELS, 2)})
    (tmp_path / "train").write_bytes(pickle.dumps({"data": PLANES, "fine_labels": LABELS.tolist()}, protocol=2))
    with pytest.raises(SchemaMismatchError, match="Column 'label' differs"):
        open_source([tmp_path / "data_batch_1", tmp_path / "train"])


REFUSED = {
    "no array": ({"data": [1, 2]}, "is a pickle, and not one of CIFAR's"),
    "another shape": ({"data": PLANES[:, :100]}, "is a pickle, and not one of CIFAR's"),
    "another type": ({"data": PLANES.astype(np.float32)}, "is a pickle, and not one of CIFAR's"),
    "no dict": ([1], "is a pickle, and not one of CIFAR's"),
    "labels lost": ({"data": PLANES, "labels": [1]}, "holds 37 images and 1 labels"),
    "labels between classes": ({"data": PLANES, "labels": [0.5] * 37}, "its labels are no numbers: 0.5 is no class"),
    "labels of text": ({"data": PLANES, "labels": ["cat"] * 37}, "its labels are no numbers"),
}


@pytest.mark.parametrize(("held", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_batch_is_named(held: object, text: str, tmp_path: Path):
    """With the file."""
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(held, protocol=4))
    with pytest.raises(CorruptDataError, match=text) as caught:
        open_source(tmp_path)
    assert str(tmp_path / "data_batch_1") in str(caught.value)


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
def test_a_length_that_is_a_lie_takes_no_memory(length: int, tmp_path: Path):
    """Of bytes that may be written to, for which Python's own reader takes all of it at once."""
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x05\x96" + length.to_bytes(8, "little") + b"abc.")
    with pytest.raises(CorruptDataError, match="data_batch_1 is no pickle that can be read"):
        open_source(tmp_path)


class Harm:
    """An object whose pickle runs a command."""

    def __reduce__(self):
        import os

        return os.system, ("touch harmed",)


@pytest.mark.parametrize("name", ["data_batch_1", "batches.meta"])
def test_a_pickle_runs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither a batch nor what stands beside it; a pickle of another name is not even looked into."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({"data": PLANES, "labels": LABELS.tolist()}, protocol=4))
    (tmp_path / name).write_bytes(pickle.dumps({"data": Harm()}, protocol=2))
    with pytest.raises(UnsafeSourceError, match=f"{name}: its pickle asks for posix.system, which could run anything"):
        open_source(tmp_path)
    (tmp_path / "other").write_bytes(pickle.dumps(Harm(), protocol=2))
    with pytest.raises(SourceError, match="a Python pickle, which is never loaded"):
        open_source(tmp_path / "other")
    assert not (tmp_path / "harmed").exists()

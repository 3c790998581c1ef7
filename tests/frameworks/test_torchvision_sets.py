"""MNIST's and CIFAR's files: record for record what torchvision reads of them."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamload as sl
from bench.peers.torchvision_operators import import_torchvision

if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)
datasets = import_torchvision().datasets

pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def idx(values: np.ndarray) -> bytes:
    """As MNIST has it."""
    return struct.pack(f">{1 + values.ndim}I", 0x800 | values.ndim, *values.shape) + values.tobytes()


@pytest.mark.parametrize("end", ["", ".gz"], ids=["unpacked", "gzip"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_is_that_of_torchvision(split: str, end: str, tmp_path: Path) -> None:
    """Both splits; packed files, which torchvision unpacks beforehand, as they are."""
    raw, theirs = tmp_path / "ours" / "raw", tmp_path / "theirs" / "MNIST" / "raw"
    for folder in (raw, theirs):
        folder.mkdir(parents=True)
    for name, count in (("train", 31), ("t10k", 17)):
        rng = np.random.default_rng(count)
        for kind, values in (("images-idx3", rng.integers(0, 256, (count, 28, 28))), ("labels-idx1", rng.integers(0, 10, count))):
            data = idx(values.astype(np.uint8))
            (theirs / f"{name}-{kind}-ubyte").write_bytes(data)
            (raw / f"{name}-{kind}-ubyte{end}").write_bytes(gzip.compress(data) if end else data)
    known = datasets.MNIST(tmp_path / "theirs", train=split == "train")
    with sl.open(raw, split=split) as source:
        taken = source[:]
    assert np.array_equal(taken["image"], known.data.numpy())
    assert np.array_equal(taken["label"], known.targets.numpy())
    assert np.array_equal(taken["image"][3], np.asarray(known[3][0]))


def test_cifar_is_that_of_torchvision(tmp_path: Path) -> None:
    """Images upright, labels, and the names of classes; pickles are opened there, and never here."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    planes = np.random.default_rng(0).integers(0, 256, (3, 20, 3072), dtype=np.uint8)
    for name, one in zip(("data_batch_1", "data_batch_2", "test_batch"), planes, strict=True):
        held = {"data": one, "labels": (np.arange(20) * 7 % 10).tolist(), "filenames": ["a"] * 20}
        (folder / name).write_bytes(pickle.dumps(held, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES, "num_vis": 3072}, protocol=2))

    def listed(*names: str) -> list[list[str]]:
        return [[name, hashlib.md5((folder / name).read_bytes()).hexdigest()] for name in names]

    (meta,) = listed("batches.meta")
    lists: dict[str, Any] = {"train_list": listed("data_batch_1", "data_batch_2"), "test_list": listed("test_batch")}
    small = type("Small", (datasets.CIFAR10,), lists | {"meta": {"filename": meta[0], "key": "label_names", "md5": meta[1]}})
    for split in ("train", "test"):
        known = small(tmp_path, train=split == "train")
        with sl.open(folder, split=split) as source:
            taken = source[:]
            assert source.classes["label"] == tuple(known.classes)
        assert np.array_equal(taken["image"], known.data)
        assert taken["label"].tolist() == known.targets

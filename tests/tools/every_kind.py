"""The same few records as every kind of dataset that people have."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from examples.idx import idx
from foreign_files import png, tar_of, tfrecord
from PIL import Image
from store_files import database, zarr_store

RECORDS = 24
IMAGES = np.random.default_rng(0).integers(0, 256, (RECORDS, 12, 10, 3), dtype=np.uint8)
LABELS = np.arange(RECORDS) % 2
PLANES = np.random.default_rng(1).integers(0, 256, (RECORDS, 3072), dtype=np.uint8)
"""Of CIFAR, whose images have one size."""


def folder(here: Path) -> Path:
    """A folder for each class."""
    for number, image in enumerate(IMAGES):
        path = here / "photos" / ("cat", "dog")[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return here / "photos"


def pairs(here: Path) -> Path:
    """Images, and masks of the same names."""
    for name, values in (("images", IMAGES), ("masks", IMAGES[..., 0] % 4)):
        (here / "pairs" / name).mkdir(parents=True)
        for number, one in enumerate(values):
            Image.fromarray(one).save(here / "pairs" / name / f"{number:03}.png")
    return here / "pairs"


def members(start: int = 0, stop: int = RECORDS) -> bytes:
    """An archive of images and labels."""
    held = [(f"{k:03}.{end}", data) for k in range(start, stop) for end, data in (("png", png(IMAGES[k])), ("cls", b"%d" % (k % 2)))]
    return tar_of(held)


def tar(here: Path) -> Path:
    """One archive."""
    (here / "a.tar").write_bytes(members())
    return here / "a.tar"


def tars(here: Path) -> Path:
    """Several of them."""
    (here / "shards").mkdir()
    for shard in range(3):
        (here / "shards" / f"{shard:05}.tar").write_bytes(members(8 * shard, 8 * shard + 8))
    return here / "shards"


def packed_tar(here: Path) -> Path:
    """An archive, compressed as a whole."""
    (here / "a.tar.gz").write_bytes(gzip.compress(members(), mtime=0))
    return here / "a.tar.gz"


def messages(here: Path) -> Path:
    """A TFRecord file of tf.train.Example."""
    return tfrecord(here / "a.tfrecord", [{"image": [png(one)], "label": [int(label)]} for one, label in zip(IMAGES, LABELS, strict=True)])


def packed_messages(here: Path) -> Path:
    """The same, compressed as a whole."""
    (here / "a.tfrecord.gz").write_bytes(gzip.compress(messages(here).read_bytes(), mtime=0))
    (here / "a.tfrecord").unlink()
    return here / "a.tfrecord.gz"


def zarr(version: int) -> Callable[[Path], Path]:
    """A store of a version."""
    return lambda here: zarr_store(here / "a.zarr", {"image": IMAGES, "label": LABELS}, zarr_format=version, chunks=(8, 12, 10, 3))


def lmdb(here: Path) -> Path:
    """A database of images."""
    held = {b"image-%09d" % number: png(one) for number, one in enumerate(IMAGES, 1)}
    return database(here / "a.lmdb", held | {b"label-%09d" % number: b"%d" % one for number, one in enumerate(LABELS, 1)})


def mnist(here: Path) -> Path:
    """Idx files of images and labels."""
    (here / "mnist").mkdir()
    (here / "mnist" / "train-images-idx3-ubyte").write_bytes(idx(IMAGES[..., 0]))
    (here / "mnist" / "train-labels-idx1-ubyte").write_bytes(idx(LABELS.astype(np.uint8)))
    return here / "mnist"


def packed_mnist(here: Path) -> Path:
    """The same, each compressed."""
    for path in sorted(mnist(here).iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    return here / "mnist"


def cifar(here: Path) -> Path:
    """A batch of bytes, and names of classes."""
    (here / "cifar-10-batches-bin").mkdir()
    data = np.concatenate([LABELS.astype(np.uint8)[:, None], PLANES], axis=1)
    (here / "cifar-10-batches-bin" / "data_batch_1.bin").write_bytes(data.tobytes())
    (here / "cifar-10-batches-bin" / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    return here / "cifar-10-batches-bin"


def pickled_cifar(here: Path) -> Path:
    """A batch as Python pickles it."""
    (here / "cifar-10-batches-py").mkdir()
    held = {b"data": PLANES, b"labels": LABELS.tolist()}
    (here / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(held, protocol=2))
    (here / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a"] * 9 + [b"j"]}, protocol=2))
    return here / "cifar-10-batches-py"


def table() -> pa.Table:
    """Images as files have them in tables of the Hub."""
    images = pa.array([{"bytes": png(one), "path": None} for one in IMAGES], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    return pa.table({"image": images, "label": LABELS})


def parquet(here: Path) -> Path:
    """A table."""
    pq.write_table(table(), here / "a.parquet")
    return here / "a.parquet"


def arrow(here: Path) -> Path:
    """The same in memory's own form."""
    with pa.OSFile(str(here / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table().schema) as writer:
        writer.write_table(table())
    return here / "a.arrow"


def hdf5(here: Path) -> Path:
    """Two datasets, one in packed chunks."""
    with h5py.File(here / "a.h5", "w", libver=("earliest", "v110")) as file:
        file.create_dataset("image", data=IMAGES, chunks=(8, 12, 10, 3), compression="gzip")
        file["label"] = LABELS
    return here / "a.h5"


def npy(here: Path) -> Path:
    """One array."""
    np.save(here / "a.npy", IMAGES)
    return here / "a.npy"


KINDS: dict[str, Callable[[Path], Path]] = {
    "folder": folder,
    "pairs": pairs,
    "tar": tar,
    "tars": tars,
    "tar.gz": packed_tar,
    "tfrecord": messages,
    "tfrecord.gz": packed_messages,
    "zarr 2": zarr(2),
    "zarr 3": zarr(3),
    "lmdb": lmdb,
    "idx": mnist,
    "idx.gz": packed_mnist,
    "cifar": cifar,
    "pickled cifar": pickled_cifar,
    "parquet": parquet,
    "arrow": arrow,
    "hdf5": hdf5,
    "npy": npy,
}
SEQUENTIAL = ("tar.gz", "tfrecord.gz")
"""Kinds that are unpacked from their beginning; small compressed arrays are held in memory."""

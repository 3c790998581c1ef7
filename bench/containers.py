"""The JPEGs of a Parquet file, written once more as what people have: a folder of classes, tars, TFRecord files."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench.data import Made
from streamload.kernels import checksum_kernels

SHARD_NBYTES = 64 << 20

LEAST_NBYTES, MOST_NBYTES, FOLDERS = 10_000, 40_000, 100
"""Of stored photographs: those of 300 to 500 pixels a side have so many bytes."""

IN_CLASS = 1_000
BLOCK_NBYTES, SPARSE_FILES, SPARSE_NBYTES = 512, 8, 512 * 1_000

Labelled = Iterator[tuple[bytes, int]]


def records(made: Made) -> Labelled:
    """JPEGs and labels, in order."""
    for batch in pq.ParquetFile(made.path).iter_batches(batch_size=100):
        for image, label in zip(batch["image"].to_pylist(), batch["label"].to_pylist(), strict=True):
            yield image["bytes"], label


def folder_of(made: Made) -> Path:
    """A folder for each class, a file for each image."""

    def write(folder: Path) -> None:
        for number, (data, label) in enumerate(records(made)):
            path = folder / f"{label:04}" / f"{number:08}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    return _once(made.path.with_suffix(".folder"), write)


def tars_of(made: Made) -> Path:
    """Archives as WebDataset writes them, of some 64 MB each."""

    def write(folder: Path) -> None:
        for number, shard in enumerate(_shards(made)):
            with tarfile.open(folder / f"{number:05}.tar", "w") as archive:
                for record, data, label in shard:
                    for ending, held in (("jpg", data), ("cls", str(label).encode())):
                        head = tarfile.TarInfo(f"{record:08}.{ending}")
                        head.size = len(held)
                        archive.addfile(head, io.BytesIO(held))

    return _once(made.path.with_suffix(".tars"), write)


def tfrecords_of(made: Made) -> Path:
    """Files of tf.train.Example with `image` and `label`, of some 64 MB each."""

    def write(folder: Path) -> None:
        for number, shard in enumerate(_shards(made)):
            with open(folder / f"{number:05}.tfrecord", "wb") as file:
                for _, data, label in shard:
                    for piece in _framed(_example(data, label)):
                        file.write(piece)

    return _once(made.path.with_suffix(".tfrecords"), write)


def stored_photographs(folder: Path, *, nbytes: int) -> tuple[Path, Path]:
    """A folder of files, and a tar of them, of so many random bytes together: for reading alone, what is in them does not matter."""
    name = f"photographs-{nbytes // LEAST_NBYTES}"

    def write(whole: Path) -> None:
        rng, written = np.random.default_rng(nbytes), 0
        for number in itertools.count():
            path = whole / f"{number % FOLDERS:03}" / f"{number:08}.jpg"
            path.parent.mkdir(exist_ok=True)
            written += path.write_bytes(rng.bytes(int(rng.integers(LEAST_NBYTES, MOST_NBYTES))))
            if written >= nbytes:
                return

    files = _once(folder / f"{name}.folder", write)

    def pack(whole: Path) -> None:
        with tarfile.open(whole / "0.tar", "w") as archive:
            for path in sorted(files.rglob("*.jpg")):
                archive.add(path, path.name)

    return files, _once(folder / f"{name}.tars", pack) / "0.tar"


def many_files(folder: Path, *, count: int) -> Path:
    """A folder of so many files that are called images, a thousand in each class: to be listed, and never read."""

    def write(whole: Path) -> None:
        for number in range(count):
            if number % IN_CLASS == 0:
                (whole / f"{number // IN_CLASS:05}").mkdir()
            os.close(os.open(whole / f"{number // IN_CLASS:05}" / f"{number:08}.jpg", os.O_CREAT | os.O_WRONLY))

    return _once(folder / f"listed-{count}.folder", write)


def sparse_tars(folder: Path, *, nbytes: int) -> Path:
    """Archives of so many bytes together, whose images are holes: only heads and labels take room on the disk."""

    def write(whole: Path) -> None:
        label, record = b"7".ljust(BLOCK_NBYTES, b"\0"), 0
        for number in range(SPARSE_FILES):
            with open(whole / f"{number:02}.tar", "wb") as file:
                while file.tell() < nbytes // SPARSE_FILES:
                    for ending, size in (("jpg", SPARSE_NBYTES), ("cls", 1)):
                        head = tarfile.TarInfo(f"{record:08}.{ending}")
                        head.size = size
                        file.write(head.tobuf())
                        file.seek(SPARSE_NBYTES, os.SEEK_CUR) if ending == "jpg" else file.write(label)
                    record += 1
                file.write(bytes(2 * BLOCK_NBYTES))

    return _once(folder / f"sparse-{nbytes}.tars", write)


def _shards(made: Made) -> Iterator[list[tuple[int, bytes, int]]]:
    held: list[tuple[int, bytes, int]] = []
    nbytes = 0
    for record, (data, label) in enumerate(records(made)):
        held.append((record, data, label))
        nbytes += len(data)
        if nbytes >= SHARD_NBYTES:
            yield held
            held, nbytes = [], 0
    if held:
        yield held


def _once(path: Path, write: Callable[[Path], None]) -> Path:
    """A folder, written under another name first."""
    if not path.exists():
        print(f"making {path.name} ...", flush=True)
        half = path.with_name(f".{path.name}.{os.getpid()}.part")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        write(half)
        os.sync()
        half.rename(path)
    return path


def _field(number: int, data: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _example(data: bytes, label: int) -> bytes:
    """A tf.train.Example."""
    held = {b"image": _field(1, _field(1, data)), b"label": _field(3, _field(1, _varint(label)))}
    return _field(1, b"".join(_field(1, _field(1, name) + _field(2, value)) for name, value in held.items()))


def _framed(data: bytes) -> Iterator[bytes]:
    """A record of a TFRecord file: length, its masked checksum, bytes, their masked checksum."""
    length = struct.pack("<Q", len(data))
    for part in (length, data):
        crc = checksum_kernels().crc32c(part)
        yield part
        yield struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

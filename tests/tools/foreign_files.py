"""Makes small files of the formats of others, by means other than those that read them here."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import open_records


def taken(path: Path | str, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """An origin, and all its records."""
    origin = open_records(OpenRequest(path=str(path), **options))
    try:
        return origin, origin.take(np.arange(len(origin), dtype=np.int64))
    finally:
        origin.close()


def packed(data: bytes, packing: str) -> bytes:
    """Bytes as a packed file holds them."""
    return gzip.compress(data, mtime=0) if packing == "gz" else bytes(imagecodecs.zstd_encode(data)) if packing == "zst" else data


def tar_of(files: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive, as the standard library writes it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for name, data in files:
            head = tarfile.TarInfo(name)
            head.size = len(data)
            archive.addfile(head, io.BytesIO(data))
    return file.getvalue()


def webdataset(path: Path, images: np.ndarray, labels: Sequence[int], packing: str = "") -> Path:
    """Images as PNG, labels as text."""
    files = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        files += [(f"{number:06d}.png", bytes(imagecodecs.png_encode(image))), (f"{number:06d}.cls", str(label).encode())]
    path.write_bytes(packed(tar_of(files), packing))
    return path


def png(image: np.ndarray) -> bytes:
    """An image as PNG."""
    return bytes(imagecodecs.png_encode(image))


def noise(shape: tuple[int, ...] = (6, 5, 3), seed: int = 0) -> np.ndarray:
    """An image that compresses badly."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def varint(value: int) -> bytes:
    """A number of 7 bits a byte."""
    value &= 0xFFFFFFFFFFFFFFFF
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(made) + bytes([value])


def part(number: int, data: bytes) -> bytes:
    """A part of a protocol buffer's message, of variable length."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(value: Any, *, in_one: bool = True) -> bytes:
    """A feature: bytes, or a list of them; an array or list of numbers, in one part or each in its own."""
    if isinstance(value, (bytes, str)):
        value = [value if isinstance(value, bytes) else value.encode()]
    if len(value) and isinstance(value[0], bytes):
        return part(1, b"".join(part(1, one) for one in value))
    values = np.asarray(value)
    if values.dtype.kind == "f":
        floats = values.astype("<f4").tobytes()
        listed = part(1, floats) if in_one else b"".join(b"\x0d" + floats[at : at + 4] for at in range(0, len(floats), 4))
        return part(2, listed)
    whole = [varint(int(one)) for one in values]
    return part(3, part(1, b"".join(whole)) if in_one else b"".join(b"\x08" + one for one in whole))


def tf_example(fields: Mapping[str, Any], *, in_one: bool = True) -> bytes:
    """A message such as TensorFlow writes."""
    entries = (part(1, name.encode()) + part(2, feature(value, in_one=in_one)) for name, value in fields.items())
    return part(1, b"".join(part(1, entry) for entry in entries))


def crc32c(data: bytes) -> int:
    """The checksum, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """A record of a TFRecord file."""

    def masked(data: bytes) -> bytes:
        crc = crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def tfrecord(path: Path, records: Iterable[Mapping[str, Any]], packing: str = "") -> Path:
    """A file of Examples."""
    path.write_bytes(packed(b"".join(framed(tf_example(one)) for one in records), packing))
    return path


def idx_files(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Two files of bytes."""
    for name, values in ((path.name + "-images", images), (path.name + "-labels", labels.astype(np.uint8))):
        path.with_name(name).write_bytes(struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes())
    return path.with_name(path.name + "-images")


def cifar(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Binary batches; images of 32 x 32 only."""
    path.mkdir()
    rows = np.concatenate([labels.astype(np.uint8)[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
    (path / "data_batch_1.bin").write_bytes(rows.tobytes())
    return path


def write_files(folder: Path, *names: str, data: bytes | None = None) -> Path:
    """Files at any depth: images, where nothing else is given."""
    for at, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(noise(seed=at)) if data is None else data)
    return folder

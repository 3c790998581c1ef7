"""Makes small files of the formats of others, by means other than those that read them here."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from streamload.tools.origins import Request, origin_of


def taken(path: Path | str, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """An origin, and all its records."""
    origin = origin_of(Request(path=str(path), **options))
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

"""Tar archives for the contract."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from imagecodecs import zstd_encode
from PIL import Image

from streamload.ragged import Ragged

Arrays = dict[str, Any]
COUNT = 60
END_MARK = 95
"""In percent: what comes behind it is zeros that fill up the last record of the archive."""


def write(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """An archive of these members, in their order."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            head = tarfile.TarInfo(name)
            head.size = len(data)
            archive.addfile(head, io.BytesIO(data))


def images() -> np.ndarray:
    """Random images."""
    return np.random.default_rng(0).integers(0, 256, (COUNT, 9, 8, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as a file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def labelled(path: Path) -> Arrays:
    """Images of one size, names of classes, and what JSON says."""
    members: list[tuple[str, bytes]] = []
    for number, image in enumerate(images()):
        said = {"score": number / 2}
        members += [(f"{number:03}.png", png(image)), (f"{number:03}.cls", f"c{number % 3}\n".encode())]
        members.append((f"{number:03}.json", json.dumps(said).encode()))
    write(path, members)
    numbers = np.arange(COUNT)
    return {"image": images(), "label": numbers % 3, "score": numbers / 2}


def arrays(path: Path) -> Arrays:
    """Arrays, the larger part of a record before or after its number."""
    values = np.random.default_rng(1).normal(size=(COUNT, 4, 50)).astype(np.float32)
    members = [((f"d/{k}.x.npy", npy(value)), (f"d/{k}.id", str(k * 7).encode())) for k, value in enumerate(values)]
    write(path, [one for k, pair in enumerate(members) for one in (pair if k % 2 else pair[::-1])])
    return {"x": values, "id": np.arange(COUNT) * 7}


def of_many_sizes(path: Path) -> Arrays:
    """Images that stay bytes, and a text for each."""
    data = [png(image[: 3 + number % 6]) for number, image in enumerate(images())]
    texts = [f"number {number}" for number in range(COUNT)]
    pairs = zip(data, texts, strict=True)
    write(
        path, [(f"{k}.{ending}", one) for k, (image, text) in enumerate(pairs) for ending, one in (("png", image), ("txt", text.encode()))]
    )
    return {"image": Ragged.of(data), "txt": Ragged.of(texts)}


def compressed(path: Path) -> Arrays:
    """Images, labels and numbers, all of it compressed as a whole."""
    expected = labelled(path)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return expected


def compressed_arrays(path: Path) -> Arrays:
    """Arrays, compressed in another way."""
    expected = arrays(path)
    path.write_bytes(zstd_encode(path.read_bytes()))
    return expected


EXAMPLES = {"labelled": labelled, "arrays": arrays, "of many sizes": of_many_sizes, "gzip": compressed, "arrays, zstd": compressed_arrays}

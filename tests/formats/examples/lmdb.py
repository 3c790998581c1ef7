"""LMDB databases for the contract, as the library lmdb writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import imagecodecs
import lmdb
import numpy as np

RECORDS = 40


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Images of noise."""
    return np.random.default_rng(0).integers(0, 256, (RECORDS, *shape), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    """An image as PNG."""
    return bytes(imagecodecs.png_encode(image))


def database(path: Path, held: Mapping[bytes, bytes], *, folder: bool = False) -> Path:
    """A database with keys and values."""
    with lmdb.open(str(path), subdir=folder, map_size=1 << 26, lock=False) as environment, environment.begin(write=True) as transaction:
        for key, value in held.items():
            transaction.put(key, value)
    return path


def numbered(shape: tuple[int, ...], *, folder: bool = False) -> Callable[[Path], dict[str, np.ndarray]]:
    """Keys as sets of text recognition have them: image-000000001, label-000000001."""

    def make(path: Path) -> dict[str, np.ndarray]:
        held = {b"num-samples": b"%d" % RECORDS}
        for at, image in enumerate(images(shape)):
            held |= {b"image-%09d" % (at + 1): png(image), b"label-%09d" % (at + 1): b"%d" % (at * 3)}
        database(path, held, folder=folder)
        return {"image": images(shape), "label": np.arange(RECORDS) * 3}

    return make


EXAMPLES = {"small values": numbered((5, 4, 3)), "values with pages of their own": numbered((50, 40, 3), folder=True)}

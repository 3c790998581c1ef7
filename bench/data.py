"""The files that benchmarks read, made once and kept in a cache folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPES = {196_608: (256, 256, 3), 150_528: (224, 224, 3), 12_288: (64, 64, 3), 3_072: (32, 32, 3), 784: (28, 28)}
"""Images by their bytes; any other size is a plain vector."""
CLASSES = 1_000
PIECE_NBYTES = 32 << 20
SMALL = (32, 32, 3)
POOL = 4_096
"""Smooth images that compressible records are made from, each with noise of its own."""
CONTRAST, STEP, NOISY_SHARE = 0.3, 8, 0.3
"""Of the smooth images: how far they leave their mean, in which steps, and how many pixels have noise. Deflate then makes
them 1.8 times smaller, lzf 1.3 times, and a core inflates some 75,000 a second: much like photographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A file of images and labels."""

    path: Path
    records: int
    shape: tuple[int, ...]
    stored_nbytes: int
    """Bytes of the images as they lie in the file."""

    @property
    def record_nbytes(self) -> int:
        """Bytes of an image, decoded."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of all images, decoded."""
        return self.records * self.record_nbytes


def cache_folder(asked: str | None) -> Path:
    """Where files are kept: the folder asked for, else one beside the user's other caches."""
    folder = Path(asked) if asked else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "streamload-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def raw(folder: Path, *, record_nbytes: int, nbytes: int) -> Made:
    """A contiguous dataset of random bytes: no disk and no file system can make less of them."""
    shape = SHAPES.get(record_nbytes, (record_nbytes,))
    records = max(1, nbytes // record_nbytes)
    rng = np.random.default_rng(record_nbytes)

    def pieces() -> Iterator[NDArray[np.uint8]]:
        step = max(1, PIECE_NBYTES // record_nbytes)
        for start in range(0, records, step):
            count = min(step, records - start)
            yield np.frombuffer(rng.bytes(count * record_nbytes), np.uint8).reshape(count, *shape)

    return _made(folder / f"raw-{record_nbytes}-{records}.h5", records, shape, {}, pieces)


def compressed(folder: Path, *, codec: str, chunk_records: int, nbytes: int) -> Made:
    """A dataset of smooth, noisy images of 32 x 32 x 3 in compressed chunks; `codec` is "gzip" or "lzf", or "" for contiguous ones."""
    record_nbytes = int(np.prod(SMALL))
    records = max(chunk_records, nbytes // record_nbytes // chunk_records * chunk_records)
    rng = np.random.default_rng(7)
    pool = smooth_images(rng, POOL)

    def pieces() -> Iterator[NDArray[np.uint8]]:
        step = chunk_records * max(1, 4_096 // chunk_records)
        for start in range(0, records, step):
            count = min(step, records - start)
            yield noisy_images(rng, pool, count)

    options = {"chunks": (chunk_records, *SMALL), "compression": codec} if codec else {}
    return _made(folder / f"{codec or 'smooth'}-{chunk_records}-{records}.h5", records, SMALL, options, pieces)


def zarr_store(folder: Path, *, compressor: str, chunk_records: int, nbytes: int) -> Made:
    """The same images in a Zarr store of version 2, packed by Blosc with this compressor; `zarr` writes it."""
    import numcodecs
    import zarr

    record_nbytes = int(np.prod(SMALL))
    records = max(chunk_records, nbytes // record_nbytes // chunk_records * chunk_records)
    path = folder / f"blosc-{compressor}-{chunk_records}-{records}.zarr"
    if not path.exists():
        rng = np.random.default_rng(7)
        pool, half = smooth_images(rng, POOL), path.with_name(f".{path.name}.part")
        shutil.rmtree(half, ignore_errors=True)
        group = zarr.open_group(half, mode="w", zarr_format=2)
        packed = numcodecs.Blosc(cname=compressor, clevel=5, shuffle=numcodecs.Blosc.NOSHUFFLE)
        how = {"dtype": "u1", "chunks": (chunk_records, *SMALL), "compressors": packed}
        images = group.create_array("image", shape=(records, *SMALL), **how)
        step = chunk_records * max(1, 4_096 // chunk_records)
        for start in range(0, records, step):
            stop = min(start + step, records)
            images[start:stop] = noisy_images(rng, pool, stop - start)
        group.create_array("label", data=np.arange(records) % CLASSES)
        half.rename(path)
    stored = sum(file.stat().st_size for file in (path / "image").iterdir() if not file.name.startswith("."))
    return Made(path=path, records=records, shape=SMALL, stored_nbytes=stored)


def noisy_images(rng: np.random.Generator, pool: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Images out of a pool of smooth ones, each with noise of its own. Shape (count, 32, 32, 3)."""
    noise = rng.integers(STEP, size=(count, *SMALL), dtype=np.uint8)
    noise *= rng.random((count, *SMALL[:2], 1), np.float32) < NOISY_SHARE
    return pool[rng.integers(len(pool), size=count)] + noise


def smooth_images(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Images without edges: a few values, drawn out between them, about a mean. Shape (count, 32, 32, 3), at most 255 - STEP."""
    corners = rng.uniform(0, 255 - STEP, size=(count, 5, 5, 3))
    at = np.linspace(0, 3.999, SMALL[0])
    low, part = at.astype(int), at % 1
    rows = corners[:, low] * (1 - part)[None, :, None, None] + corners[:, low + 1] * part[None, :, None, None]
    both = rows[:, :, low] * (1 - part)[None, None, :, None] + rows[:, :, low + 1] * part[None, None, :, None]
    means = rng.uniform(0, 255 - STEP, size=(count, 1, 1, 1))
    return (means * (1 - CONTRAST) + both * CONTRAST).astype(np.uint8) // STEP * STEP


def _made(
    path: Path, records: int, shape: tuple[int, ...], options: dict[str, Any], pieces: Callable[[], Iterator[NDArray[np.uint8]]]
) -> Made:
    """The file, written under another name first, so that half a file is never taken for a whole one."""
    import h5py

    if not path.exists():
        print(f"making {path.name} ...", flush=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with h5py.File(partial, "w") as file:
            images = file.create_dataset("image", (records, *shape), np.uint8, **options)
            file.create_dataset("label", data=np.arange(records) * CLASSES // records)
            start = 0
            for piece in pieces():
                images[start : start + len(piece)] = piece
                start += len(piece)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(path)
    with h5py.File(path) as file:
        return Made(path=path, records=records, shape=shape, stored_nbytes=file["image"].id.get_storage_size())

"""A set of real pixels for the demo: crops of photographs that an installed package ships, stored class by class in HDF5."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
"""The classes: which photograph a crop comes from. All are in scikit-image's wheel."""

SIDE = 64
"""Height and width of a crop, in pixels."""
RECORD_NBYTES = SIDE * SIDE * 3
SMALLEST_BROADER_SIDE = 112
"""A photograph is offered whole and halved as long as it stays this large."""
PIECE = 512
"""Crops made at a time."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crops:
    """Some crops in memory."""

    images: NDArray[np.uint8]
    """Shape (crops, SIDE, SIDE, 3)."""
    labels: NDArray[np.int64]
    """Numbers of photographs; shape (crops,)."""


def photograph_folder() -> Path:
    """Where scikit-image keeps its photographs; the package is looked up, not imported."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise SystemExit("The demo cuts up scikit-image's photographs, and scikit-image is not installed: pip install 'streamload[demo]'.")
    return Path(found.origin).parent / "data"


def scales_of(path: Path) -> list[NDArray[np.uint8]]:
    """A photograph as (height, width, 3), and halved as often as crops still have room to move."""
    import imagecodecs

    image = np.asarray(imagecodecs.imread(path), np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    scales = [np.ascontiguousarray(image[..., :3])]
    while min(scales[-1].shape[:2]) // 2 >= SMALLEST_BROADER_SIDE:
        whole = scales[-1]
        height, width = whole.shape[0] // 2, whole.shape[1] // 2
        quarters = whole[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
        scales.append(quarters.mean(axis=(1, 3)).astype(np.uint8))
    return scales


def cut_crops(scales: list[NDArray[np.uint8]], out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Fill `out`, shape (crops, SIDE, SIDE, 3), with crops at random places and scales, flipped, turned, brightened and darkened."""
    count = len(out)
    scale = rng.integers(len(scales), size=count)
    place, flips = rng.random((count, 2)), rng.integers(8, size=count)
    contrast, brightness = rng.uniform(0.5, 1.5, count), rng.uniform(-50, 50, count)
    levels = np.arange(256) - 128.0
    for k in range(count):
        image = scales[scale[k]]
        top, left = (int(part * (room - SIDE + 1)) for part, room in zip(place[k], image.shape, strict=False))
        crop = image[top : top + SIDE, left : left + SIDE]
        crop = crop.swapaxes(0, 1) if flips[k] & 1 else crop
        crop = crop[:: -1 if flips[k] & 2 else 1, :: -1 if flips[k] & 4 else 1]
        table = np.clip(levels * contrast[k] + 128 + brightness[k], 0, 255).astype(np.uint8)
        np.take(table, crop, out=out[k])


def make_crops(count: int, *, seed: int) -> Crops:
    """`count` crops of all photographs in turn, for testing: other places, flips and light than those of another seed."""
    folder, rng = photograph_folder(), np.random.default_rng([seed, 1])
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    labels = np.arange(count) % len(PHOTOGRAPHS)
    for number, name in enumerate(PHOTOGRAPHS):
        mine = np.empty((int((labels == number).sum()), SIDE, SIDE, 3), np.uint8)
        cut_crops(scales_of(folder / name), mine, rng)
        images[labels == number] = mine
    return Crops(images=images, labels=labels)


def records_of(nbytes: int) -> int:
    """How many crops a file of about `nbytes` holds: as many of each photograph."""
    return max(1, nbytes // RECORD_NBYTES // len(PHOTOGRAPHS)) * len(PHOTOGRAPHS)


def write_crops(path: Path, *, nbytes: int, seed: int, progress: Callable[[int], None]) -> int:
    """Write an HDF5 file of about `nbytes` of crops, sorted by class, contiguous; the number of records.

    `progress` is told how many records are done.
    """
    import h5py

    folder, rng = photograph_folder(), np.random.default_rng([seed, 0])
    count, done = records_of(nbytes), 0
    each = count // len(PHOTOGRAPHS)
    with h5py.File(path, "x", libver=("earliest", "v110")) as file:
        images = file.create_dataset("image", (count, SIDE, SIDE, 3), np.uint8)
        file.create_dataset("label", data=np.repeat(np.arange(len(PHOTOGRAPHS)), each))
        file.attrs["classes"] = [name.partition(".")[0] for name in PHOTOGRAPHS]
        piece = np.empty((min(PIECE, each), SIDE, SIDE, 3), np.uint8)
        for name in PHOTOGRAPHS:
            scales = scales_of(folder / name)
            for start in range(0, each, len(piece)):
                part = piece[: min(len(piece), each - start)]
                cut_crops(scales, part, rng)
                images[done : done + len(part)] = part
                done += len(part)
                progress(done)
    return count

"""NumPy's files for the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def images() -> np.ndarray:
    """Random images."""
    return np.random.default_rng(0).integers(0, 256, (100, 7, 6, 3), dtype=np.uint8)


def one(order: str) -> Callable[[Path], Arrays]:
    """A single array."""

    def write(path: Path) -> Arrays:
        with open(path, "wb") as file:
            np.save(file, np.asarray(images(), order=order))
        return {path.name: images()}

    return write


def structured(path: Path) -> Arrays:
    """Records of a structured dtype."""
    table = np.zeros(100, np.dtype([("image", "u1", (7, 6, 3)), ("label", ">i4")]))
    table["image"], table["label"] = images(), np.arange(100)
    with open(path, "wb") as file:
        np.save(file, table)
    return {"image": images(), "label": np.arange(100, dtype="i4")}


def archive(path: Path) -> Arrays:
    """Stored members of an .npz."""
    with open(path, "wb") as file:
        np.savez(file, image=images(), label=np.arange(100))
    return {"image": images(), "label": np.arange(100)}


EXAMPLES = {"C order": one("C"), "Fortran order": one("F"), "structured": structured, "archive": archive}

"""Folders of images for the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from streamload.ragged import Ragged

Arrays = dict[str, Any]
COUNT = 60
END_MARK = 99
"""In percent: what comes behind it is the mark that ends the first image."""


def images(count: int = COUNT) -> np.ndarray:
    """Random images."""
    return np.random.default_rng(0).integers(0, 256, (count, 9, 8, 3), dtype=np.uint8)


def classes(path: Path) -> Arrays:
    """Two folders of classes, one with a folder in it."""
    labels = np.arange(COUNT) // 40
    for number, image in enumerate(images()):
        folder = path / ("cat", "dog")[labels[number]] / ("deeper" if 25 <= number < 40 else "")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return {"image": images(), "label": labels}


def pairs(path: Path) -> Arrays:
    """Images, and masks with a palette."""
    masks = np.random.default_rng(1).integers(0, 5, (COUNT, 9, 8), dtype=np.uint8)
    for name in ("images", "masks"):
        (path / name).mkdir(parents=True)
    for number, (image, mask) in enumerate(zip(images(), masks, strict=True)):
        Image.fromarray(image).save(path / "images" / f"{number:03}.png")
        indexed = Image.fromarray(mask, mode="P")
        indexed.putpalette(list(range(200, 215)))
        indexed.save(path / "masks" / f"{number:03}_mask.png")
    return {"image": images(), "mask": masks[..., None]}


def table(path: Path) -> Arrays:
    """Images of many sizes, in the order of a table, which says numbers and classes."""
    path.mkdir()
    lines = ["file_name,score,kind"]
    for number, image in enumerate(images()):
        Image.fromarray(image[: 3 + number % 6]).save(path / f"{number}.png")
        lines.append(f"{number}.png,{number / 4},{'ab'[number % 2]}")
    (path / "metadata.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    order = np.arange(COUNT)[::-1]
    data = Ragged.of([(path / f"{number}.png").read_bytes() for number in order])
    return {"image": data, "score": order / 4, "kind": order % 2}


EXAMPLES = {"classes": classes, "pairs": pairs, "table": table}

"""The README's picture of augmentation: photographs with masks and boxes, and what three epochs make of them.

`python -m bench.augment_picture bench/pictures/augment.png`: draws it with `streamload show --augment`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
from PIL import Image

from bench.plots import COLOURS_KEPT
from streamload.tools.__main__ import main
from streamload.tools.demonstration.dataset import photograph_folder

SIDE = 128
SHOWN: dict[str, tuple[int, int, int, int, int, int]] = {
    "chelsea.png": (80, 10, 280, 115, 20, 245),
    "astronaut.png": (60, 0, 330, 115, 40, 190),
    "coffee.png": (90, 20, 380, 150, 40, 265),
}
"""Photographs: left, top and side of a square of each, and in the photograph's pixels left, top and side of what is in it."""
CHAIN = """
import streamload as sl
AUGMENT = sl.Augment(
    "image",
    sl.RandomAffine(12, scale=(0.9, 1.15), interpolation="bilinear", p=0.5),
    sl.RandomResizedCrop(128, scale=(0.45, 1.0)),
    sl.RandomHorizontalFlip(),
    sl.ColorJitter(0.35, 0.35, 0.35, 0.06),
    sl.RandomGrayscale(0.1),
    masks="mask",
    boxes="boxes",
)
"""


def write(path: Path) -> None:
    """Squares of photographs, an ellipse in each as its mask, and the box around that."""
    images, masks = np.zeros((len(SHOWN), SIDE, SIDE, 3), "u1"), np.zeros((len(SHOWN), SIDE, SIDE), "u1")
    boxes = np.zeros((len(SHOWN), 1, 4), "f4")
    y, x = np.mgrid[:SIDE, :SIDE]
    for number, (name, (left, top, side, at_x, at_y, size)) in enumerate(SHOWN.items()):
        whole = np.asarray(imagecodecs.imread(photograph_folder() / name))[top : top + side, left : left + side, :3]
        images[number] = Image.fromarray(np.ascontiguousarray(whole)).resize((SIDE, SIDE))
        scale = SIDE / side
        x0, y0, x1, y1 = ((value - first) * scale for value, first in ((at_x, left), (at_y, top), (at_x + size, left), (at_y + size, top)))
        boxes[number, 0] = np.clip([x0, y0, x1, y1], 0, SIDE)
        inside = ((x - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 < 1
        masks[number][inside] = number + 1
    with h5py.File(path, "w") as file:
        file["image"], file["mask"], file["boxes"] = images, masks, boxes


def draw(target: Path) -> None:
    """Write the picture, in few colours."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "photographs.h5")
        (Path(folder) / "chain.py").write_text(CHAIN)
        sheet = Path(folder) / "sheet.png"
        words = ["show", Path(folder) / "photographs.h5", "--augment", Path(folder) / "chain.py", "-n", len(SHOWN), "-o", sheet]
        if code := main(list(map(str, words))):
            raise SystemExit(code)
        Image.open(sheet).quantize(2 * COLOURS_KEPT, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))

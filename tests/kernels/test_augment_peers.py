"""Augmentation beside what it is measured by: Pillow's resampling, and torchvision's functions on uint8."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from augment_cases import both, images
from numpy.typing import NDArray
from PIL import Image

from streamload.transforms.operations.affine import inverse_map
from streamload.transforms.operations.curves import posterized, solarized
from streamload.transforms.operations.filters import bell

GOLDEN = Path(__file__).with_name("torchvision_golden.npz")
ONE, NONE = np.ones(1), np.zeros(1)


def gamma_curve(gamma: float) -> NDArray[Any]:
    """What a power makes of each level."""
    return (np.float32(np.arange(256) / 255.0) ** np.float32(gamma) * np.float32(255.999)).astype(np.uint8)


def curve(levels: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """The step of a curve."""
    return "curve", np.ascontiguousarray(levels, np.uint8).view(np.float64)


def steps_of(name: str, given: list[float], height: int, width: int) -> list[tuple[str, Any]]:
    """What is done for an operation of torchvision's with these parameters."""
    if name in ("solarize", "posterize", "invert", "gamma"):
        levels = {
            "solarize": lambda: solarized(given[0]),
            "posterize": lambda: posterized(int(given[0])),
            "invert": lambda: 255 - np.arange(256),
            "gamma": lambda: gamma_curve(given[0]),
        }[name]()
        return [curve(levels)]
    if name == "gaussian_blur":
        across, down, sigma = int(given[0]), int(given[1]), np.array([given[2]])
        return [(name, [across, down, *bell(across, sigma)[:, 0], *bell(down, sigma)[:, 0]])]
    if name == "affine":
        shift, shear = (given[1] * ONE, given[2] * ONE), (given[4] * ONE, given[5] * ONE)
        inverse = inverse_map(angle=given[0] * ONE, shift=shift, scale=given[3] * ONE, shear=shear, center=(NONE, NONE))
        return [("affine", [*inverse[:, 0], height, width, *given[6:]])]
    if name == "rotate":
        inverse = inverse_map(angle=-given[0] * ONE, shift=(NONE, NONE), scale=ONE, shear=(NONE, NONE), center=(NONE, NONE))
        return [("affine_nearest", [*inverse[:, 0], height, width, *(part for level in given[1:] for part in (level, 0))])]
    if name == "chain":
        factor, hue, other = given
        return [("brightness", [factor]), ("contrast", [other]), ("hue", [hue]), ("saturation", [other])]
    return [(name, given)]


def made(image: NDArray[np.uint8], name: str, given: list[float]) -> NDArray[np.uint8]:
    """The compiled kernels' levels."""
    height, width, n = image.shape
    whole = ("crop", [0, 0, height, width, 0, 0, *[0] * n])
    return both(image, [whole, *steps_of(name, given, height, width), ("uint8_chw", [0] * 2 * n)], out=(n, height, width))[0]


def test_colour_and_free_maps_are_torchvisions() -> None:
    """To the bit, but for hue, gamma, blur and free maps, which are within a level; chains but for one value in a thousand."""
    golden = np.load(GOLDEN)
    texts: dict[str, list[float]] = json.loads(str(golden["texts"]))
    levels = dict(zip(golden["names"].tolist(), golden["levels"], strict=True))
    checked, beyond, values = 0, 0, 0
    for key, given in texts.items():
        name, turn, kind = key.split("/")
        if kind != "parameters":
            continue
        ours = [made(image, name, given) for image in golden["images"]]
        checked += 1
        if f"{name}/{turn}/checksums" in texts:
            assert [zlib.crc32(one.tobytes()) for one in ours] == texts[f"{name}/{turn}/checksums"], (name, given)
            continue
        apart = np.abs(np.stack(ours).astype(int) - levels[f"{name}/{turn}/levels"])
        if name in ("hue", "gamma", "gaussian_blur", "affine"):
            assert apart.max() <= 1, (name, given)
        else:
            beyond, values = beyond + int((apart > 1).sum()), values + apart.size
    assert checked == 12 * 16
    assert beyond <= values / 1000


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "box", "nearest"])
def test_resampling_is_pillows_to_a_level(name: str) -> None:
    """Any box, to any size; nearest neighbours to the bit."""
    kinds = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "box": Image.Resampling.BOX}
    rng = np.random.default_rng(6)
    for turn, (image, planar, n, height, width) in enumerate(images(rng, 60, least=2)):
        h, w = (int(side) for side in rng.integers(1, 90, 2))
        x0, y0 = rng.uniform(0, width - 1), rng.uniform(0, height - 1)
        box = [float(np.float32(side)) for side in (x0, y0, rng.uniform(x0 + 1, width), rng.uniform(y0 + 1, height))]
        if name == "nearest" or turn % 3 == 0:
            box = [np.floor(box[0]), np.floor(box[1]), np.ceil(box[2]), np.ceil(box[3])]
        step = {
            "bilinear": ("bilinear", [*box, h, w, 0, 1]),
            "bicubic": ("filtered", [*box, h, w, 0, 1, 2]),
            "box": ("filtered", [*box, h, w, 0, 1, 0]),
            "nearest": ("nearest", [*box, h, w, 0, 0, 1, *[0] * 2 * n]),
        }[name]
        ours, _ = both(image, [step, ("uint8_chw", [0] * 2 * n)], out=(n, h, w), planar=planar)
        woven = image.transpose(1, 2, 0) if planar else image
        planes = [Image.fromarray(np.ascontiguousarray(woven[:, :, c])) for c in range(n)]
        theirs = np.stack([np.asarray(one.resize((w, h), kinds.get(name, Image.Resampling.NEAREST), tuple(box))) for one in planes])
        assert np.abs(ours.astype(int) - theirs).max() <= (0 if name == "nearest" else 1), (box, h, w)

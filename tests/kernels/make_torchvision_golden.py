"""Makes `torchvision_golden.npz`: what torchvision's own functions make of two small images. Run where torch and torchvision are.

`python make_torchvision_golden.py PHOTOGRAPH` writes beside itself. Operations whose levels must be equal are kept as checksums,
the others as levels. Made with torch 2.13.0 and torchvision 0.28.0.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

# Where torchvision's compiled operators do not fit the build of torch, these two are missed first; none of them is used here.
for name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision.transforms.v2.functional as F  # noqa: E402
from torchvision.transforms import InterpolationMode  # noqa: E402

TURNS = 12
HEIGHT, WIDTH = 18, 24


def operations(rng: np.random.Generator):
    """By name: parameters, the function, and whether levels must be equal."""
    factor, hue, gamma = rng.uniform(0, 2), rng.uniform(-0.5, 0.5), rng.uniform(0.4, 2.5)
    threshold, bits, sharp = rng.uniform(0, 255), int(rng.integers(0, 9)), rng.uniform(0, 3)
    across, down, sigma = int(rng.choice([3, 5, 7])), int(rng.choice([3, 5, 7])), rng.uniform(0.3, 2)
    angle, scale, shear = rng.uniform(-180, 180), rng.uniform(0.6, 1.5), rng.uniform(-20, 20, 2)
    shift, fill = rng.integers(-6, 7, 2), rng.integers(0, 256, 3)
    bilinear = {"interpolation": InterpolationMode.BILINEAR, "fill": [float(x) for x in fill]}
    nearest = bilinear | {"interpolation": InterpolationMode.NEAREST}
    affine = (float(angle), [int(x) for x in shift], float(scale), [float(x) for x in shear])
    return {
        "brightness": ([factor], lambda x: F.adjust_brightness(x, factor), True),
        "contrast": ([factor], lambda x: F.adjust_contrast(x, factor), True),
        "saturation": ([factor], lambda x: F.adjust_saturation(x, factor), True),
        "grayscale": ([3], lambda x: F.rgb_to_grayscale(x, 3), True),
        "solarize": ([threshold], lambda x: F.solarize(x, threshold), True),
        "posterize": ([bits], lambda x: F.posterize(x, bits), True),
        "invert": ([], F.invert, True),
        "equalize": ([], F.equalize, True),
        "autocontrast": ([], F.autocontrast, True),
        "sharpness": ([sharp], lambda x: F.adjust_sharpness(x, sharp), True),
        "hue": ([hue], lambda x: F.adjust_hue(x, hue), False),
        "gamma": ([gamma], lambda x: F.adjust_gamma(x, gamma), False),
        "gaussian_blur": ([across, down, sigma], lambda x: F.gaussian_blur(x, [across, down], [sigma, sigma]), False),
        "affine": ([angle, *shift, scale, *shear, *fill], lambda x: F.affine(x, *affine, **bilinear), False),
        "rotate": ([angle, *fill], lambda x: F.rotate(x, float(angle), **nearest), False),
        "chain": (
            [factor, hue, gamma],
            lambda x: F.adjust_saturation(F.adjust_hue(F.adjust_contrast(F.adjust_brightness(x, factor), gamma), hue), gamma),
            False,
        ),
    }


def main(photograph: str) -> None:
    """Write the file."""
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.open(photograph).convert("RGB").resize((WIDTH, HEIGHT)))
    images = np.stack([photo, rng.integers(0, 256, photo.shape, np.uint8)])
    found: dict[str, np.ndarray] = {"images": images}
    for turn in range(TURNS):
        for name, (parameters, function, equal) in operations(rng).items():
            results = [function(torch.from_numpy(image.transpose(2, 0, 1).copy())).numpy() for image in images]
            found[f"{name}/{turn}/parameters"] = np.array(parameters, np.float64)
            key = f"{name}/{turn}/{'checksums' if equal else 'levels'}"
            found[key] = np.array([zlib.crc32(one.tobytes()) for one in results], np.uint32) if equal else np.stack(results)
    levels = [key for key in found if key.endswith("levels")]
    texts = {key: value.tolist() for key, value in found.items() if key not in levels and key != "images"}
    whole = {"images": images, "levels": np.stack([found[key] for key in levels]), "names": np.array(levels), "texts": json.dumps(texts)}
    np.savez_compressed(Path(__file__).with_name("torchvision_golden.npz"), **whole)


if __name__ == "__main__":
    main(sys.argv[1])

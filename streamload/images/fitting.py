"""Pixels made upright, cut and scaled to the size that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of pixels (height, width, ...) that is turned and mirrored as Exif's orientation says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::down, ::across]


def fitted(pixels: NDArray[Any], size: tuple[int, int], fit: str) -> NDArray[Any]:
    """Pixels of shape (height, width, channels) as (*size, channels): the middle of them, or all, scaled."""
    if fit == "crop":
        pixels = _middle(pixels, size)
    return pixels if pixels.shape[:2] == size else _scaled(pixels, size)


def _middle(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The largest part around the middle that has the proportions of `size`."""
    height, width = pixels.shape[:2]
    scale = min(height / size[0], width / size[1])
    # Cut before scaling: pixels beyond the edge of what is kept must not shine into it.
    tall, wide = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - tall) // 2, (width - wide) // 2
    return pixels[top : top + tall, left : left + wide]


def _scaled(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    from PIL import Image

    def scaled(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size[1], size[0]), Image.Resampling.BILINEAR))

    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return scaled(pixels)
    planes = [pixels[:, :, channel] for channel in range(pixels.shape[2])]
    if pixels.dtype == np.uint8:
        return np.stack([scaled(plane) for plane in planes], axis=2)
    # Pillow scales 16 bits as fractions only; these hold whole numbers of 16 bits exactly.
    return np.stack([np.rint(scaled(plane.astype(np.float32))) for plane in planes], axis=2).astype(pixels.dtype)

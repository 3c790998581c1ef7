"""Pixels cut and scaled to the size that was asked for, and made upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LAST_FIRST = (3, 4, 7, 8), (2, 3, 6, 7)
"""Orientations, as Exif counts them, in which the last row, and the last column, becomes the first."""


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of pixels (height, width, ...) that is turned and mirrored as Exif's orientation says."""
    if orientation == 1:
        return pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    down, across = (-1 if orientation in some else 1 for some in LAST_FIRST)
    return pixels[::down, ::across]


def fitted(pixels: NDArray[Any], extent: tuple[float, float], size: tuple[int, int], fit: str) -> NDArray[Any]:
    """Pixels of shape (height, width, channels) as (*size, channels): the middle of them, or all, scaled.

    `extent` is the height and width that the image has in these pixels: less than their number where it was scaled
    before, and the last row and column are only covered in part.
    """
    height, width = extent
    top = left = 0.0
    if fit == "crop":
        scale = min(height / size[0], width / size[1])
        tall, wide = size[0] * scale, size[1] * scale
        if extent == pixels.shape[:2]:
            # Cut before scaling: pixels beyond the edge of what is kept must not shine into it.
            rows, columns = max(1, round(tall)), max(1, round(wide))
            down, across = (int(height) - rows) // 2, (int(width) - columns) // 2
            pixels = pixels[down : down + rows, across : across + columns]
            height, width = float(rows), float(columns)
        else:
            top, left, height, width = (height - tall) / 2, (width - wide) / 2, tall, wide
    if pixels.shape[:2] == size == (height, width):
        return pixels
    return _scaled(pixels, (left, top, left + width, top + height), size)


def _scaled(pixels: NDArray[Any], box: tuple[float, float, float, float], size: tuple[int, int]) -> NDArray[Any]:
    """The part of pixels within (left, top, right, bottom), scaled."""
    from PIL import Image

    def scaled(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))

    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return scaled(pixels)
    planes = [pixels[:, :, channel] for channel in range(pixels.shape[2])]
    if pixels.dtype == np.uint8:
        return np.stack([scaled(plane) for plane in planes], axis=2)
    # Pillow scales 16 bits as fractions only; these hold whole numbers of 16 bits exactly.
    return np.stack([np.rint(scaled(plane.astype(np.float32))) for plane in planes], axis=2).astype(pixels.dtype)

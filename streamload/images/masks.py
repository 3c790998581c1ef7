"""Masks of segmentation: images whose pixels are numbers of classes, never colours to be mixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.images import decoders
from streamload.images.header import ImageHeader


def mask_pixels(data: memoryview, head: ImageHeader, *, bits_16: bool) -> NDArray[Any]:
    """The numbers that a mask holds, as they are stored: levels of grey, or indices of a palette; shape (height, width, 1).

    Decoders spread few levels of grey over 0 to 255, which is undone. Raises ValueError for an image of colours.
    """
    if head.colours not in ("grey", "palette"):
        raise ValueError("it has colours, where a mask has one number a pixel")
    if head.colours == "palette":
        return decoders.pillow(data, head, indices=True)
    if head.format == "JPEG":
        if bits_16:
            return np.empty((1, 1, 1), np.uint8)  # for `to_mode` to refuse
        return decoders.jpeg(data, head, grey=True, least=(0, 0), buffer=None)
    pixels = decoders.BY_FORMAT[head.format](data, head)
    bits = data[24] if head.format == "PNG" and len(data) > 33 else 8
    return pixels // (255 // (2**bits - 1)) if bits in (1, 2, 4) and pixels.shape[2] == 1 else pixels


def nearest(mask: NDArray[Any], size: tuple[int, int], fit: str = "crop") -> NDArray[Any]:
    """A mask as large as `size` (height, width) by leaving out pixels or repeating them: its middle, or all of it ("resize")."""
    height, width = mask.shape[:2]
    tall, wide = height, width
    if fit == "crop":
        scale = min(height / size[0], width / size[1])
        tall, wide = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - tall) // 2, (width - wide) // 2
    rows = top + ((np.arange(size[0]) + 0.5) * tall / size[0]).astype(np.int64)
    columns = left + ((np.arange(size[1]) + 0.5) * wide / size[1]).astype(np.int64)
    return np.ascontiguousarray(mask[rows[:, None], columns[None, :]])

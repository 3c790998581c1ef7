"""Masks: images whose pixels are numbers of classes, never levels that could be mixed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.images import decoders, tiff
from streamload.images.header import ImageHeader

NAMES = re.compile(
    r"(^|[_\W\d])(masks?|segs?|segm|segmentations?|annots?|annotations?|labels?|label_?maps?|trimaps?|gt)($|[_\W\d])", re.IGNORECASE
)
"""What fields of masks are called."""


def named_as_mask(name: str) -> bool:
    """Whether a field's name says that it holds masks: mask, seg_map, trimap, image_annotation."""
    return NAMES.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)) is not None


def looks_like_mask(name: str, heads: Sequence[ImageHeader]) -> bool:
    """Whether encoded images may be masks: their name says so, and each has one number a pixel."""
    return named_as_mask(name) and all(head.colours in ("grey", "palette") and head.format != "JPEG" for head in heads)


def numbers(data: memoryview, head: ImageHeader) -> NDArray[Any]:
    """The numbers that a mask holds, shape (height, width, 1): levels of grey as they are stored, or indices of a palette.

    Raises ValueError for an image of colours.
    """
    if head.colours not in ("grey", "palette"):
        raise ValueError("it has colours, where a mask has one number a pixel")
    if head.colours == "palette":
        return decoders.pillow(data, head, indices=True)
    if head.format == "JPEG":
        return decoders.jpeg(data, head, grey=True, least=(0, 0), buffer=None)
    # What is transparent has a number like any other.
    pixels = decoders.BY_FORMAT[head.format](data, head)[:, :, :1]
    tags = tiff.tags_of(data) if head.format == "TIFF" else {}
    bits = data[24] if head.format == "PNG" else tags.get(tiff.BITS, 1) if tags else 8
    if bits in (1, 2, 4):  # Decoders spread few grey levels over 0 to 255.
        pixels = pixels // (255 // (2**bits - 1))
    return (1 << bits) - 1 - pixels if tags.get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO else pixels


def nearest(pixels: NDArray[Any], size: tuple[int, int], fit: str = "crop") -> NDArray[Any]:
    """Pixels of shape (height, width, ...) as (*size, ...), each as it is: the middle of them, or with `fit` "resize" all.

    Every pixel is the one that its middle falls into, so the same middle is taken as `resize.fitted` takes of an image.
    """
    height, width = pixels.shape[:2]
    tall, wide = height, width
    if fit == "crop":
        scale = min(height / size[0], width / size[1])
        tall, wide = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - tall) // 2, (width - wide) // 2
    rows = top + ((np.arange(size[0]) + 0.5) * tall / size[0]).astype(np.int64)
    columns = left + ((np.arange(size[1]) + 0.5) * wide / size[1]).astype(np.int64)
    return np.ascontiguousarray(pixels[rows[:, None], columns[None, :]])

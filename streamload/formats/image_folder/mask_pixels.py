"""What the pixels of images tell of whether they are masks: numbers of classes, where those of others are colours or levels."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from streamload.images import MOST_PIXELS, ImageError, ImageHeader, read_header
from streamload.images.decode import decoded
from streamload.images.masks import numbers
from streamload.storage.files import regular_file

LOOKED_AT = 8
HEAD_NBYTES = 1 << 16
FEW = 64
"""Values in one mask; levels of grey of a drawing or a photograph are more."""


def are_numbers(path: str, names: Sequence[str]) -> bool:
    """Whether the first of some images in a folder are grey or have a palette; those that cannot be read say nothing."""
    known = False
    for name in names[:LOOKED_AT]:
        try:
            with open(os.path.join(path, name), "rb", opener=regular_file) as file:
                head = file.read(HEAD_NBYTES)
            if read_header(head).colours not in ("grey", "palette"):
                return False
            known = True
        except (ImageError, OSError):
            continue
    return known


def may_be_masks_of(path: str, pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether the first of some images, each with one of the same name, are as large as these, and hold few values each.

    Images that cannot be read say nothing.
    """
    for mask, image in pairs[:LOOKED_AT]:
        try:
            with open(os.path.join(path, mask), "rb", opener=regular_file) as file:
                data = file.read()
            with open(os.path.join(path, image), "rb", opener=regular_file) as file:
                size = read_header(file.read(HEAD_NBYTES)).size
            head = read_header(data)
            if head.size != size or not _has_few_values(data, head):
                return False
        except (ImageError, OSError):
            continue
    return True


def _has_few_values(data: bytes, head: ImageHeader) -> bool:
    """Whether an image of numbers holds few of them; an enormous one is taken to, and one of 16 bits, which are distances or classes."""
    if head.bits > 8 or head.height * head.width > MOST_PIXELS:
        return True
    pixels = decoded(head, lambda: numbers(memoryview(data), head))
    return pixels is None or len(np.unique(pixels)) <= FEW

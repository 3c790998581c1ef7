"""A line of text under each image of a sheet."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIP = 14
"""Pixels of height that a line takes."""
LETTER = 10
PAPER, INK = 32, 230


def can_write() -> bool:
    """Whether text can be drawn: Pillow has the letters."""
    return importlib.util.find_spec("PIL") is not None


def strip_of(text: str, width: int) -> NDArray[np.uint8]:
    """A line of text as pixels, shape (STRIP, width, 3), cut where it ends."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, STRIP), (PAPER,) * 3)
    ImageDraw.Draw(image).text((1, 1), text, fill=(INK,) * 3, font=_font())
    return np.asarray(image)


def captioned(images: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> list[NDArray[np.uint8]]:
    """The same images, each with a strip of text below it; all of one width."""
    return [np.concatenate([image, strip_of(text, image.shape[1])]) for image, text in zip(images, texts, strict=True)]


def _font() -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(LETTER)
    except (ImportError, OSError):
        # Builds of Pillow without FreeType have letters of one size, and of Latin only.
        return ImageFont.load_default()

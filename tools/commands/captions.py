"""A line of text under each image of a sheet."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIP = 14
"""Pixels of height that a line takes."""
LETTER = 10
PAPER, INK = 32, 230
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", os.path.expanduser("~/.fonts"), "/System/Library/Fonts", "/Library/Fonts")
NAMES = ("NotoSans*CJK*", "DroidSansFallback*", "wqy-*", "unifont*", "DejaVuSans.ttf", "Arial Unicode.ttf")


def can_write() -> bool:
    """Whether text can be drawn: Pillow has the letters."""
    return importlib.util.find_spec("PIL") is not None


def strip_of(text: str, width: int) -> NDArray[np.uint8]:
    """A line of text as pixels, shape (STRIP, width, 3), cut where it ends."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, STRIP), (PAPER,) * 3)
    font, text = _font_for(text)
    ImageDraw.Draw(image).text((1, 1), text, fill=(INK,) * 3, font=font)
    return np.asarray(image)


def captioned(images: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> list[NDArray[np.uint8]]:
    """The same images, each with a strip of text below it; all of one width."""
    return [np.concatenate([image, strip_of(text, image.shape[1])]) for image, text in zip(images, texts, strict=True)]


def _font_for(text: str) -> tuple[Any, str]:
    """A font that has the letters of a text, and the text; letters that no font here has are written as Python writes them: \\u65e5."""
    font = _font()
    if all(has_letter(font, letter) for letter in text):
        return font, text
    for other in _other_fonts():
        if all(has_letter(other, letter) for letter in text):
            return other, text
    return font, "".join(letter if has_letter(font, letter) else ascii(letter)[1:-1] for letter in text)


def has_letter(font: Any, letter: str) -> bool:
    """Whether a font has a letter, and not only the box that stands for those it lacks."""
    if letter.isspace():
        return True
    try:
        drawn, box = font.getmask(letter), font.getmask("\ufffe")
    except (UnicodeEncodeError, OSError):
        return False
    return (drawn.size, bytes(drawn)) != (box.size, bytes(box))


@cache
def _other_fonts() -> tuple[Any, ...]:
    """Fonts of this machine that have letters of many scripts."""
    from PIL import ImageFont

    found = sorted(path for folder in FOLDERS for name in NAMES for path in glob.glob(f"{folder}/**/{name}", recursive=True))
    fonts: list[Any] = []
    for path in found:
        with suppress(OSError, ImportError):
            fonts.append(ImageFont.truetype(path, LETTER))
    return tuple(fonts)


@cache
def _font() -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(LETTER)
    except (ImportError, OSError):
        # Builds of Pillow without FreeType have letters of one size, and of Latin only.
        return ImageFont.load_default()

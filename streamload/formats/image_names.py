"""Which files are images, by their names."""

from __future__ import annotations

import os

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of images, in small letters."""


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; one that begins with a point is none."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not os.path.basename(name).startswith(".")

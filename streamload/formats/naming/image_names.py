"""Which files are images, by their names."""

from __future__ import annotations

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of images, in small letters."""


def is_image(name: str) -> bool:
    """Whether a file is an image by its name in its folder; one that begins with a point is none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")

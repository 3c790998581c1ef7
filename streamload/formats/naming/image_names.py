"""Which files are images, by their names."""

from __future__ import annotations

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of images, in small letters."""


def is_passed_over(folder: str) -> bool:
    """Whether nobody means what lies in a folder of this name: hidden ones, and what a Mac adds to archives."""
    return folder.startswith(".") or folder == "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file is an image by its name in its folder; one that begins with a point is none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")

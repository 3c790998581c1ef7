"""Which files are images, by their names."""

from __future__ import annotations

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of images, in small letters."""
OTHERS = (
    ".h5",
    ".hdf5",
    ".hdf",
    ".nc",
    ".parquet",
    ".arrow",
    ".feather",
    ".npy",
    ".npz",
    ".tar",
    ".tgz",
    ".tfrecord",
    ".tfrecords",
    ".mdb",
)
"""Endings of data of which images may be a part: a folder is what most of its first files are."""


def is_passed_over(folder: str) -> bool:
    """Whether nobody means what lies in a folder of this name: hidden ones, and what a Mac adds to archives."""
    return folder.startswith(".") or folder == "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file is an image by its name in its folder; one that begins with a point is none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")

"""Which files of a folder are images, by their names."""

from __future__ import annotations

import os

FORMAT = "Images"
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


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not os.path.basename(name).startswith(".")

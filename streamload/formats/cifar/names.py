"""Which files are batches of CIFAR: by their names, and by how they begin or how long they are."""

from __future__ import annotations

import os
import re

from streamload.storage.files import regular_file

IMAGE_NBYTES = 3072
MOST_NBYTES = 1 << 30
"""A file larger than this is no batch of CIFAR."""
_NAMED = re.compile(r"(data_batch(_[0-9]+)?|test_batch|train|test)(\.bin)?")
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in (2, 3, 4, 5))


def is_batch(head: bytes, path: str) -> bool:
    """Whether it is called as CIFAR's batches are, and is a pickle, or as long as binary records are."""
    name = os.path.basename(path)
    if _NAMED.fullmatch(name) is None or not 0 < os.path.getsize(path) < MOST_NBYTES:
        return False
    return label_nbytes(path) > 0 if name.endswith(".bin") else head.startswith(_PICKLES)


def label_nbytes(path: str) -> int:
    """Bytes of labels before each image in a binary file, 1 or 2; 0 where it is none."""
    # CIFAR-100's files have two label bytes, and their names say so better than sizes that both divide.
    order = (2, 1) if os.path.basename(path) in ("train.bin", "test.bin") else (1, 2)
    return next((count for count in order if os.path.getsize(path) % (IMAGE_NBYTES + count) == 0), 0)


def batches_in(folder: str) -> list[str]:
    """The batches in a folder, in no order."""
    found: list[str] = []
    for name in os.listdir(folder):
        if _NAMED.fullmatch(name) is not None and os.path.isfile(path := os.path.join(folder, name)):
            with open(path, "rb", opener=regular_file) as file:
                found += [path] if is_batch(file.read(2), path) else []
    return found

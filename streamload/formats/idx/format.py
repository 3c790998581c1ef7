"""IDX files, as MNIST comes: images read by offset, and the labels beside them; small ones that are packed are held in memory."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamload.formats.idx.header import MAGIC_NBYTES, begins_as_idx, is_images
from streamload.storage.files import regular_file

if TYPE_CHECKING:
    from streamload.formats.naming.field_names import Fields
    from streamload.source import Source

NAME = "IDX"
STACKS = True
"""Whether arrays can be put side by side in one field."""


def matches(head: bytes, path: str) -> bool:
    """Whether it begins as IDX files do, packed or not."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(31).decompress(head, MAGIC_NBYTES)
        except zlib.error:
            return False
    return begins_as_idx(head)


def matches_folder(path: str) -> bool:
    """Whether files lie in it that are called as MNIST's are, and begin so."""
    try:
        return any(_is_idx(os.path.join(path, name)) for name in os.listdir(path) if is_images(name))
    except OSError:
        return False


def plan(paths: Sequence[str], fields: Fields | None, *, split: str | None = None) -> Source:
    """A source over files of images, or of labels, or over folders of them; `split` chooses among the files of a folder."""
    from streamload.formats.idx.planning import plan_files

    return plan_files(NAME, paths, fields, split)


def _is_idx(path: str) -> bool:
    try:
        with open(path, "rb", opener=regular_file) as file:
            return matches(file.read(4096), path)
    except OSError:
        return False

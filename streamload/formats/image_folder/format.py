"""Whether a folder is one of images, and a source over such."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from streamload.formats.naming.image_names import OTHERS, SUFFIXES, is_passed_over
from streamload.formats.partitions import leads_up
from streamload.source import Source

NAME = "Images"
"""For people."""
LOOKED_AT = 1000
"""Files that decide whether a folder is one of images."""


def matches(head: bytes, path: str) -> bool:
    """Never: a single image is not a set of records."""
    return False


def matches_folder(path: str) -> bool:
    """Whether it holds images at any depth, and no more files of other data: as far as the first files tell."""
    from streamload.formats.image_folder.listing import is_kept

    if is_kept(path):
        return True
    images = others = 0
    try:
        for name in islice(_names_below(path), LOOKED_AT):
            ending = os.path.splitext(name)[1].lower()
            images += ending in SUFFIXES
            others += ending in OTHERS
    except OSError:
        pass  # Whoever reads it will say why.
    return images > others


def _names_below(folder: str) -> Iterator[str]:
    """Names of files in a folder and those below it, as `partitions.files_below` has them; no more is looked at than is asked for."""
    seen: set[tuple[int, int]] = set()
    links = [folder]
    while links:
        waiting = [links.pop(0)]
        while waiting:
            here = waiting.pop()
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            below: list[str] = []
            for name in sorted(os.listdir(here)):
                whole = os.path.join(here, name)
                if not os.path.isdir(whole):
                    yield name
                elif not is_passed_over(name):
                    (links if os.path.islink(whole) else below).append(whole)
            waiting += below[::-1]
            links = [link for link in links if not leads_up(link, folder)]


def plan(
    paths: Sequence[str],
    fields: Sequence[str] | Mapping[str, str | Sequence[str]] | None,
    *,
    split: str | bool | None = None,
    labels: str | os.PathLike[str] | None = None,
    fill: Any = None,
) -> Source:
    """A source over folders of images with the same classes; see `streamload.formats.open.open_source`.

    `split` names one of the folders train, val, test, ... where there are such, or is False where these are classes; `labels` is a CSV,
    JSON-lines or Parquet file with a row for each image, by its name in the split's folder, or in the whole one with rows of the other
    splits; `fill` is what stands for values that a table lacks, and for masks that are not there, by field. Two folders of which one
    seems to hold masks of the images in the other are refused, unless `fields` asks for "label": then they are classes.
    """
    from streamload.formats.image_folder.planning import plan_folders

    return plan_folders(paths, fields, split=split, labels=None if labels is None else os.fspath(labels), fill=fill)

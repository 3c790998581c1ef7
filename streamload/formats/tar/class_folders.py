"""Labels of archives whose members lie in a folder for each class, as a folder of images does once it is packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.formats.naming.field_names import is_utf8, natural_key
from streamload.formats.naming.split_words import split_words
from streamload.formats.tables.label_values import LabelValues
from streamload.formats.tar.archive import Archive
from streamload.images import named_as_mask

NO_CLASSES = ("image", "images", "img", "imgs")
"""Folders of these names lie beside those of masks, boxes or other views of one scene."""
LEAST_RECORDS = 2
"""A class has as many records on average: folders of one each name records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderLabels:
    """What folders say of records."""

    values: LabelValues | None
    """The class of each; None where folders are none."""
    note: str = ""
    """What is to be said of it."""


def folder_labels(archives: Sequence[Archive], *, asked: bool) -> FolderLabels:
    """The class of each record by its folder: the first one below what all have in common, if there are at least two.

    Where nobody has `asked` for labels they are a guess, and none is made of folders that are called as splits or masks are, that hold a
    record each, or are numbered parts of equal size.
    """
    found = _folders(archives)
    if found is None:
        return FolderLabels(values=None)
    names, numbers = found
    common = _common(names)
    below = [name[len(common) :] for name in names]
    if not all(below):
        return FolderLabels(values=None)  # Some records lie beside the folders.
    classes = sorted({one[0] for one in below})
    place = {name: number for number, name in enumerate(classes)}
    array = np.array([place[one[0]] for one in below], np.int64)[numbers]
    values = LabelValues(array=array, there=np.ones(len(array), np.bool_), classes=classes)
    listed = f"{', '.join(classes[:3])}{', ...' * (len(classes) > 3)}"
    if asked:
        return FolderLabels(values=values, note=f"'label' is the folder that each member lies in: {len(classes):,} classes ({listed})")
    words = {word for word in split_words(["/".join(name) for name in below]) if word}
    if len(words) > 1:
        return FolderLabels(values=None, note=f"members lie in folders of several splits ({', '.join(sorted(words))}): all are read as one")
    if len(classes) < 2 or words or any(map(_is_no_class, classes)) or _are_parts(classes, np.bincount(array), archives):
        return FolderLabels(values=None)
    said = f"'label' is a guess: the folder that each member lies in, {len(classes):,} classes ({listed}); fields=['image'] leaves it out"
    return FolderLabels(values=values, note=said)


def _folders(archives: Sequence[Archive]) -> tuple[list[list[str]], NDArray[np.int64]] | None:
    """The folders that records lie in, in parts, and the number of that of each record; None where one lies in none."""
    found: dict[str, int] = {}
    numbers: list[int] = []
    for archive in archives:
        for key in archive.keys:
            folder, slash, _ = key.rpartition("/")
            if not slash:
                return None
            numbers.append(found.setdefault(folder, len(found)))
    parts = [[part for part in folder.split("/") if part not in ("", ".")] for folder in found]
    return None if not found or not all(map(is_utf8, found)) else (parts, np.array(numbers, np.int64))


def _common(names: Sequence[list[str]]) -> list[str]:
    """The folders that all names begin with; of a name alone those above its last."""
    first, last = min(names), max(names)
    if len(names) == 1:
        return first[:-1]
    same = next((at for at, part in enumerate(first) if at >= len(last) or part != last[at]), len(first))
    return first[:same]


def _is_no_class(name: str) -> bool:
    return name.lower() in NO_CLASSES or named_as_mask(name)


def _are_parts(classes: Sequence[str], counts: NDArray[np.int64], archives: Sequence[Archive]) -> bool:
    """Whether folders are parts of one set that was cut by number, or hold about one record each."""
    if int(counts.sum()) < LEAST_RECORDS * len(classes):
        return True
    if not all(name.isdecimal() for name in classes):
        return False
    in_order = counts[[classes.index(name) for name in sorted(classes, key=natural_key)]]
    filled = len(classes[0]) > 1 and bool((in_order[:-1] == in_order[0]).all()) and int(in_order[-1]) <= int(in_order[0])
    return filled or (len(archives) > 1 and len(classes) == len(archives))

"""A folder of images as records: a label for each folder of a class, what a table beside them says, or a mask for each."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsafeSourceError
from streamload.formats.image_folder.label_tables import read_rows, refuse_repeats
from streamload.formats.image_folder.masks import mask_folders, mask_stem, refuse_masks
from streamload.formats.image_names import SUFFIXES
from streamload.formats.label_values import labels_or_texts
from streamload.formats.partitions import SPLITS, files_below
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.container import Raw
from streamload.tools.convert.readers.images import file_bytes
from streamload.tools.convert.readers.records import ContainerReader

TABLES = ("metadata.csv", "metadata.jsonl", "labels.csv", "labels.jsonl")
OTHERS = (".h5", ".hdf5", ".parquet", ".arrow", ".feather", ".npy", ".npz", ".tar", ".tfrecord", ".mdb", ".idx", ".bin", ".json", ".xml")
"""Endings of data of which images below a folder may be a part: what comes first in the order of names decides."""
NAME_COLUMNS = ("file_name", "filename", "file", "image", "path", "name")
IMAGE, LABEL, MASK = "image", "label", "mask"


def matches(path: str) -> bool:
    """Whether it is a folder with images in it, or in the folders in it; deeper ones count where no other data comes before them."""
    if not os.path.isdir(path):
        return False
    with os.scandir(path) as entries:
        listed = sorted((entry.name, entry.path, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    if any(_is_image(name) for name, _, is_folder in listed if not is_folder):
        return True
    inside = [name for _, folder, is_folder in listed if is_folder for name in os.listdir(folder)]
    if any(_is_image(name) for name in inside):
        return True
    for name in files_below(path):
        if _is_image(name) or os.path.splitext(name)[1].lower() in OTHERS:
            return _is_image(name)
    return False


def opened(request: OpenRequest, threads: int) -> ContainerReader:
    """The images of a folder."""
    return ContainerReader(ImageFolder(request), request, threads=threads)


class ImageFolder:
    """Images by name, each a file of its own, the masks that belong to them, and what tables and folders say of each."""

    format_name = "images"
    addressable = True
    images = frozenset((IMAGE, MASK))
    members_left_out: ClassVar[dict[str, tuple[int, list[str]]]] = {}

    def __init__(self, request: OpenRequest) -> None:
        self.title = request.path
        self._begins = os.path.join(request.path, "")
        self.paths = [request.path]
        self.left_out: dict[str, str] = {}
        self.damage: SourceError | None = None
        self._masks: list[str | None] = []
        self._columns: dict[str, NDArray[Any]] = {}
        self.classes: dict[str, list[str]] = {}
        self.set_aside: dict[str, list[str]] = {}
        self.notes: list[str] = []
        pair = None if request.labels else mask_folders(request.path)
        beside = [os.path.join(request.path, name) for name in TABLES if os.path.exists(os.path.join(request.path, name))]
        self._table = request.labels or (beside[0] if beside and pair is None else None)
        if pair is not None:
            self._names, self._masks = self._paired(*pair)
        elif self._table is None:
            self._names, self._columns, self.classes = _by_folder(request.path)
        else:
            self._names, self._columns, self.classes = _from_table(request.path, self._table)
            self._compare_with_table(self._table)
            if not request.labels:
                self.notes.append(f"labels are those of {os.path.basename(self._table)}, which lies in the folder")

    def _compare_with_table(self, table: str) -> None:
        """Set aside images that a table does not name; files that it names and that are not there are damage."""
        there = set(_images(self.title))
        self.set_aside[f"an image that {os.path.basename(table)} does not name"] = sorted(there - set(self._names))
        missing = [name for name in self._names if name not in there and not os.path.exists(os.path.join(self.title, name))]
        if missing:
            listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            self.damage = CorruptDataError(
                f"{table} names {len(missing):,} {'file' if len(missing) == 1 else 'files'} that {'is' if len(missing) == 1 else 'are'} "
                f"not there: {listed}.",
                hint="Take the rows out, or leave their records out: --on-bad skip.",
                path=table,
            )

    @property
    def files(self) -> Sequence[str]:
        """All files that are read: images, masks, and the table of their labels."""
        names = [*self._names, *(name for name in self._masks if name is not None)]
        return [*(os.path.join(self.title, name) for name in names), *([self._table] if self._table else [])]

    def _paired(self, images: str, masks: str) -> tuple[list[str], list[str | None]]:
        """Images and their masks, by the names that they have in common."""
        by_stem: dict[str, list[str]] = {}
        for name in sorted(os.listdir(os.path.join(self.title, masks))):
            if _is_image(name):
                by_stem.setdefault(mask_stem(name), []).append(name)
        doubled = next((names for names in by_stem.values() if len(names) > 1), None)
        if doubled:
            raise SchemaMismatchError(
                f"{self.title}/{masks} holds {doubled[0]} and {doubled[1]} for one image.", hint="Leave one of them.", path=self.title
            )
        names = sorted(name for name in os.listdir(os.path.join(self.title, images)) if _is_image(name))
        stems = [os.path.splitext(name)[0] for name in names]
        if len(set(stems)) < len(stems):
            twice = next(stem for at, stem in enumerate(stems) if stem in stems[:at])
            raise SchemaMismatchError(
                f"{self.title}/{images} holds two images called {twice}.",
                hint="Their masks cannot be told apart: rename one.",
                path=self.title,
            )
        alone = sorted(set(by_stem) - set(stems))
        self.set_aside["a mask without an image"] = [f"{masks}/{name}" for stem in alone for name in by_stem[stem]]
        known = {*(f"{images}/{name}" for name in names), *(f"{masks}/{name}" for one in by_stem.values() for name in one)}
        self.set_aside["deeper than images and masks are looked for"] = [name for name in _images(self.title) if name not in known]
        found = [by_stem[stem][0] if stem in by_stem else None for stem in stems]
        return [f"{images}/{name}" for name in names], [None if name is None else f"{masks}/{name}" for name in found]

    def __len__(self) -> int:
        return len(self._names)

    @property
    def identity(self) -> list[Any]:
        """Names, sizes, times and labels of all images, as one digest."""
        digest = hashlib.blake2b(digest_size=16)
        for name in (*self._names, *(name for name in self._masks if name is not None)):
            try:
                status = os.stat(os.path.join(self.title, name))
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
            except FileNotFoundError:
                digest.update(f"{name}\0is not there\n".encode(errors="surrogateescape"))
        for column, values in self._columns.items():
            held = "\0".join(values).encode(errors="surrogateescape") if values.dtype.hasobject else values.tobytes()
            digest.update(column.encode() + held)
        return [len(self._names), digest.hexdigest()]

    def where(self, number: int) -> str:
        """The file of the image of a record."""
        return self._begins + self._names[number]

    def named(self, number: int, stored: str) -> str:
        """The file of an image, or of its mask."""
        mask = self._masks[number] if stored == MASK and self._masks else None
        return self.where(number) if mask is None else os.path.join(self.title, mask)

    def raw(self, number: int) -> Raw:
        """The image as bytes, its mask, and its labels."""
        found: dict[str, bytes | NDArray[Any]] = {IMAGE: file_bytes(self.where(number))}
        if self._masks and self._masks[number] is not None:
            found[MASK] = file_bytes(self.named(number, MASK))
        values = {name: column[number] for name, column in self._columns.items()}
        return found | {name: one.encode() if isinstance(one, str) else one for name, one in values.items()}

    def begin(self, number: int, stored: str, most: int) -> bytes | None:
        """The first bytes of an image."""
        return file_bytes(self.where(number), most) if stored == IMAGE else None

    def image_nbytes(self) -> dict[str, int]:
        """Bytes of all images; of masks, too."""
        found = {IMAGE: sum(os.path.getsize(path) for path in map(self.where, range(len(self))) if os.path.exists(path))}
        masks = [name for name in self._masks if name is not None]
        return found | ({MASK: sum(os.path.getsize(os.path.join(self.title, name)) for name in masks)} if masks else {})

    def held(self, stored: str) -> NDArray[Any] | None:
        """A field that is in memory."""
        column = self._columns.get(stored)
        return None if column is None or column.dtype.hasobject else column

    def close(self) -> None:
        """Nothing is held open."""


def _images(path: str) -> list[str]:
    """Names of images in a folder and at any depth below it, relative to it, in order."""
    names = (os.path.relpath(one, path) for one in files_below(path))
    return sorted(name for name in names if _is_image(name) and not any(part.startswith(".") for part in name.split(os.sep)))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not os.path.basename(name).startswith(".")


def _by_folder(path: str) -> tuple[list[str], dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Names of images in order, other fields by name, and what the numbers of labels mean: the folders that they lie in, at any depth."""
    names = _images(path)
    inside = [name for name in names if "/" in name]
    if not inside:
        return names, {}, {}
    if len(inside) < len(names):
        raise SchemaMismatchError(
            f"{path} holds {len(names) - len(inside):,} images beside folders with {len(inside):,}: what is their label?",
            hint="Move them into folders, one for each class, or give --labels FILE.csv.",
            path=path,
        )
    # A folder without images is a class all the same: numbers must not change when it is filled.
    with os.scandir(path) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    _refuse_parts(path, classes)
    refuse_masks(path, names)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name.split("/", 1)[0]] for name in names], np.int64)
    return names, {LABEL: labels}, {LABEL: classes}


def _refuse_parts(path: str, folders: Sequence[str]) -> None:
    """Raise ConfigError where folders are parts of a set, such as train and test, and no classes."""
    words = {name: re.split(r"[^a-z]", name.lower(), maxsplit=1)[0] for name in folders}
    parts = [name for name in folders if words[name] in SPLITS]
    if parts and (len(parts) == len(folders) or len({words[name] for name in parts}) > 1):
        raise ConfigError(
            f"{path} holds parts of a set ({', '.join(parts)}), which are no classes.",
            hint=f"Convert each by itself: streamload convert {shlex.quote(os.path.join(path, parts[0]))} {parts[0]}.h5",
            path=path,
        )


def _from_table(folder: str, table: str) -> tuple[list[str], dict[str, NDArray[Any]], dict[str, list[str]]]:
    rows = read_rows(table)
    if not rows:
        return [], {}, {}
    column = next((name for name in NAME_COLUMNS if name in rows[0]), None)
    if column is None:
        raise ConfigError(
            f"{table} has no column with names of files; it has {', '.join(rows[0])}.", hint=f"Call it {NAME_COLUMNS[0]}.", path=table
        )
    root = os.path.realpath(folder)
    names = [str(row[column]) for row in rows]
    for name in names:
        real = os.path.realpath(os.path.join(root, name))
        if os.path.isabs(name) or not real.startswith(root + os.sep):
            raise UnsafeSourceError(f"{table} names {name!r}, which lies outside {folder}.", hint="Name files in the folder.", path=table)
    names = [os.path.normpath(name) for name in names]
    refuse_repeats(table, names)
    columns: dict[str, NDArray[Any]] = {}
    classes: dict[str, list[str]] = {}
    for name in rows[0]:
        if name == column:
            continue
        values = _numbers([row.get(name) for row in rows])
        if values is None:
            texts = [str(row.get(name)) for row in rows]
            made = labels_or_texts(texts, as_classes=True if name == LABEL else None)
            classes |= {name: made.classes} if made.classes else {}
            # A text that reads as a number among others that do not is text all the same.
            values = np.array(texts, object) if made.array is None else made.array
        columns[name] = values
    return names, columns, classes


def _numbers(values: Sequence[Any]) -> NDArray[Any] | None:
    """Values as whole numbers or as fractions; None where some are neither."""
    for kind, dtype in ((int, np.int64), (float, np.float64)):
        try:
            return np.array([kind(value) for value in values], dtype)
        except (TypeError, ValueError, OverflowError):
            continue
    return None

"""A folder of images as records: a label for each folder of a class, what a table beside them says, or a mask for each."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamload.tools.convert.readers.images import SUFFIXES, file_bytes
from streamload.tools.convert.readers.open import OpenRequest
from streamload.tools.convert.readers.records import ContainerReader, Raw

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsafeSourceError

TABLES = ("metadata.csv", "metadata.jsonl", "labels.csv", "labels.jsonl")
NAME_COLUMNS = ("file_name", "filename", "file", "image", "path", "name")
IMAGE, LABEL, MASK = "image", "label", "mask"
IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "annotations", "labels", "segmentations", "segmentation", "gt")


def matches(path: str) -> bool:
    """Whether it is a folder with images in it, or in the folders in it."""
    if not os.path.isdir(path):
        return False
    with closing(_images(path)) as names:
        return next(names, None) is not None


def opened(request: OpenRequest, threads: int) -> ContainerReader:
    """The images of a folder."""
    return ContainerReader(ImageFolder(request), request, threads=threads)


class ImageFolder:
    """Images by name, each a file of its own, the masks that belong to them, and what tables and folders say of each."""

    format_name = "images"
    addressable = True
    images = frozenset((IMAGE, MASK))

    def __init__(self, request: OpenRequest) -> None:
        self.title = request.path
        self._begins = os.path.join(request.path, "")
        self.paths = [request.path]
        self.left_out: dict[str, str] = {}
        self.damage: SourceError | None = None
        self._masks: list[str | None] = []
        self._columns: dict[str, NDArray[Any]] = {}
        self.classes: dict[str, list[str]] = {}
        pair = None if request.labels else mask_folders(request.path)
        if pair is None:
            self._names, self._columns, self.classes = _listing(request)
        else:
            self._names, self._masks = self._paired(*pair)

    def _paired(self, images: str, masks: str) -> tuple[list[str], list[str | None]]:
        """Images and their masks, by the names that they have in common."""
        by_stem: dict[str, list[str]] = {}
        for name in sorted(os.listdir(os.path.join(self.title, masks))):
            if _suffix(name) in SUFFIXES and not name.startswith("."):
                by_stem.setdefault(_mask_stem(name), []).append(name)
        doubled = next((names for names in by_stem.values() if len(names) > 1), None)
        if doubled:
            raise SchemaMismatchError(
                f"{self.title}/{masks} holds {doubled[0]} and {doubled[1]} for one image.", hint="Leave one of them.", path=self.title
            )
        names = sorted(
            name for name in os.listdir(os.path.join(self.title, images)) if _suffix(name) in SUFFIXES and not name.startswith(".")
        )
        stems = [os.path.splitext(name)[0] for name in names]
        if len(set(stems)) < len(stems):
            twice = next(stem for at, stem in enumerate(stems) if stem in stems[:at])
            raise SchemaMismatchError(
                f"{self.title}/{images} holds two images called {twice}.",
                hint="Their masks cannot be told apart: rename one.",
                path=self.title,
            )
        alone = len(set(by_stem) - set(stems))
        if alone:
            self.left_out[masks] = f"{alone:,} masks to which there is no image"
        found = [by_stem[stem][0] if stem in by_stem else None for stem in stems]
        return [f"{images}/{name}" for name in names], [None if name is None else f"{masks}/{name}" for name in found]

    def __len__(self) -> int:
        return len(self._names)

    @property
    def identity(self) -> list[Any]:
        """Names, sizes, times and labels of all images, as one digest."""
        digest = hashlib.blake2b(digest_size=16)
        for name in (*self._names, *(name for name in self._masks if name is not None)):
            status = os.stat(os.path.join(self.title, name))
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        for column, values in self._columns.items():
            digest.update(column.encode() + values.tobytes())
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
        return found | {name: values[number] for name, values in self._columns.items()}

    def begin(self, number: int, stored: str, most: int) -> bytes | None:
        """The first bytes of an image."""
        return file_bytes(self.where(number), most) if stored == IMAGE else None

    def image_nbytes(self) -> dict[str, int]:
        """Bytes of all images; of masks, too."""
        found = {IMAGE: sum(os.path.getsize(self.where(number)) for number in range(len(self)))}
        masks = [name for name in self._masks if name is not None]
        return found | ({MASK: sum(os.path.getsize(os.path.join(self.title, name)) for name in masks)} if masks else {})

    def held(self, stored: str) -> NDArray[Any] | None:
        """A field that is in memory."""
        return self._columns.get(stored)

    def close(self) -> None:
        """Nothing is held open."""


def mask_folders(path: str) -> tuple[str, str] | None:
    """The folders of images and of masks in a folder that holds just these two; None where it is none such."""
    with os.scandir(path) as entries:
        inside = {entry.name.lower(): entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    images = [inside[name] for name in IMAGE_FOLDERS if name in inside]
    masks = [inside[name] for name in MASK_FOLDERS if name in inside]
    if len(inside) != 2 or not images or not masks:
        return None
    return images[0], masks[0]


def _mask_stem(name: str) -> str:
    """The name that a mask has in common with its image: a.png, a_mask.png or a-mask.png for a.jpg."""
    return re.sub(r"[-_]?(mask|seg|label|gt)$", "", os.path.splitext(name)[0], flags=re.IGNORECASE) or os.path.splitext(name)[0]


def _images(path: str) -> Generator[str, None, None]:
    """Names of images in a folder and in the folders in it, relative to it, without order."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_file() and _suffix(entry.name) in SUFFIXES:
                yield entry.name
            elif entry.is_dir():
                for name in os.listdir(entry.path):
                    if _suffix(name) in SUFFIXES and not name.startswith("."):
                        yield f"{entry.name}/{name}"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _listing(request: OpenRequest) -> tuple[list[str], dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Names of images in order, other fields by name, and what the numbers of labels mean."""
    table = request.labels or next((name for name in (os.path.join(request.path, one) for one in TABLES) if os.path.exists(name)), None)
    if table is not None:
        return _from_table(request.path, table)
    names = sorted(_images(request.path))
    inside = [name for name in names if "/" in name]
    if not inside:
        return names, {}, {}
    if len(inside) < len(names):
        raise SchemaMismatchError(
            f"{request.path} holds {len(names) - len(inside):,} images beside folders with {len(inside):,}: what is their label?",
            hint="Move them into folders, one for each class, or give --labels FILE.csv.",
            path=request.path,
        )
    # A folder without images is a class all the same: numbers must not change when it is filled.
    with os.scandir(request.path) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name.split("/", 1)[0]] for name in names], np.int64)
    return names, {LABEL: labels}, {LABEL: classes}


def _from_table(folder: str, table: str) -> tuple[list[str], dict[str, NDArray[Any]], dict[str, list[str]]]:
    rows = _rows(table)
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
    columns: dict[str, NDArray[Any]] = {}
    classes: dict[str, list[str]] = {}
    for name in rows[0]:
        if name == column:
            continue
        values = _numbers([row.get(name) for row in rows])
        if values is None:
            texts = [str(row.get(name)) for row in rows]
            classes[name] = sorted(set(texts))
            places = {text: number for number, text in enumerate(classes[name])}
            values = np.array([places[text] for text in texts], np.int64)
        columns[name] = values
    return names, columns, classes


def _rows(table: str) -> list[dict[str, Any]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            if table.endswith(".csv"):
                return list(csv.DictReader(file))
            rows = [json.loads(line) for line in file if line.strip()]
    except OSError as error:
        raise SourceError(f"{table} cannot be read: {error.strerror}.", hint="Check its permissions.", path=table) from error
    except (ValueError, csv.Error) as error:
        raise CorruptDataError(
            f"{table} cannot be read: {error}.", hint="It is to be CSV with a header, or JSON lines.", path=table
        ) from error
    if not all(isinstance(row, dict) for row in rows):
        raise CorruptDataError(
            f"{table} holds lines that are no JSON objects.", hint='Write lines such as {"file_name": "1.png"}.', path=table
        )
    return rows


def _numbers(values: Sequence[Any]) -> NDArray[Any] | None:
    """Values as whole numbers or as fractions; None where some are neither."""
    for kind, dtype in ((int, np.int64), (float, np.float64)):
        try:
            return np.array([kind(value) for value in values], dtype)
        except (TypeError, ValueError, OverflowError):
            continue
    return None

"""A folder of images as records: a label for each folder of a class, or what a table beside the images says."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamload.tools.origins import Request
from streamload.tools.pictures import SUFFIXES, decoded, resized

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, UnsafeSourceError
from streamload.schema import Field, Schema

TABLES = ("metadata.csv", "metadata.jsonl", "labels.csv", "labels.jsonl")
NAME_COLUMNS = ("file_name", "filename", "file", "image", "path", "name")
IMAGE, LABEL = "image", "label"


def matches(path: str) -> bool:
    """Whether it is a folder with images in it, or in the folders in it."""
    return os.path.isdir(path) and next(_images(path), None) is not None


def opened(request: Request, threads: int) -> ImageFolder:
    """The images of a folder."""
    return ImageFolder(request, threads=threads)


class ImageFolder:
    """Images of one shape, decoded when they are asked for, and their labels."""

    def __init__(self, request: Request, *, threads: int) -> None:
        self._request = request
        self._names, self._columns, self.classes = _listing(request)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.title = request.path
        first = self._first() if self._names else np.zeros((*(request.size or (1, 1)), 3), np.uint8)
        fields = [Field(IMAGE, first.dtype, first.shape)]
        fields += [Field(name, values.dtype, ()) for name, values in self._columns.items()]
        self.schema = Schema(tuple(fields))

    def _first(self) -> NDArray[Any]:
        """The first image that can be decoded: it says what shape all have."""
        failed: CorruptDataError | None = None
        for name in self._names[:100]:
            try:
                return self._image(name)
            except CorruptDataError as error:
                failed = failed or error
        assert failed is not None
        raise failed

    def __len__(self) -> int:
        return len(self._names)

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it: what the labels mean."""
        return {"format": "images", "files": [os.path.basename(os.path.abspath(self._request.path))], "classes": self.classes}

    @property
    def identity(self) -> list[Any]:
        """Names, sizes, times and labels of all images, as one digest."""
        digest = hashlib.blake2b(digest_size=16)
        for name in self._names:
            status = os.stat(os.path.join(self._request.path, name))
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        for column, values in self._columns.items():
            digest.update(column.encode() + values.tobytes())
        return [len(self._names), digest.hexdigest()]

    def name_of(self, record: int) -> str:
        """The file that a record comes from."""
        return os.path.join(self._request.path, self._names[record])

    def _image(self, name: str) -> NDArray[Any]:
        image = decoded(os.path.join(self._request.path, name), mode=self._request.mode)
        return image if self._request.size is None else resized(image, self._request.size)

    def _checked(self, record: int) -> NDArray[Any]:
        image = self._image(self._names[record])
        field = self.schema[IMAGE]
        if image.shape != field.shape or image.dtype != field.dtype:
            raise SchemaMismatchError(
                f"{self.name_of(record)} is {image.dtype} {image.shape}, and the first image is {field.dtype} {field.shape}.",
                hint="Give --size HEIGHTxWIDTH to make all alike, or --on-bad skip to leave it out.",
                path=self.name_of(record),
            )
        return image

    def take(self, records: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Arrays of the given records, decoded on several threads. Raises for an image that is damaged or of another shape."""
        field = self.schema[IMAGE]
        images = np.empty((len(records), *field.shape), field.dtype)

        def put(row: int) -> None:
            images[row] = self._checked(int(records[row]))

        if self._pool is None:
            for row in range(len(records)):
                put(row)
        else:
            list(self._pool.map(put, range(len(records))))
        return {IMAGE: images} | {name: values[records] for name, values in self._columns.items()}

    def values(self, name: str, records: NDArray[np.int64]) -> NDArray[Any]:
        """A field of the given records other than the image: nothing is decoded for it."""
        return self._columns[name][records]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _images(path: str) -> Iterator[str]:
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


def _listing(request: Request) -> tuple[list[str], dict[str, NDArray[Any]], dict[str, list[str]]]:
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
    classes = sorted(entry.name for entry in os.scandir(request.path) if entry.is_dir() and not entry.name.startswith("."))
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
    except (OSError, ValueError, csv.Error) as error:
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

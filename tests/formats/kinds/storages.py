"""Every way in which records of every kind are stored, by name: written, and with what they must be delivered as."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from PIL import Image

import streamload as sl
from kinds import arrow_kinds, hdf5_kinds, numpy_kinds, values
from streamload.ragged import Ragged

Expected = Mapping[str, Any]
"""By field, all records."""
PICTURE = "picture"
SIZE = (6, 8)
BAD = (0, 3, 17, 18, 19, 41, 58)
"""Records whose picture is cut short."""


def picture(record: int) -> np.ndarray:
    """An image that tells its record."""
    return np.full((*SIZE, 3), 3 * record, np.uint8)


def pictures(records: int = values.RECORDS) -> list[bytes]:
    """Images as PNG, some of which cannot be decoded."""
    found: list[bytes] = []
    for record in range(records):
        stream = io.BytesIO()
        Image.fromarray(picture(record)).save(stream, format="PNG")
        found.append(stream.getvalue()[: 40 if record in BAD else None])
    return found


def _padded(images: list[bytes]) -> np.ndarray:
    rows = np.zeros((len(images), max(map(len, images))), np.uint8)
    for row, image in zip(rows, images, strict=True):
        row[: len(image)] = np.frombuffer(image, np.uint8)
    return rows


Writer = Callable[[Path, int, bool], Expected]


def _hdf5(write: Callable[..., None]) -> Writer:
    def stored(path: Path, records: int, large: bool) -> Expected:
        held = hdf5_kinds.arrays(records=records, large=large)
        images = [np.frombuffer(one, np.uint8) for one in pictures(records)]
        write(path, held if large else held | {PICTURE: (images, h5py.vlen_dtype(np.dtype("u1")))})
        return hdf5_kinds.expected(path)

    return stored


def _numpy(write: Callable[..., None]) -> Writer:
    def stored(path: Path, records: int, large: bool) -> Expected:
        held = numpy_kinds.arrays(records=records, large=large)
        images = np.array(pictures(records)) if path.suffix == ".npy" else _padded(pictures(records))
        write(path, held if large else held | {PICTURE: images})
        return numpy_kinds.expected(path)

    return stored


def _arrow(write: Callable[..., None]) -> Writer:
    def stored(path: Path, records: int, large: bool) -> Expected:
        table, expected = arrow_kinds.table(records=records, large=large)
        if not large:
            table = table.append_column(PICTURE, pa.array(pictures(records), pa.binary()))
        write(path, table)
        return {name: one for name, one in expected.items() if "parquet" not in path.name or "M8[s]" not in name}

    return stored


STORAGES: dict[str, Writer] = {
    **{name: _hdf5(write) for name, write in hdf5_kinds.LAYOUTS.items()},
    **{name: _numpy(write) for name, write in numpy_kinds.LAYOUTS.items()},
    **{name: _arrow(write) for name, write in arrow_kinds.LAYOUTS.items()},
}


LARGE_RECORDS = 10


class Library:
    """Files of every storage, each written and opened once, when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[tuple[str, bool], tuple[Path, Expected]] = {}
        self._sources: dict[tuple[object, ...], sl.Source] = {}

    def file(self, storage: str, *, large: bool = False) -> tuple[Path, Expected]:
        """The path of a file, and its records, without the pictures."""
        if (storage, large) not in self._files:
            ending = {"npy": ".npy", "npz": ".npz"}.get(storage.split()[0], "")
            path = self._folder / f"{len(self._files)} {storage}{ending}"
            expected = STORAGES[storage](path, LARGE_RECORDS if large else values.RECORDS, large)
            self._files[storage, large] = path, {name: one for name, one in expected.items() if name != PICTURE}
        return self._files[storage, large]

    def source(self, storage: str, *, large: bool = False, pictures: bool = False, how: str = "") -> tuple[sl.Source, Expected]:
        """A source over such a file, opened already by whoever asked with the same `how`; it holds no files open."""
        path, expected = self.file(storage, large=large)
        key = storage, large, pictures, how
        if key not in self._sources:
            decode = {"decode": {PICTURE: SIZE}} if pictures else {}
            self._sources[key] = sl.open(path, fields=[PICTURE] * pictures + list(expected), **decode)
        return self._sources[key], expected


def differences(found: Mapping[str, Any], expected: Expected, records: np.ndarray) -> dict[str, str]:
    """By field, in what a batch of these records differs from what is expected; {} where it does not."""
    told = {name: values.difference(found[name], taken(one, records)) for name, one in expected.items()}
    return {name: text for name, text in told.items() if text}


def taken(field: Any, records: np.ndarray) -> Any:
    """Some records of a field."""
    return field[np.asarray(records)] if isinstance(field, Ragged) else np.ascontiguousarray(field[records])

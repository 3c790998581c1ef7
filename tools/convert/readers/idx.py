"""IDX files, as MNIST comes: images and the labels beside them, also as .gz."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError
from streamload.schema import Field, Schema
from streamload.sizes import format_nbytes
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.record_source_defaults import RecordSourceDefaults

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 8
MOST_UNPACKED_NBYTES = 4 << 30
"""What a .gz may unpack to: it is held in memory."""


def matches(path: str) -> bool:
    """Whether it is a file that begins as IDX files do, packed or not, or a folder of those that MNIST consists of."""
    if os.path.isdir(path):
        return any(map(matches, _images_in(path)))
    if not os.path.isfile(path):
        return False
    try:
        with _file(path) as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in DTYPES and 0 < head[3] <= MOST_DIMENSIONS


def opened(request: OpenRequest, threads: int) -> Idx:
    """The records of an IDX file; of a folder, those for training. Raises ConfigError where several could be meant."""
    if not os.path.isdir(request.path):
        return Idx(request)
    found = _images_in(request.path)
    training = [path for path in found if os.path.basename(path).startswith("train")]
    chosen = training or found
    if len(chosen) > 1:
        named = ", ".join(os.path.basename(path) for path in chosen)
        raise ConfigError(f"{request.path} holds several sets of images: {named}.", hint="Name one of these files.", path=request.path)
    return Idx(replace(request, path=chosen[0]))


def _images_in(folder: str) -> list[str]:
    """Files of images in a folder, by the names that are in use."""
    names = sorted(name for name in os.listdir(folder) if "images-idx3" in name or "images.idx3" in name)
    # The same file may lie there packed as well.
    return [os.path.join(folder, name) for name in names if name.removesuffix(".gz") == name or name.removesuffix(".gz") not in names]


class Idx(RecordSourceDefaults):
    """An array whose first axis counts records; the labels that stand beside it are a second field."""

    format_name = "IDX"

    def __init__(self, request: OpenRequest) -> None:
        first = _array(request.path)
        beside = labels_beside(request.path)
        arrays = {"label" if first.ndim == 1 else "image": first}
        self.paths = [request.path]
        if beside is not None:
            labels = _array(beside)
            if len(labels) != len(first):
                raise SchemaMismatchError(
                    f"{request.path} holds {len(first):,} records, and {beside} {len(labels):,} labels.",
                    hint="Put the labels that belong to it beside it.",
                    path=beside,
                )
            arrays["label"] = labels
            self.paths.append(beside)
        self._arrays = arrays
        self.title = request.path
        self.schema = Schema(tuple(Field(name, one.dtype.newbyteorder("="), one.shape[1:]) for name, one in arrays.items()))

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    @property
    def identity(self) -> list[Any]:
        """Sizes and times of the files."""
        return [[os.path.realpath(path), os.path.getsize(path), os.stat(path).st_mtime_ns] for path in self.paths]

    def take(self, records: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Arrays of the given records."""
        return {name: self.values(name, records) for name in self._arrays}

    def values(self, name: str, records: NDArray[np.int64]) -> NDArray[Any]:
        """One array's."""
        values = self._arrays[name]
        return values[records].astype(values.dtype.newbyteorder("="), copy=False)


def labels_beside(path: str) -> str | None:
    """The file with the labels of a file of images, by the names that are in use."""
    folder, name = os.path.split(path)
    for images, labels in (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1"), ("images", "labels")):
        if images in name:
            bare = name.replace(images, labels).removesuffix(".gz")
            for there in (bare, bare + ".gz"):
                if os.path.isfile(os.path.join(folder, there)) and there != name:
                    return os.path.join(folder, there)
    return None


def _file(path: str) -> Any:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")


def _array(path: str) -> NDArray[Any]:
    """The whole array: mapped where it is not packed."""
    try:
        with _file(path) as file:
            head = file.read(4)
            lengths = file.read(4 * head[3])
            shape = tuple(np.frombuffer(lengths, ">u4").astype(int).tolist())
            dtype = np.dtype(DTYPES[head[2]])
            nbytes = math.prod(shape) * dtype.itemsize
            if len(shape) != head[3]:
                raise EOFError("its head is cut short")
            if not isinstance(file, gzip.GzipFile):
                return _mapped(path, 4 + 4 * head[3], dtype, shape, nbytes)
            if nbytes > MOST_UNPACKED_NBYTES:
                raise CorruptDataError(
                    f"{path} says to unpack to {format_nbytes(nbytes)}; more than {format_nbytes(MOST_UNPACKED_NBYTES)} are not.",
                    hint="Unpack it first: gunzip -k.",
                    path=path,
                )
            data = file.read(nbytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorruptDataError(f"{path} is damaged: {error}.", hint="Fetch it again.", path=path) from error
    if len(data) != nbytes:
        raise _wrong_size(path, len(data), nbytes)
    return np.frombuffer(data, dtype).reshape(shape)


def _mapped(path: str, offset: int, dtype: np.dtype, shape: tuple[int, ...], nbytes: int) -> NDArray[Any]:
    found = os.path.getsize(path) - offset
    if found != nbytes:
        raise _wrong_size(path, found, nbytes)
    return np.memmap(path, dtype, "r", offset, shape) if nbytes else np.zeros(shape, dtype)


def _wrong_size(path: str, found: int, nbytes: int) -> CorruptDataError:
    return CorruptDataError(f"{path} holds {found:,} bytes of values, and its head says {nbytes:,}.", hint="Fetch it again.", path=path)

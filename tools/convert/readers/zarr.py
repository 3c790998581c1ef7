"""Zarr stores, of version 2 and 3: arrays that count records along their first axis, a field each."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SourceError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.field_guesses import plain_names
from streamload.schema import Field, Schema
from streamload.tools.console import meant
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.record_source_defaults import RecordSourceDefaults

MARKS = ("zarr.json", ".zarray", ".zgroup")
HELD_NBYTES = 1 << 28
"""Chunks side by side that hold one stretch of records are kept until another stretch is asked for, unless they are larger."""
HARMLESS = {
    "bytes", "endian", "transpose", "sharding_indexed", "blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "lzf", "snappy",
    "shuffle", "bitshuffle", "delta", "astype", "bitround", "fixedscaleoffset", "quantize", "packbits", "scale_offset", "cast_value",
    "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3", "pcodec", "zfpy",
}  # fmt: skip
"""Codecs that turn bytes into numbers, and do nothing else."""


def matches(path: str) -> bool:
    """Whether it is the folder of a store, or one that was zipped."""
    return any(os.path.isfile(os.path.join(path, mark)) for mark in MARKS) or (path.endswith(".zarr.zip") and os.path.isfile(path))


def opened(request: OpenRequest, threads: int) -> ZarrStore:
    """The records of a store."""
    return ZarrStore(request)


class ZarrStore(RecordSourceDefaults):
    """Arrays of one length. A chunk is decoded once for all its records, as long as they are asked for together."""

    format_name = "Zarr"
    files = None

    def __init__(self, request: OpenRequest) -> None:
        self.title = request.path
        self.paths = [request.path]
        self.left_out: dict[str, str] = {}
        self._store, found = _arrays(request.path)
        self._held: dict[str, tuple[int, NDArray[Any]]] = {}
        try:
            self._arrays = self._chosen(found, request.fields)
        except BaseException:
            self.close()
            raise
        self._records = int(next(iter(self._arrays.values())).shape[0])
        self.schema = Schema(
            tuple(Field(name, np.dtype(one.dtype).newbyteorder("="), tuple(one.shape[1:])) for name, one in self._arrays.items())
        )
        self.addressable = all(one.chunks[0] == 1 for one in self._arrays.values())

    def __len__(self) -> int:
        return self._records

    @property
    def stored(self) -> dict[str, str]:
        """How each field lies in the store: its chunks and codecs."""
        told: dict[str, str] = {}
        for name, one in self._arrays.items():
            names = [codec.rpartition(".")[2] for codec in _codecs(one.metadata)]
            shape = f" {tuple(one.chunks[1:])}" if len(one.chunks) > 1 else ""
            told[name] = ", ".join([f"chunks of {one.chunks[0]:,} records{shape}", *(codec for codec in names if codec != "bytes")])
        return told

    @property
    def identity(self) -> list[Any]:
        """Names, sizes and times of all files, as one digest."""
        digest = hashlib.blake2b(digest_size=16)
        for path in sorted(_files(self.title)):
            status = os.stat(path)
            digest.update(f"{path[len(self.title) :]}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return [os.path.realpath(self.title), digest.hexdigest()]

    def take(self, records: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Arrays of the given records, in the order given. Raises CorruptDataError for a chunk that cannot be decoded."""
        return {name: self.values(name, records) for name in self.schema.names}

    def values(self, name: str, records: NDArray[np.int64]) -> NDArray[Any]:
        """One array's."""
        field, array = self.schema[name], self._arrays[name]
        made = np.empty((len(records), *field.shape), field.dtype)
        if len(records):
            blocks = records // array.chunks[0]
            cuts = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(records)]
            for start, stop in pairwise(cuts):
                first, block = self._block(field, array, int(blocks[start]), records[start:stop])
                made[start:stop] = block[records[start:stop] - first]
        return made

    def _block(self, field: Field, array: Any, number: int, records: NDArray[np.int64]) -> tuple[int, NDArray[Any]]:
        """Records that lie in one chunk, or in chunks side by side, and the number of the first."""
        start, stop = number * array.chunks[0], min((number + 1) * array.chunks[0], self._records)
        held = self._held.get(field.name)
        if held is not None and held[0] == start:
            return held
        whole = (stop - start) * field.nbytes <= HELD_NBYTES
        if not whole:
            start, stop = int(records.min()), int(records.max()) + 1
        try:
            block = np.asarray(array[start:stop])
        except Exception as error:  # each codec has errors of its own
            raise CorruptDataError(
                f"{self.title}: records {start:,} to {stop - 1:,} of {field.name} cannot be read: {error}.",
                hint="A chunk is damaged: fetch it again, or leave its records out with --on-bad skip.",
                path=self.title,
            ) from error
        if whole:
            self._held[field.name] = (start, block)
        return start, block

    def _chosen(self, found: dict[str, Any], fields: dict[str, str] | None) -> dict[str, Any]:
        """The arrays of the fields that were asked for, or all that go with the largest."""
        usable = {name: array for name, array in found.items() if self._usable(name, array)}
        if fields is not None:
            for stored in fields.values():
                if stored not in usable:
                    why = self.left_out.get(stored)
                    raise ConfigError(f"{self.title} has no array {stored!r}{': ' + why if why else ''}.", hint=meant(stored, usable))
            chosen = {name: usable[stored] for name, stored in fields.items()}
            if len({array.shape[0] for array in chosen.values()}) > 1:
                lengths = ", ".join(f"{name} {array.shape[0]:,}" for name, array in chosen.items())
                raise ConfigError(f"{self.title}: the arrays differ in length: {lengths}.", hint="Choose --fields of one length.")
            return chosen
        if not usable:
            told = "; ".join(f"{name} holds {why}" for name, why in self.left_out.items()) or "it has no arrays"
            raise UnsupportedFeatureError(f"{self.title} holds nothing that can be stored: {told}.", hint="See --fields.", path=self.title)
        records = max(usable.values(), key=lambda array: math.prod(array.shape) * np.dtype(array.dtype).itemsize).shape[0]
        for name, array in usable.items():
            if array.shape[0] != records:
                self.left_out[name] = f"{array.shape[0]:,} records, where the largest array has {records:,}"
        return {name: usable[stored] for name, stored in plain_names([one for one in usable if usable[one].shape[0] == records]).items()}

    def _usable(self, name: str, array: Any) -> bool:
        """Whether an array can be a field: numbers, decoded by codecs that do nothing else. Raises UnsafeSourceError for pickles."""
        for codec in _codecs(array.metadata):
            if "pickle" in codec:
                raise UnsafeSourceError(
                    f"{self.title}: {name} is pickled ({codec}), which could run anything.",
                    hint="Choose other arrays: --fields.",
                    path=self.title,
                )
            if codec not in HARMLESS:
                self.left_out[name] = f"what the codec {codec!r} packed, which is not known here"
                return False
        try:
            kind = np.dtype(array.dtype)
        except TypeError:
            kind = np.dtype(object)
        if kind.kind not in "biuf" or not array.shape:
            self.left_out[name] = f"{array.dtype}, which is no type of numbers" if array.shape else "one number for all records"
            return False
        return True

    def close(self) -> None:
        """Let go of the store and of what was decoded."""
        self._held.clear()
        self._store.close()


def _files(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
    for folder, _, names in os.walk(path):
        for name in names:
            yield os.path.join(folder, name)


def _arrays(path: str) -> tuple[Any, dict[str, Any]]:
    """The store, and its arrays by name."""
    try:
        import zarr
    except ImportError as error:
        raise ConfigError(f"{path} is a Zarr store, and zarr is not installed.", hint="pip install 'streamload[zarr]'") from error
    try:
        store: Any = zarr.storage.ZipStore(path, mode="r") if os.path.isfile(path) else zarr.storage.LocalStore(path, read_only=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            top: Any = zarr.open(store, mode="r")
            if isinstance(top, zarr.Array):
                return store, {"data": top}
            return store, {name: one for name, one in sorted(top.members(max_depth=None)) if isinstance(one, zarr.Array)}
    except SourceError:
        raise
    except Exception as error:  # metadata can be wrong in any way
        raise CorruptDataError(f"{path} cannot be opened as a Zarr store: {error}.", hint="Is it whole?", path=path) from error


def _codecs(metadata: Any) -> Iterator[str]:
    """The names of all codecs of an array, those inside of others too."""
    waiting: list[Any] = [metadata.to_dict()]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for key in ("codecs", "index_codecs", "filters", "compressor", "compressors", "configuration", "serializer"):
                waiting.append(one.get(key))
            if isinstance(one.get("name"), str) and "chunk_shape" not in one:
                yield one["name"].removeprefix("numcodecs.")
            if isinstance(one.get("id"), str):
                yield one["id"].removeprefix("numcodecs.")
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)

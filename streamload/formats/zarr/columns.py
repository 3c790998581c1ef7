"""Arrays of stores as columns: chunks that are packed are decoded, others are read by offset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamload.codecs import FilterPipeline
from streamload.formats.columns.chunk_reader import ChunkedFile, ChunkNames
from streamload.formats.columns.chunked import ChunkedColumn
from streamload.formats.columns.raw import RawRecords
from streamload.formats.tables.fields import TablePart
from streamload.formats.zarr.metadata import ArrayInfo
from streamload.formats.zarr.places import Places
from streamload.schema import Field
from streamload.source import Column


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredArray:
    """One array, and where its chunks lie among the files of a source."""

    info: ArrayInfo
    places: Places
    first: int
    """The number of the store's first file among those of the source."""
    folder: str | None
    """Where its chunks lie, if in files of their own."""

    @property
    def chunk_nbytes(self) -> int:
        """Of a chunk, decoded."""
        return math.prod(self.info.chunk) * self.info.stored.itemsize

    @property
    def raw(self) -> bool:
        """Whether each chunk holds whole records as they are."""
        whole = self.info.chunk[1:] == self.info.shape[1:] and not self.info.chain.filters
        return whole and bool((self.places.offsets >= 0).all()) and bool((self.places.nbytes == self.chunk_nbytes).all())


def column_of(field: Field, parts: Sequence[TablePart], stands: object) -> Column:
    """The column of a field."""
    arrays: list[StoredArray] = [part.stored.detail for part in parts]
    if all(one.raw for one in arrays) and len({one.info.stored for one in arrays}) <= 1:
        return _raw(field, arrays)
    return ChunkedColumn(field=field, parts=tuple(map(_chunked, arrays)), label=label_of(arrays))


def label_of(arrays: Sequence[StoredArray]) -> str:
    """How they are stored, for people."""
    info = arrays[0].info
    records = info.chunk[0]
    box = f" {tuple(info.chunk[1:])}" if len(info.chunk) > 1 else ""
    shards = "" if info.sharding is None else f" in shards of {info.sharding.shard[0]:,}"
    packed = " + ".join(info.chain.names) or "not packed"
    more = f", and {len(arrays) - 1:,} stores more" if len(arrays) > 1 else ""
    return f"chunks of {records:,} records{box}{shards}, {packed}{more}"


def _raw(field: Field, arrays: Sequence[StoredArray]) -> RawRecords:
    starts, numbers, offsets, first = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], 0
    for one in arrays:
        starts.append(first + np.arange(len(one.places.offsets), dtype=np.int64) * one.info.chunk[0])
        numbers.append((one.places.numbers + one.first).astype(np.int32))
        offsets.append(one.places.offsets)
        first += one.info.shape[0]
    offset = np.concatenate(offsets)
    return RawRecords(
        field=field,
        stored=arrays[0].info.stored if arrays else field.dtype,
        starts=np.concatenate([*starts, np.array([first], np.int64)]),
        numbers=np.concatenate(numbers),
        offsets=offset,
        strides=np.full(len(offset), field.nbytes, np.int64),
        blocks=True,
        label=label_of(arrays) if arrays else "no records",
    )


def _chunked(array: StoredArray) -> ChunkedFile:
    info, places = array.info, array.places
    numbers = (places.numbers + array.first).astype(np.int32)
    return ChunkedFile(
        number=int(numbers[0]) if len(numbers) else array.first,
        records=info.shape[0],
        chunk_shape=info.chunk,
        offsets=places.offsets,
        nbytes=places.nbytes,
        masks=np.zeros(len(numbers), np.uint32),
        filters=info.chain.filters,
        stored=info.stored,
        fill=info.fill,
        numbers=numbers if len(np.unique(numbers)) > 1 else None,
        names=_names(array),
    )


def _names(array: StoredArray) -> ChunkNames | None:
    """What files of chunks are called that may be added; none where no chunk is missing whose file, or shard, is missing too."""
    info, missing = array.info, np.flatnonzero(array.places.offsets < 0)
    if array.folder is None or not len(missing):
        return None
    outer = info.chunk if info.sharding is None else info.sharding.shard
    grid = tuple(-(-side // box) for side, box in zip(info.shape, info.chunk, strict=True))
    inner = tuple(large // small for large, small in zip(outer, info.chunk, strict=True))
    return ChunkNames(folder=array.folder, prefix=info.prefix, separator=info.separator, grid=grid, inner=inner)


def scratch_nbytes(info: ArrayInfo) -> int:
    """What decoding a chunk takes, besides its stored bytes."""
    nbytes = math.prod(info.chunk) * info.stored.itemsize
    return nbytes + FilterPipeline(info.chain.filters, info.stored.itemsize, nbytes).scratch_nbytes

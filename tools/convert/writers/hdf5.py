"""Records to HDF5: contiguous and written past the library, or in chunks that are compressed here, several at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamload.formats.hdf5.discovery.vlen_elements import DTYPE, LISTS, SHAPE
from streamload.formats.hdf5.metadata import CLASSES, FIELD_NAME
from streamload.memory.limits import usable_cores
from streamload.ragged import Ragged
from streamload.schema import ARRAY, TEXT, Field, Schema
from streamload.tools.convert.writers.hdf5_limits import MOST_TEXTS, says_its_name
from streamload.tools.convert.writers.registry import CODED_NBYTES, Annotations, WriteOptions
from streamload.tools.convert.writers.text_limits import require_texts
from streamload.tools.files.direct_io import ALIGNMENT, LEAST_NBYTES, DirectStream, direct_descriptor

CHUNK_NBYTES = 1024**2
"""Chunks hold about so much, where nothing else was asked for."""
DEFLATE, SHUFFLE, ZSTD = 1, 2, 32015
LEVELS = {"gzip": 4, "zstd": 3}


class ContiguousDataset:
    """A field without chunks: its place is allotted by the library, its bytes are written straight to the file."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._at = 0
        self._stream: DirectStream | None = None

    def create(self, file: h5py.File, records: int) -> None:
        """Allot the place."""
        creation = _creation()
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((records, *self.field.shape))
        kind = _type_of(self.field.dtype)
        name = self.field.name.encode()
        dataset = h5py.h5d.create(file.id, name, kind, space, dcpl=creation, lcpl=_parents())
        self._at = dataset.get_offset() or 0

    def begin(self, fd: int, direct: int | None, records: int) -> None:
        """Write from now on to the file that these are descriptors of."""
        large = self.field.nbytes * records >= LEAST_NBYTES
        self._stream = DirectStream(fd, direct if large else None, self._at)

    def append(self, values: NDArray[Any]) -> None:
        """Write records behind those that are there."""
        assert self._stream is not None
        self._stream.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def settled(self) -> list[tuple[int, int]]:
        """Bytes of the file that were written since this was last asked."""
        assert self._stream is not None
        return self._stream.settled()

    def finish(self) -> None:
        """Write what is left."""
        assert self._stream is not None
        self._stream.flush()


class ChunkedDataset:
    """A field in chunks; records wait until one is full."""

    def __init__(self, field: Field, style: WriteOptions, pool: ThreadPoolExecutor) -> None:
        self.field = field
        self._style = style
        self._pool = pool
        self._records = style.chunk_records or max(1, CHUNK_NBYTES // max(1, field.nbytes))
        self._waiting: list[NDArray[Any]] = []
        self._count = self._written = 0
        self._dataset: Any = None

    def create(self, file: h5py.File, records: int) -> None:
        """Set up chunks and filters."""
        self._records = min(self._records, records)
        creation = _creation()
        creation.set_chunk((self._records, *self.field.shape))
        level = self._style.level or LEVELS.get(self._style.codec, 0)
        if self._style.codec != "none" and self.field.dtype.itemsize > 1:
            creation.set_shuffle()
        if self._style.codec == "gzip":
            creation.set_deflate(level)
        elif self._style.codec == "zstd":
            # Optional, since the library here may lack the filter: chunks are compressed before it sees them.
            creation.set_filter(ZSTD, h5py.h5z.FLAG_OPTIONAL, (level,))
        space = h5py.h5s.create_simple((records, *self.field.shape))
        kind = _type_of(self.field.dtype)
        self._dataset = h5py.h5d.create(file.id, self.field.name.encode(), kind, space, dcpl=creation, lcpl=_parents())

    def reopen(self, file: h5py.File) -> None:
        """The same in a file that was opened again."""
        self._dataset = file[self.field.name].id

    def append(self, values: NDArray[Any]) -> None:
        """Take records, and write the chunks that they fill."""
        self._waiting.append(values)
        self._count += len(values)
        if self._count >= self._records:
            self._write(self._count // self._records)

    def _write(self, chunks: int) -> None:
        whole = np.concatenate(self._waiting)
        used = chunks * self._records
        encode = _encoder(self._style, self.field.dtype.itemsize)
        parts = [np.ascontiguousarray(whole[at : at + self._records]) for at in range(0, used, self._records)]
        for packed in self._pool.map(encode, parts):
            self._dataset.write_direct_chunk((self._written, *(0 for _ in self.field.shape)), packed, 0)
            self._written += self._records
        self._waiting = [whole[used:].copy()]
        self._count -= used

    def finish(self) -> None:
        """Write the last chunk, padded with zeros, as HDF5 stores it."""
        if self._count:
            left = np.concatenate(self._waiting)
            self._waiting = [np.concatenate([left, np.zeros((self._records - len(left), *self.field.shape), self.field.dtype)])]
            self._count = self._records
            self._write(1)
        self._dataset = None


class RaggedDataset:
    """A field whose records differ in length, in the library's heap: text and bytes, or numbers."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._at = 0
        self._dataset: Any = None
        self._base = np.dtype(f"i{field.dtype.itemsize}") if field.dtype.kind in "Mm" else field.dtype
        self._kind = h5py.string_dtype() if field.ragged == TEXT else h5py.vlen_dtype(self._base)

    def create(self, file: h5py.File, records: int) -> None:
        """Set it up."""
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_obj_track_times(False)
        space = h5py.h5s.create_simple((records,))
        name = self.field.name.encode()
        made = h5py.h5d.create(file.id, name, h5py.h5t.py_create(self._kind, logical=True), space, dcpl=creation, lcpl=_parents())
        self._dataset = h5py.Dataset(made)
        if self.field.ragged == ARRAY:
            said = {LISTS: ARRAY, SHAPE: self.field.shape, DTYPE: self.field.dtype.str if self._base != self.field.dtype else ""}
            self._dataset.attrs.update({name: one for name, one in said.items() if len(one)})

    def reopen(self, file: h5py.File) -> None:
        """The same in a file that was opened again."""
        self._dataset = file[self.field.name]

    def append(self, values: Ragged) -> None:
        """Write records behind those that are there."""
        if self.field.ragged == TEXT:
            require_texts(values, self.field.name, "hdf5")
        held = np.empty(len(values), self._kind)
        for at, (start, stop) in enumerate(pairwise(values.offsets.tolist())):
            one = values.values[start:stop]
            held[at] = one.tobytes() if self.field.ragged == TEXT else one.reshape(-1).view(self._base)
        if len(values):
            place = self._dataset.id.get_space()
            place.select_hyperslab((self._at,), (len(values),))
            # Not by h5py's own way, which makes one array of records that happen to be as long as each other.
            self._dataset.id.write(h5py.h5s.create_simple((len(values),)), place, held, h5py.h5t.py_create(self._kind))
        self._at += len(values)

    def finish(self) -> None:
        """Let go of it."""
        self._dataset = None


class Hdf5Writer:
    """One file: datasets beside each other, one a field."""

    def __init__(self, path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> None:
        self._pool = ThreadPoolExecutor(max(1, usable_cores()))
        self._open: list[int] = []
        """Descriptors."""
        chunked = records > 0 and (style.codec != "none" or style.chunk_records is not None)
        fixed = [field for field in schema if not field.ragged]
        self._chunked: list[ChunkedDataset | RaggedDataset] = [
            ChunkedDataset(f, style, self._pool) for f in fixed if chunked and f.nbytes >= CODED_NBYTES
        ]
        coded = {one.field.name for one in self._chunked}
        self._contiguous = [ContiguousDataset(field) for field in fixed if field.name not in coded]
        self._chunked += [RaggedDataset(field) for field in schema.ragged]
        # Large fields begin where a direct write, and a direct read, may begin.
        self._file = h5py.File(path, "x", libver=("earliest", "v110"), alignment_threshold=LEAST_NBYTES, alignment_interval=ALIGNMENT)
        for dataset in (*self._contiguous, *self._chunked):
            dataset.create(self._file, records)
            _annotate(self._file, dataset.field, said)
        self._file.close()
        self._fd = os.open(path, os.O_RDWR)
        self._open.append(self._fd)
        self._direct = direct_descriptor(path, os.O_RDWR)
        if self._direct is not None:
            self._open.append(self._direct)
        nbytes = sum(one.field.nbytes for one in self._contiguous) * records
        if nbytes and hasattr(os, "posix_fallocate"):
            # A full disk is known now, and not after an hour.
            os.posix_fallocate(self._fd, 0, max(os.fstat(self._fd).st_size, nbytes))
        for contiguous in self._contiguous:
            contiguous.begin(self._fd, self._direct, records)
        if self._chunked:
            self._file = h5py.File(path, "r+", libver=("earliest", "v110"), locking=False)
            for one in self._chunked:
                one.reopen(self._file)

    def append(self, taken: Mapping[str, Any]) -> None:
        """Write records behind those that are there."""
        for contiguous in self._contiguous:
            contiguous.append(taken[contiguous.field.name])
        for chunked in self._chunked:
            chunked.append(taken[chunked.field.name])

    def settled(self) -> list[tuple[int, int]]:
        """Bytes of fields without chunks that were written since this was last asked."""
        return [span for one in self._contiguous for span in one.settled()]

    def close(self) -> None:
        """Finish the file."""
        for field in (*self._contiguous, *self._chunked):
            field.finish()
        self._pool.shutdown()
        if self._chunked:
            self._file.close()
        os.fsync(self._fd)
        self._let_go()

    def abandon(self) -> None:
        """Let go of descriptors, once no thread writes to them any more."""
        self._pool.shutdown(cancel_futures=True)
        self._let_go()

    def _let_go(self) -> None:
        self._pool.shutdown(wait=False)
        while self._open:
            os.close(self._open.pop())

    def __del__(self) -> None:
        """Close what was left open by an error: nothing more is written."""
        self._let_go()


def _type_of(dtype: np.dtype) -> Any:
    """The type of a dataset: moments and durations as h5py has them, opaque and with their dtype in a tag."""
    return h5py.h5t.py_create(h5py.opaque_dtype(dtype) if dtype.kind in "Mm" else dtype, logical=True)


def _creation() -> Any:
    """Properties of a dataset: no times, since the same records are to give the same bytes."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_obj_track_times(False)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return creation


def _annotate(file: h5py.File, field: Field, said: Annotations) -> None:
    """Say of a dataset what its numbers mean, what else is known of it, and its name where that could be taken otherwise."""
    attributes = dict(said.attributes.get(field.name, {}))
    words = said.words(field)
    if words:
        # A long list of texts is more than an attribute holds, and one text lies elsewhere.
        attributes[CLASSES] = words if len(words) <= MOST_TEXTS else json.dumps(words)
    if says_its_name(field.name):
        attributes[FIELD_NAME] = field.name
    for name, value in attributes.items():
        texts = isinstance(value, (list, tuple))
        file[field.name].attrs.create(name, np.array(value, h5py.string_dtype()) if texts else value)


def _parents() -> Any:
    """Groups on the way to a dataset are made as needed."""
    link = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    link.set_create_intermediate_group(True)
    return link


def _encoder(style: WriteOptions, itemsize: int) -> Callable[[NDArray[Any]], bytes]:
    """What makes stored bytes of a chunk."""
    import imagecodecs

    level = style.level or LEVELS.get(style.codec, 0)

    def shuffled(chunk: NDArray[Any]) -> bytes:
        data = chunk.reshape(-1).view(np.uint8)
        return data.tobytes() if itemsize == 1 else np.ascontiguousarray(data.reshape(-1, itemsize).T).tobytes()

    if style.codec == "gzip":
        return lambda chunk: bytes(imagecodecs.zlib_encode(shuffled(chunk), level=level))
    if style.codec == "zstd":
        return lambda chunk: bytes(imagecodecs.zstd_encode(shuffled(chunk), level=level))
    return lambda chunk: chunk.tobytes()


def writer(path: str, schema: Schema, records: int, style: WriteOptions, said: Annotations) -> Hdf5Writer:
    """A writer of one file."""
    return Hdf5Writer(path, schema, records, style, said)

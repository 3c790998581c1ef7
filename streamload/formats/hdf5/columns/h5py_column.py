"""Fields that only the HDF5 library can read: whole chunks at a time, in the process that needs them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.images.image_fields import LookedAt
from streamload.reuse.lru import LRU
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles

MOST_FILES = 16
"""Files that one reader keeps open."""
SPANS_KEPT = 3
"""Decoded spans that one reader keeps."""

_inherited: list[Any] = []
"""Handles that came along with a fork: kept, because closing them would reach into the parent's library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class H5pyDataset:
    """One dataset of one file."""

    number: int
    """Of the file, among the source's fingerprints."""
    records: int
    """In this file."""
    span: int
    """Records read at a time: a chunk's, where there are chunks."""
    path: str
    """Of the dataset."""
    axis: int | None
    """Which of its axes counts records; None where all of it is one."""
    sources: tuple[int, ...]
    """Numbers of the other files that a virtual dataset draws on."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class H5pyColumn(ColumnDefaults):
    """One field read through h5py."""

    field: Field
    """As it is delivered."""
    member: tuple[str, ...]
    """Names of compound members down to the field; () for a plain dataset."""
    parts: tuple[H5pyDataset, ...]
    """The files, in order."""
    cache_nbytes: int
    """The HDF5 library's own chunk cache, for each file."""
    plugins: bool
    """Whether the filters of hdf5plugin must be registered."""
    stride_nbytes: int
    """Bytes of a record as the library reads it: more than the field's where it is a member of a compound."""
    label: str
    """How it is stored, for people."""
    looked_at: LookedAt | None = None  # pyright: ignore[reportIncompatibleMethodOverride]  (frozen: it can be read alone)
    """What its first records begin as, where they are bytes: seen where the library can do no harm."""

    @property
    def addressable(self) -> bool:
        """Never: the library reads spans of records."""
        return False

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where spans begin."""
        starts = np.cumsum([0, *(part.records for part in self.parts)])
        pieces = [np.arange(start, start + part.records, part.span) for start, part in zip(starts[:-1].tolist(), self.parts, strict=True)]
        return np.concatenate([*pieces, starts[-1:]]).astype(np.int64)

    @property
    def scratch_nbytes(self) -> int:
        """The spans kept, one in the making, and the library's caches."""
        span = max((part.span for part in self.parts), default=0)
        return (SPANS_KEPT + 1) * span * self.stride_nbytes + min(MOST_FILES, len(self.parts)) * self.cache_nbytes

    @property
    def single_threaded(self) -> bool:
        """Always: the HDF5 library lets in one thread at a time."""
        return True

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader that opens files in the calling process when it is asked for records."""
        return H5pyReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class H5pyReader(ReaderDefaults):
    """Reads spans through h5py, keeps the last few, and never lets a handle cross into another process."""

    def __init__(self, column: H5pyColumn, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._starts = np.cumsum([0, *(part.records for part in column.parts)])
        self._pid = os.getpid()
        self._open = LRU[int, Any](limit=MOST_FILES, discard=lambda file: file.close())
        self._spans = LRU[tuple[int, int], NDArray[np.generic]](limit=SPANS_KEPT)

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`, reading each span once."""
        began = time.perf_counter_ns()
        for which, span, chosen, local in self._by_span(records):
            out[rows[chosen]] = self._values(which, span)[local]
        self._meter.decode_ns += time.perf_counter_ns() - began

    def close(self) -> None:
        """Close the files and forget the spans."""
        self._leave_inherited()
        self._open.clear()
        self._spans.clear()

    def _by_span(self, records: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.intp], NDArray[np.int64]]]:
        """For each span that holds some of the records: its file and number, which records these are, and where in it they lie."""
        which = np.searchsorted(self._starts, records, side="right") - 1
        local = records - self._starts[which]
        sizes = np.array([part.span for part in self._column.parts], np.int64)[which]
        order = np.lexsort((local, which))
        keys = np.stack([which[order], local[order] // sizes[order]])
        edges = np.flatnonzero((np.diff(keys, axis=1) != 0).any(axis=0)) + 1
        for chosen in np.split(order, edges):
            if len(chosen):
                first = chosen[0]
                span = int(local[first] // sizes[first])
                yield int(which[first]), span, chosen, local[chosen] - span * sizes[first]

    def _values(self, which: int, span: int) -> NDArray[np.generic]:
        self._leave_inherited()
        part = self._column.parts[which]
        for number in (part.number, *part.sources):
            self._files.descriptor(number)
        return self._spans.get((which, span), lambda _: self._read(part, span))

    def objects(self, record: int) -> Any:
        """The span that begins with a record, as the library gives it: of variable-length types an array of objects."""
        which = int(np.searchsorted(self._starts, record, side="right")) - 1
        part = self._column.parts[which]
        self._leave_inherited()
        for number in (part.number, *part.sources):
            self._files.descriptor(number)
        return self._stored(part, int(record - self._starts[which]) // part.span)

    def _read(self, part: H5pyDataset, span: int) -> NDArray[np.generic]:
        column, values = self._column, self._stored(part, span)
        values = plain_values(values)
        values = np.ascontiguousarray(values.astype(column.field.dtype, copy=False).reshape(len(values), *column.field.shape))
        self._meter.read_nbytes += values.nbytes
        return values

    def _stored(self, part: H5pyDataset, span: int) -> Any:
        member = self._column.member
        values = self.stretch(part, span * part.span, min((span + 1) * part.span, part.records), member[:1])
        for name in member:
            values = values[name]
        return values

    def stretch(self, part: H5pyDataset, first: int, stop: int, members: Sequence[str]) -> Any:
        """Some records of a dataset, as the library gives them: of a compound type these members, or all where none is named."""
        from streamload.formats.hdf5.open_file import unreadable

        self._leave_inherited()
        try:
            dataset = self._file(part.number)[part.path]
            seen = dataset.fields(list(members)) if members else dataset
            if part.axis is None:
                return _as_one(seen[()], dataset.dtype)
            if not part.axis:
                return seen[first:stop]
            return np.moveaxis(seen[(slice(None),) * part.axis + (slice(first, stop),)], part.axis, 0)
        except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
            self._files.verify()
            failed = unreadable(self._files.fingerprints[part.number].path, error)
            failed.dataset, failed.records = part.path, (first, stop)
            failed.details |= {"dataset": part.path, "records": (first, stop)}
            raise failed from error

    def _file(self, number: int) -> Any:
        return self._open.get(number, self._opened)

    def _opened(self, number: int) -> Any:
        from streamload.formats.hdf5 import filters, open_file

        if self._column.plugins:
            filters.register_plugins()
        return open_file.open_file(self._files.fingerprints[number].path, cache_nbytes=self._column.cache_nbytes)

    def _leave_inherited(self) -> None:
        if self._pid != os.getpid():
            _inherited.extend(self._open.take_all())
            self._pid = os.getpid()


def plain_values(values: NDArray[Any]) -> NDArray[Any]:
    """Opaque values as the bytes that they are: one more axis at the end; any others themselves."""
    if values.dtype.kind != "V" or values.dtype.names is not None:
        return values
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(*values.shape, values.dtype.itemsize)


def _as_one(value: Any, dtype: np.dtype) -> NDArray[Any]:
    """The value of a dataset, which is one record."""
    if dtype.kind != "O":
        return np.asarray(value)[None]
    one = np.empty(1, object)
    one[0] = value
    return one

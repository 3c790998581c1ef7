"""A field of encoded images: stored as bytes of any length, delivered as arrays of one shape."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import StreamloadError
from streamload.images.decode import ImageDecoder
from streamload.images.decode_options import Decode
from streamload.images.image_error import ImageError
from streamload.reuse.scratch import Scratch
from streamload.schema import Field
from streamload.source import Fault, RaggedColumn, ReadStats
from streamload.storage.files import OpenFiles

PIECE_NBYTES = 16 * 1024**2
"""Stored bytes that are brought in at a time where they are not in the arena already; at least one record."""


class StoredPiece(NamedTuple):
    """Stored bytes of some of the records that were asked for."""

    first: int
    last: int
    """They are of records [first, last)."""
    values: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    """Record `first + k` is `values[starts[k] : starts[k] + lengths[k]]`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedImages(ColumnDefaults):
    """A column of images that are decoded into the batch; workers keep and pass on their stored bytes."""

    field: Field
    inner: RaggedColumn
    """The stored bytes."""
    options: Decode
    """Its size and mode are known."""
    starts: NDArray[np.int64]
    """The first record of each file, and the number of records."""
    paths: tuple[str, ...]
    """Of the files, as the user named them."""
    found: str
    """What the images are that were looked at, for people."""
    largest_nbytes: int
    """Decoded bytes of the largest of them."""

    @property
    def addressable(self) -> bool:
        """Whether the stored bytes of a record can be had without others."""
        return self.inner.addressable

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where blocks of stored bytes begin."""
        return self.inner.cuts

    @property
    def scratch_nbytes(self) -> int:
        """Memory of a reader: what the stored bytes need, a piece of them, and an image of twice the largest one seen."""
        return self.inner.scratch_nbytes + PIECE_NBYTES + 2 * self.largest_nbytes

    @property
    def encoded(self) -> RaggedColumn:
        """The stored bytes."""
        return self.inner

    @property
    def decode_options(self) -> Decode:
        """How they are decoded."""
        return self.options

    @property
    def direct_nbytes(self) -> int:
        """As of the stored bytes."""
        return self.inner.direct_nbytes

    @property
    def mappable(self) -> bool:
        """As of the stored bytes."""
        return self.inner.mappable

    @property
    def amplification(self) -> float:
        """As of the stored bytes."""
        return self.inner.amplification

    @property
    def file_nbytes(self) -> int | None:
        """As of the stored bytes."""
        return self.inner.file_nbytes

    def reader(self, files: OpenFiles, meter: ReadStats) -> ImageReader:
        """A reader for the calling process."""
        return ImageReader(self, files, meter)

    @property
    def single_threaded(self) -> bool:
        """As of the stored bytes."""
        return self.inner.single_threaded

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """As of the stored bytes."""
        return self.inner.forward_starts

    def describe(self) -> str:
        """What is stored, and what it becomes."""
        spec = self.options
        how = {"crop": "scaled and cut to", "resize": "scaled to", "exact": "decoded as"}[spec.fit]
        what = f"{spec.mode}, numbers as they are" if spec.mask else spec.mode
        return f"{self.found}, {how} {spec.shape} {what}; {self.inner.describe()}"

    def place_of(self, record: int) -> str:
        """The file that holds a record."""
        return self.paths[int(np.searchsorted(self.starts, record, side="right")) - 1]


class ImageReader(ReaderDefaults):
    """Reads stored bytes and decodes them, or decodes those that someone else has read."""

    def __init__(self, column: EncodedImages, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._decoder: ImageDecoder | None = None
        self._inner: Any = None
        self._faults: list[Fault] | None = None
        self._unread: dict[int, StreamloadError] = {}
        """Records of the last piece whose stored bytes could not be read, where faults are collected."""
        self._room = Scratch()

    def _stored(self) -> Any:
        if self._inner is None:
            self._inner = self._column.inner.reader(self._files, self._meter)
        return self._inner

    def advise(self, records: NDArray[np.int64]) -> None:
        """Pass it on to whoever reads the stored bytes."""
        self._stored().advise(records)

    def expect(self, records: NDArray[np.int64]) -> None:
        """Pass it on to whoever reads the stored bytes."""
        self._stored().expect(records)

    def collect_faults(self, faults: list[Fault] | None) -> None:
        """Note images that cannot be decoded, or raise."""
        self._faults = faults

    def gather(self, records: NDArray[np.int64], out: NDArray[Any], rows: NDArray[np.int64]) -> None:
        """Read stored bytes, a piece at a time, and decode them into `out[rows]`."""
        for first, last, values, starts, lengths in self.pieces(records):
            self.decode(records[first:last], values, starts, lengths, out, rows[first:last])

    def pieces(self, records: NDArray[np.int64]) -> Iterator[StoredPiece]:
        """Read the stored bytes of records, a piece at a time."""
        stored, offsets = self._stored(), np.zeros(len(records) + 1, np.int64)
        unread: list[Fault] = []
        stored.collect_faults(None if self._faults is None else unread)
        np.cumsum(stored.lengths(records), out=offsets[1:])
        for first, last in _pieces(offsets):
            if (first, last) != (0, len(records)):
                stored.lengths(records[first:last])
            starts = offsets[first:last] - offsets[first]
            values = self._room_for(int(offsets[last] - offsets[first]))
            stored.gather_ragged(records[first:last], values, starts)
            self._unread = {fault.record: fault.error for fault in unread}
            unread.clear()
            yield StoredPiece(first, last, values, starts, np.diff(offsets[first : last + 1]))

    def _room_for(self, nbytes: int) -> NDArray[np.uint8]:
        """Memory for stored bytes: kept from piece to piece, since touching new memory takes longer than reading into it."""
        if nbytes > PIECE_NBYTES:
            return np.empty(nbytes, np.uint8)
        return self._room.room(nbytes)

    def decode(
        self,
        records: NDArray[np.int64],
        values: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        out: NDArray[Any],
        rows: NDArray[np.int64],
    ) -> None:
        """Decode `values[starts[k] : starts[k] + lengths[k]]`, which is record `records[k]`, into `out[rows[k]]`, for every k.

        Raises a SourceError that names file, field and record, or notes it where `collect_faults` said.
        """
        began = time.perf_counter_ns()
        if self._decoder is None:
            self._decoder = ImageDecoder(self._column.options)
        decode, view = self._decoder.decode, values.data
        try:
            for record, start, length, row in zip(records.tolist(), starts.tolist(), lengths.tolist(), rows.tolist(), strict=True):
                try:
                    decode(view[start : start + length], out[row])
                except ImageError as refusal:
                    error = self.error_of(record, refusal)
                    if self._faults is None:
                        raise error from refusal.__cause__
                    self._faults.append(Fault(row, record, error))
        finally:
            self._meter.decode_ns += time.perf_counter_ns() - began

    def error_of(self, record: int, refusal: ImageError) -> StreamloadError:
        """The error for a record that cannot be delivered: it names file, field and record."""
        if record in self._unread:
            return self._unread[record]
        column, number = self._column, self._column.inner.file_of(record)
        path, name = column.place_of(record) if number is None else self._files.fingerprints[number].path, column.field.name
        return refusal.error(f"{path}: record {record:,} of '{name}'", path=path, dataset=name, records=(record, record + 1))

    def close(self) -> None:
        """Let go of the reader of stored bytes."""
        if self._inner is not None:
            self._inner.close()
        self._inner = self._decoder = None
        self._room.close()


def _pieces(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Stretches of records that come to no more than PIECE_NBYTES, or are one record."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + PIECE_NBYTES, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last

"""Fields as columns of records: what a format implements, so that readers fill arrays from what is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.storage.files import OpenFiles


class ReadStats:
    """What one process has spent on a source so far; readers add to it, the engine reads it."""

    __slots__ = ("decode_ns", "read_nbytes", "read_ns")

    def __init__(self) -> None:
        self.read_ns = 0
        """Nanoseconds in system calls and copies that bring stored bytes in."""
        self.decode_ns = 0
        """Nanoseconds in codecs, in h5py, and in functions of the user's."""
        self.read_nbytes = 0
        """Stored bytes brought in."""


class Fault(NamedTuple):
    """A record that cannot be delivered."""

    row: int
    """Where it should have gone."""
    record: int
    error: StreamloadError


class Reader(Protocol):
    """Fills arrays with one field of records, in one process."""

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`, for every k.

        `records` are valid and in any order, and may repeat; `out` has shape (at least max(rows) + 1, *field.shape),
        the field's dtype, and is C-contiguous; `rows` do not repeat.
        """
        ...

    def addresses(self, records: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Where records lie in memory, C-contiguous and as `gather` would put them: shape (len(records),); None where they do not.

        They stay there until the reader is closed.
        """
        ...

    def advise(self, records: NDArray[np.int64]) -> None:
        """Say that these records will be gathered soon, by this reader or by another process's; may do nothing.

        A StreamloadError that it raises is dropped: whoever gathers the records will meet what is wrong.
        """
        ...

    def expect(self, records: NDArray[np.int64]) -> None:
        """Say that this very reader will be asked for these records next, in this order: it may begin to read them itself."""
        ...

    def collect_faults(self, faults: list[Fault] | None) -> None:
        """From now on, note records that cannot be decoded in `faults`, their rows left with anything; None: raise, as at first.

        A reader that decodes no images, each of which may be bad by itself, has nothing to note, and always raises.
        """
        ...

    def close(self) -> None:
        """Let go of memory and handles."""
        ...


class RaggedReader(Protocol):
    """Fills arrays with one ragged field of records, in one process: first asked how long they are, then for their elements."""

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many elements each of the records has: shape (len(records),). `records` as for `Reader.gather`."""
        ...

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`, for every k, after `lengths(records)` was asked.

        `values` has shape (elements, *field.shape), the field's dtype, and is C-contiguous; records do not overlap there.
        A reader that must decode may keep what it decoded for `lengths` until the next call of either.
        """
        ...

    def advise(self, records: NDArray[np.int64]) -> None:
        """As `Reader.advise`."""
        ...

    def expect(self, records: NDArray[np.int64]) -> None:
        """As `Reader.expect`."""
        ...

    def collect_faults(self, faults: list[Fault] | None) -> None:
        """As `Reader.collect_faults`."""
        ...

    def close(self) -> None:
        """Let go of memory and handles."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """How long the records of a ragged field are, in elements, as far as some of them tell."""

    mean: float
    deviation: float
    """Standard deviation."""

    def capacity(self, records: int) -> int:
        """Elements that so many records, drawn at random, hardly ever exceed together."""
        return math.ceil(records * self.mean + 4 * math.sqrt(records) * self.deviation)

    @classmethod
    def of(cls, lengths: NDArray[np.integer]) -> Lengths:
        """As these records have it."""
        return cls(mean=float(lengths.mean()), deviation=float(lengths.std())) if len(lengths) else cls(mean=0.0, deviation=0.0)


class Column(Protocol):
    """How one field of all records of a source lies in storage: a plain value that pickles, its arrays out of band.

    `column_defaults.ColumnDefaults` has what most columns say of themselves. A column that wraps another says what that one says.
    """

    @property
    def field(self) -> Field:
        """Name, dtype and shape of the field, as it is delivered."""
        ...

    @property
    def addressable(self) -> bool:
        """Whether a record can be had without decoding any other."""
        ...

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Record numbers at which storage blocks begin, over all files, the number of records last.

        None where a block may begin at any record (contiguous raw records, or values held in memory).
        """
        ...

    @property
    def scratch_nbytes(self) -> int:
        """The most private memory that one reader of this column uses, in bytes."""
        ...

    @property
    def direct_nbytes(self) -> int:
        """What a reader uses besides where files are read past the page cache (`OpenFiles.direct`); 0 where it never does that."""
        ...

    @property
    def mappable(self) -> bool:
        """Whether readers take stored bytes from where a file is mapped (`OpenFiles.address`, `OpenFiles.bytes_at`)."""
        ...

    @property
    def encoded(self) -> RaggedColumn | None:
        """The stored bytes of the records, where these are kept as bytes and decoded into the batch: encoded images.

        Each of this column's records is made of the bytes of one record of that; `addressable` and `cuts` are the same, and the
        reader of this one is a `Decoder`. None: records are kept as they are delivered.
        """
        ...

    @property
    def decode_options(self) -> Any:
        """How images are decoded (`images.decode_options.Decode`), where records are made of `encoded` ones; else None."""
        ...

    @property
    def held(self) -> Any:
        """All records, where they are held in memory: an array of shape (records, *field.shape), or a Ragged; else None."""
        ...

    @property
    def amplification(self) -> float:
        """Records decoded for each record delivered, if these are drawn at random from all of them: at least 1."""
        ...

    @property
    def file_nbytes(self) -> int | None:
        """Bytes that all records take in their files; None where nobody has counted."""
        ...

    @property
    def looked_at(self) -> Any:
        """What an earlier look at first records found, where these may be encoded images (`images.image_fields.LookedAt`); else None."""
        ...

    @property
    def page_starts(self) -> NDArray[np.int64] | None:
        """The first record of each page, where pages within blocks are read for themselves; shape (pages,)."""
        ...

    @property
    def single_threaded(self) -> bool:
        """Whether records are decoded by a library that lets in one thread of a process at a time."""
        ...

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """Where records can be had in stored order alone, as in compressed files: the first of each stream that is read from its
        beginning, and the number of records, shape (streams + 1,). None where no record costs more for those that lie before it."""
        ...

    def value_range(self, files: OpenFiles) -> tuple[Any, Any] | None:
        """The least and the greatest value of all records but nulls, where files say it beside the records; None where they do not."""
        ...

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """Where records [start, stop) lie in files byte for byte as they are delivered, in their order; None where they do not.

        Shape (runs, 3): of each run the number of its file, and the bytes [start, stop) in it.
        """
        ...

    @property
    def measured(self) -> Measured | None:
        """Of a ragged field, what its blocks really hold, where somebody has found it out; None where that is what `block_elements` say."""
        ...

    def file_of(self, record: int) -> int | None:
        """The number of the file that a record lies in, where records lie otherwise than the source's `file_starts` say; else None."""
        ...

    def reader(self, files: OpenFiles, meter: ReadStats) -> Any:
        """A `Reader`, or a `RaggedReader` of a ragged field, for the calling process; it opens nothing until it is asked for records."""
        ...

    def describe(self) -> str:
        """How it is stored, in a few words: "contiguous", "chunks of 64 records, gzip"."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """What the blocks of a ragged column really hold, where that is more than `block_elements` say, by which records are ordered."""

    elements: NDArray[np.int64]
    """Of each block: shape (blocks,)."""
    lengths: Lengths
    """Of records."""


class RaggedColumn(Column, Protocol):
    """A column whose field is ragged: its reader is a `RaggedReader`."""

    @property
    def lengths(self) -> Lengths:
        """How long records are: a function of the files alone, since the order of records may depend on it."""
        ...

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """Elements of each block between `cuts`, or a little more; None where nobody has counted. Shape (blocks,).

        The order of records may depend on it. Blocks of the arena are as large as this says, or as `measured_of` does; one that
        turns out to be larger is decoded where it is needed.
        """
        ...


class NullableColumn(Column, Protocol):
    """A column that may hold nulls for which nothing stands: its reader raises NullValueError for such records."""

    def filled(self) -> Column:
        """The same column with something in the place of nulls, for whoever will not ask for them."""
        ...

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that are null, or hold one, in rising order; everything may have to be decoded to find them."""
        ...


class RecordDecoder(Reader, Protocol):
    """Makes records out of their stored bytes (`Column.encoded`), wherever these lie."""

    def decode(
        self,
        records: NDArray[np.int64],
        values: NDArray[np.uint8],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        out: NDArray[np.generic],
        rows: NDArray[np.int64],
    ) -> None:
        """Decode `values[starts[k] : starts[k] + lengths[k]]`, which is record `records[k]`, into `out[rows[k]]`, for every k."""
        ...


def stored_column(column: Column) -> Column:
    """The column of what is kept of its records: itself, or that of their stored bytes."""
    encoded = column.encoded
    return column if encoded is None else encoded


def forward_starts(columns: Sequence[Column]) -> NDArray[np.int64] | None:
    """Where the streams begin that a record is read from, where any of its fields is read from its stream's beginning; else None."""
    return next((starts for column in columns if (starts := column.forward_starts) is not None), None)


def measured_of(column: Column) -> Measured | None:
    """What the blocks of a column really hold, where somebody has found it out; None where that is what `block_elements` say."""
    return stored_column(column).measured


def delivered_nbytes(column: Column) -> int:
    """Bytes of a record as it is delivered, decoded and without augmentation; the mean where records differ in length."""
    return stored_nbytes(column) if column.field.ragged else column.field.nbytes


def stored_nbytes(column: Column) -> int:
    """Bytes of a record as it is stored, decompressed and, of images, still encoded; the mean where records differ in length."""
    stored = cast(RaggedColumn, stored_column(column))
    return math.ceil(stored.field.nbytes * stored.lengths.mean) if stored.field.ragged else stored.field.nbytes


def read_records(column: Column, reader: Any, records: NDArray[np.int64]) -> Any:
    """The given records of a column, in new memory: an array of shape (len(records), *field.shape), or a Ragged."""
    field = column.field
    if not field.ragged:
        out = np.empty((len(records), *field.shape), field.dtype)
        if len(records):
            reader.gather(records, out, np.arange(len(records), dtype=np.int64))
        return out
    offsets = np.zeros(len(records) + 1, np.int64)
    if len(records):
        np.cumsum(reader.lengths(records), out=offsets[1:])
    values = np.empty((int(offsets[-1]), *field.shape), field.dtype)
    if len(records):
        reader.gather_ragged(records, values, offsets[:-1])
    return Ragged(values, offsets, field.ragged)

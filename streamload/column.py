"""Columns and readers, the protocols between formats and the engine: a column says how one field of all records is stored, and makes
readers, which fill arrays with records of it.

To write a column of your own, derive it from a class of `column_defaults`, and check it with `streamload.testing.check_source`.
"""

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
    """Time and bytes that one process has spent on a source so far. Readers add to it; the loader's stats are made of it."""

    __slots__ = ("decode_ns", "read_nbytes", "read_ns")

    def __init__(self) -> None:
        self.read_ns = 0
        """Nanoseconds in system calls and copies that read stored bytes."""
        self.decode_ns = 0
        """Nanoseconds in codecs, in h5py, and in functions of the user's."""
        self.read_nbytes = 0
        """Stored bytes that were read."""


class Fault(NamedTuple):
    """A record that cannot be delivered."""

    row: int
    """The row of the batch that it was meant for."""
    record: int
    """Its record number."""
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
        """The addresses of records that lie in memory, C-contiguous, with the bytes that `gather` would write: shape (len(records),).

        None if any of them does not. The addresses are valid until the reader is closed.
        """
        ...

    def advise(self, records: NDArray[np.int64]) -> None:
        """Be told that these records will be gathered soon, here or in another process: a reader may have them read ahead, or do
        nothing.

        A StreamloadError that it raises is ignored, since gathering the records will raise it again.
        """
        ...

    def expect(self, records: NDArray[np.int64]) -> None:
        """Be told that these records will be gathered next, by this reader and in this order: it may begin to read them."""
        ...

    def collect_faults(self, faults: list[Fault] | None) -> None:
        """From now on, add records that cannot be decoded to `faults` instead of raising; the content of their rows is then undefined.
        None has the reader raise again, as a new reader does.

        Only readers of encoded images do so, each of which may be bad by itself. Other readers always raise.
        """
        ...

    def close(self) -> None:
        """Let go of memory and handles."""
        ...


class RaggedReader(Protocol):
    """Fills arrays with one ragged field of records, in one process: it is asked for their lengths first, and then for their elements."""

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many elements each of the records has: shape (len(records),). `records` as for `Reader.gather`."""
        ...

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`, for every k. `lengths(records)` has been called before.

        `values` has shape (elements, *field.shape), the field's dtype, and is C-contiguous; records do not overlap there.
        A reader that had to decode records for `lengths` may keep them until the next call of either method.
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
    """How long the records of a ragged field are, in elements: measured on all of them, or estimated from some."""

    mean: float
    deviation: float
    """Standard deviation."""

    def capacity(self, records: int) -> int:
        """Elements that so many records, drawn at random, hardly ever exceed together."""
        return math.ceil(records * self.mean + 4 * math.sqrt(records) * self.deviation)

    @classmethod
    def of(cls, lengths: NDArray[np.integer]) -> Lengths:
        """Mean and deviation of these lengths; 0 and 0 if there are none."""
        return cls(mean=float(lengths.mean()), deviation=float(lengths.std())) if len(lengths) else cls(mean=0.0, deviation=0.0)


class Column(Protocol):
    """How one field of all records of a source is stored. Columns are values without open files, and are pickled to workers.

    `column_defaults.ColumnDefaults` has the answers of most columns, `WrappedDefaults` those of a column that wraps another one.
    """

    @property
    def field(self) -> Field:
        """Name, dtype and shape of the field as it is delivered."""
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
        """Further private memory of a reader, in bytes, if files are read past the page cache (`OpenFiles.direct`); 0 if it never does
        that."""
        ...

    @property
    def mappable(self) -> bool:
        """Whether readers make use of mapped files (`OpenFiles.address`, `OpenFiles.bytes_at`)."""
        ...

    @property
    def encoded(self) -> RaggedColumn | None:
        """The column of the stored bytes, if records are decoded from these into the batch, as images are; None otherwise.

        Record k of this column is decoded from record k of that one. Both have the same `addressable` and `cuts`, and the reader of
        this one is a `RecordDecoder`.
        """
        ...

    @property
    def decode_options(self) -> Any:
        """How images are decoded (`images.decode_options.Decode`), if records are decoded from `encoded`; None otherwise."""
        ...

    @property
    def held(self) -> Any:
        """All records, if they are held in memory: an array of shape (records, *field.shape), or a Ragged; None otherwise."""
        ...

    @property
    def amplification(self) -> float:
        """How many records are decoded for each that is delivered, if single records are read at random: at least 1."""
        ...

    @property
    def file_nbytes(self) -> int | None:
        """Bytes that all records take in their files; None if that is not known."""
        ...

    @property
    def looked_at(self) -> Any:
        """What was found when the first records were examined for encoded images (`images.image_fields.LookedAt`); None if they have not
        been."""
        ...

    @property
    def page_starts(self) -> NDArray[np.int64] | None:
        """The first record of each page, shape (pages,), if parts of blocks can be read by themselves; None otherwise."""
        ...

    @property
    def single_threaded(self) -> bool:
        """Whether records are decoded by a library in which only one thread of a process can be active at a time."""
        ...

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """For data that can only be read from its beginning, as compressed files: the first record of each such file, and the number of
        records, shape (files + 1,). None if a record can be read without those before it."""
        ...

    def value_range(self, files: OpenFiles) -> tuple[Any, Any] | None:
        """The least and the greatest value of all records but nulls, if the files have statistics that say so; None otherwise."""
        ...

    def byte_runs(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """Where records [start, stop) lie in files, if they lie there byte for byte as they are delivered; None otherwise.

        Shape (runs, 3), in the order of records: of each run the number of its file, its first byte there, and the byte behind its last.
        """
        ...

    @property
    def measured(self) -> Measured | None:
        """Of a ragged field, the true sizes of its blocks, if they were measured and differ from `block_elements`; None otherwise."""
        ...

    def file_of(self, record: int) -> int | None:
        """The number of the file that a record lies in, if the source's `file_starts` do not tell; None if they do."""
        ...

    def reader(self, files: OpenFiles, meter: ReadStats) -> Any:
        """A new `Reader`, or `RaggedReader` of a ragged field, for the calling process. It opens no file before it is asked for records."""
        ...

    def describe(self) -> str:
        """How it is stored, in a few words: "contiguous", "chunks of 64 records, gzip"."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """The measured sizes of a ragged column's blocks. The order of records does not depend on them: that goes by `block_elements`."""

    elements: NDArray[np.int64]
    """Elements of each block: shape (blocks,)."""
    lengths: Lengths
    """The lengths of records."""


class RaggedColumn(Column, Protocol):
    """A column whose field is ragged: its reader is a `RaggedReader`."""

    @property
    def lengths(self) -> Lengths:
        """The lengths of records. They depend on the files alone, because the order of records may depend on them."""
        ...

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """Elements of each block between `cuts`, or a little more: shape (blocks,); None if they are not known.

        The order of records may depend on them. The arena has as much room for a block as this says, or `measured` if there is that. The
        records of a block that needs more are decoded for each step that has some of them.
        """
        ...


class NullableColumn(Column, Protocol):
    """A column that may hold nulls without a value in their place (`fill=`): its reader raises NullValueError for such records."""

    def filled(self) -> Column:
        """The same column with some value in place of nulls, for callers that read no such records."""
        ...

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that are null or contain one, in rising order. May decode all records to find them."""
        ...


class RecordDecoder(Reader, Protocol):
    """The reader of an encoded column: it also decodes records from stored bytes (`Column.encoded`) that are in memory already."""

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
    """The column of the stored bytes of an encoded column; any other column itself."""
    encoded = column.encoded
    return column if encoded is None else encoded


def forward_starts(columns: Sequence[Column]) -> NDArray[np.int64] | None:
    """`Column.forward_starts` of the first of these columns that has them; None if none has."""
    return next((starts for column in columns if (starts := column.forward_starts) is not None), None)


def measured_of(column: Column) -> Measured | None:
    """`Column.measured` of the stored bytes of an encoded column, and of any other column itself."""
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

"""What a source of records is: columns that readers can fill arrays from, and the dataset that users hold."""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import NullValueError, SourceError
from streamload.nulls import Nulls, advice_on_nulls, notes_on_nulls
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.storage.files import Fingerprint, OpenFiles


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
    error: SourceError


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
    def measured(self) -> Measured | None:
        """Of a ragged field, what its blocks really hold, where somebody has found it out; None where that is what `weights` say."""
        ...

    def reader(self, files: OpenFiles, meter: ReadStats) -> Any:
        """A `Reader`, or a `RaggedReader` of a ragged field, for the calling process; it opens nothing until it is asked for records."""
        ...

    def describe(self) -> str:
        """How it is stored, in a few words: "contiguous", "chunks of 64 records, gzip"."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """What the blocks of a ragged column really hold, where that is more than the weights say, by which records are ordered."""

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
    def weights(self) -> NDArray[np.int64] | None:
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


def kept_column(column: Column) -> Column:
    """The column of what is kept of its records: itself, or that of their stored bytes."""
    encoded = column.encoded
    return column if encoded is None else encoded


def measured_of(column: Column) -> Measured | None:
    """What the blocks of a column really hold, where somebody has found it out; None where that is what `weights` say."""
    return kept_column(column).measured


def stored_nbytes(column: Column) -> int:
    """Bytes of a record as it is kept, on average where records differ."""
    stored = cast(RaggedColumn, kept_column(column))
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


MOST_LISTED = 12
"""Classes of a field that a text lists."""


class Source:
    """Records in storage: a schema, how many there are, where they are cheap to cut, and access to any of them.

    Index it with an integer for one record (a dict of arrays and NumPy scalars, `str` and `bytes`), or with a slice, a list
    of integers or a boolean mask for several (a dict of arrays, each with the records along its first axis, or a `Ragged`
    where they differ in length). The arrays are copies. Raises IndexError as NumPy does; SourceChangedError when a file is no
    longer what it was when the source was opened.
    A Source pickles: it holds no open files when it travels.
    """

    def __init__(
        self,
        *,
        format_name: str,
        title: str,
        columns: Sequence[Column],
        fingerprints: Sequence[Fingerprint] = (),
        file_starts: Sequence[int] | NDArray[np.int64],
        notes: Sequence[str] = (),
        classes: Mapping[str, Sequence[str]] | None = None,
        asked: Mapping[str, str] | None = None,
        shapes_in_states: Mapping[str, tuple[int, ...]] | None = None,
        nulls: Mapping[str, Nulls] | None = None,
    ) -> None:
        self.format_name = format_name
        self.title = title
        self.columns = tuple(columns)
        self.fingerprints = tuple(fingerprints)
        self.file_starts = np.asarray(file_starts, np.int64)
        self.notes = tuple(notes)
        self.classes = {name: tuple(words) for name, words in (classes or {}).items()}
        """By field, the names of classes that its numbers stand for, where files or folders say so: names[label]."""
        self.asked = dict(asked or {})
        """By field, what asks for it in `fields=`, where that is not its name."""
        self.shapes_in_states = dict(shapes_in_states or {})
        """By field, the shape that saved states know it by, where it is delivered in another."""
        self.nulls = dict(nulls or {})
        """Fields that may hold nulls for which nothing stands: their columns are `NullableColumn`s, and asking for such a record
        is an error."""
        self._readers: tuple[OpenFiles, list[Any]] | None = None
        self._reading = threading.Lock()

    @property
    def schema(self) -> Schema:
        """The fields of a record, as they are delivered."""
        return Schema(tuple(column.field for column in self.columns))

    @property
    def schema_in_states(self) -> Schema:
        """The fields of a record as saved states know them."""
        return Schema(tuple(replace(field, shape=self.shapes_in_states.get(field.name, field.shape)) for field in self.schema))

    def with_columns(
        self, columns: Sequence[Column], *, notes: Sequence[str] = (), shapes_in_states: Mapping[str, tuple[int, ...]] | None = None
    ) -> Source:
        """The same records in other columns, with further notes."""
        return self.replaced(
            columns=columns,
            notes=(*self.notes, *notes),
            shapes_in_states={**self.shapes_in_states, **(shapes_in_states or {})},
        )

    @property
    def addressable(self) -> bool:
        """Whether any record can be had without decoding another."""
        return all(column.addressable for column in self.columns)

    def __len__(self) -> int:
        return int(self.file_starts[-1])

    def __getitem__(self, index: object) -> dict[str, Any]:
        if isinstance(index, str):
            raise TypeError(f"data[{index!r}]: a source is indexed by record first. Write data[:100][{index!r}] or data[5][{index!r}].")
        if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
            number = operator.index(index)
            if not -len(self) <= number < len(self):
                raise IndexError(f"record {number} is out of range for {len(self):,} records")
            taken = self.take(np.array([number % len(self)], np.int64))
            return {name: array[0] for name, array in taken.items()}
        return self.take(self._numbers(index))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """Arrays of the given records, in the order given, a Ragged of a ragged field; `records` are valid record numbers."""
        with self._reading:
            if self._readers is None:
                files = OpenFiles(self.fingerprints)
                self._readers = files, [column.reader(files, ReadStats()) for column in self.columns]
            files, readers = self._readers
            try:
                out = {
                    column.field.name: read_records(column, reader, records) for column, reader in zip(self.columns, readers, strict=True)
                }
            except NullValueError as error:
                hint = advice_on_nulls(self.nulls, self.schema, error.dataset) if self.nulls else error.hint
                raise NullValueError(error.message, hint=hint, **error.details) from None
            files.verify()
        return out

    def complete(self) -> tuple[Source, NDArray[np.int64]]:
        """A source without nulls, and its records, in rising order, that never had one; others hold something in their place.

        Fields are looked at in which nulls were counted: where they lie may have to be found by decoding them.
        """
        counted = [name for name, one in self.nulls.items() if one.count]
        files, wanting = OpenFiles(self.fingerprints), np.zeros(len(self), bool)
        try:
            for column in self.columns:
                if column.field.name in counted:
                    wanting[cast(NullableColumn, column).null_records(files)] = True
            files.verify()
        finally:
            files.close()
        columns = [cast(NullableColumn, one).filled() if one.field.name in counted else one for one in self.columns]
        nulls = {name: one for name, one in self.nulls.items() if name not in counted}
        return self.replaced(columns=columns, nulls=nulls), np.flatnonzero(~wanting).astype(np.int64)

    def replaced(self, **changes: Any) -> Source:
        """A source like this one but for what is given: arguments of `Source`."""
        names = ("format_name", "title", "columns", "fingerprints", "file_starts", "notes", "classes", "asked", "shapes_in_states", "nulls")
        return Source(**{name: getattr(self, name) for name in names} | changes)

    def _numbers(self, index: object) -> NDArray[np.int64]:
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)), dtype=np.int64)
        numbers = np.asarray(index)
        if numbers.ndim != 1 or not (numbers.dtype.kind in "iub" or numbers.size == 0):
            raise IndexError(f"records are chosen by an integer, a slice, a list of integers or a boolean mask, not by {index!r}")
        if numbers.dtype.kind == "b":
            if numbers.size != len(self):
                raise IndexError(f"boolean mask of {numbers.size:,} does not match {len(self):,} records")
            return np.flatnonzero(numbers).astype(np.int64)
        if numbers.size and not (-len(self) <= int(numbers.min()) and int(numbers.max()) < len(self)):
            worst = int(numbers.min()) if int(numbers.min()) < -len(self) else int(numbers.max())
            raise IndexError(f"record {worst} is out of range for {len(self):,} records")
        signed = numbers.astype(np.int64)
        return np.where(signed < 0, signed + len(self), signed)

    def close(self) -> None:
        """Close the files that record access opened. A later access opens them again."""
        with self._reading:
            if self._readers is not None:
                files, readers = self._readers
                self._readers = None
                for reader in readers:
                    reader.close()
                files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_readers", "_reading")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._readers, self._reading = None, threading.Lock()

    def __repr__(self) -> str:
        lines = [f"{self.format_name} {self.title}: {len(self):,} records · {self.schema}"]
        lines += [f"  {column.field.name}: {column.describe()}" for column in self.columns]
        lines.append("  records are " + ("addressable" if self.addressable else "decoded a block at a time"))
        lines += [f"  {note}" for note in (*self.notes, *notes_on_nulls(self.nulls, self.schema))]
        lines += [f"  '{name}': {_listed(words)}" for name, words in self.classes.items()]
        return "\n".join(lines)


def _listed(words: Sequence[str]) -> str:
    listed = ", ".join(f"{number} = {word}" for number, word in enumerate(words[:MOST_LISTED]))
    return listed + (f", ... ({len(words):,} classes)" if len(words) > MOST_LISTED else "")

"""What a source of records is: columns that readers can fill arrays from, and the dataset that users hold."""

from __future__ import annotations

import difflib
import operator
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, SupportsIndex, cast, overload

import numpy as np
from numpy.typing import NDArray

from streamload.column import (
    Column,
    Fault,
    Lengths,
    Measured,
    NullableColumn,
    RaggedColumn,
    RaggedReader,
    Reader,
    ReadStats,
    RecordDecoder,
    delivered_nbytes,
    forward_starts,
    measured_of,
    read_records,
    stored_column,
    stored_nbytes,
)
from streamload.conditions import Condition, advice_on_name
from streamload.errors import ConfigError, NullValueError
from streamload.masked_arrays import refuse_masked
from streamload.nulls import Nulls, advice_on_filling, advice_on_nulls, notes_on_nulls
from streamload.omissions import Omission
from streamload.ragged import text_arrays
from streamload.schema import TEXT, Field, Schema
from streamload.storage.file_table import FileTable
from streamload.storage.files import Fingerprint, OpenFiles

__all__ = [
    "Column",
    "Fault",
    "Lengths",
    "Measured",
    "NullableColumn",
    "RaggedColumn",
    "RaggedReader",
    "ReadStats",
    "Reader",
    "RecordDecoder",
    "Source",
    "delivered_nbytes",
    "forward_starts",
    "measured_of",
    "read_records",
    "stored_column",
    "stored_nbytes",
]

SCAN_RECORDS = 65_536
"""Records that small fields are read of at a time."""
MOST_LISTED = 12
"""Classes of a field that a text lists."""
MOST_FIELDS = 40
"""Fields that a text lists."""


class Source:
    """The records of opened files: their fields (`schema`), their number (`len`), and access to any of them.

    Index it with an integer for one record (a dict of arrays and NumPy scalars, `str` and `bytes`), or with a slice, a list
    of integers or a boolean mask for several (a dict of arrays, each with the records along its first axis, or a `Ragged`
    where they differ in length). The arrays are copies. Raises IndexError as NumPy does; SourceChangedError when a file is no
    longer what it was when the source was opened.
    A Source can be pickled, without the files that it has open.
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
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
        asked: Mapping[str, str] | None = None,
        shapes_in_states: Mapping[str, tuple[int, ...]] | None = None,
        nulls: Mapping[str, Nulls] | None = None,
        omissions: Sequence[Omission] = (),
        masks: Iterable[str] = (),
    ) -> None:
        self.format_name = format_name
        self.title = title
        self.columns = tuple(columns)
        self.fingerprints: Sequence[Fingerprint] = fingerprints if isinstance(fingerprints, FileTable) else tuple(fingerprints)
        self.file_starts = np.asarray(file_starts, np.int64)
        self.notes = tuple(notes)
        self.classes = {name: tuple(words) for name, words in (classes or {}).items()}
        """By field whose numbers are classes with names: these names, so that `classes["label"][3]` is the name of class 3."""
        self.attributes = {name: dict(said) for name, said in (attributes or {}).items()}
        """By field, the attributes that all files give it, such as its unit: texts, lists of texts, and numbers."""
        self.asked = dict(asked or {})
        """By field, the name that `fields=` has to give for it, where that is another than its own."""
        self.shapes_in_states = dict(shapes_in_states or {})
        """By field, the shape that saved states have for it, where it is delivered in another one."""
        self.nulls = dict(nulls or {})
        """By field that may hold nulls without a value in their place: where they are. Its column is a `NullableColumn`, and reading
        such a record raises NullValueError."""
        self.omissions = tuple(omissions)
        """What the files hold beside these records and is left out."""
        self.masks = frozenset(masks)
        """Fields of encoded images whose pixels are numbers of classes."""
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
        """Whether any record can be read without decoding another."""
        return all(column.addressable for column in self.columns)

    @property
    def forward_only(self) -> bool:
        """Whether records are read in the order in which they are stored, and in no other: those of compressed files."""
        return forward_starts(self.columns) is not None

    def __len__(self) -> int:
        return int(self.file_starts[-1])

    @overload
    def __getitem__(self, index: str) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: SupportsIndex | slice | Sequence[int] | NDArray[Any]) -> dict[str, Any]: ...
    def __getitem__(self, index: object) -> NDArray[Any] | dict[str, Any]:
        """One record, several of them, or (by its name) a field of single numbers or texts, of all records and without the others."""
        if isinstance(index, str):
            return self._values(index)
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
        """The given records, in the order given: by field, an array of shape (len(records), *field.shape), or a `Ragged`.

        `records` are valid record numbers. Raises NullValueError for a record that is null, SourceChangedError as indexing does.
        """
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
        """(source, records): this source with some value in place of each null, and the records, in rising order, that have no null.

        May decode all records of fields that have nulls, to find these.
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
        """A source like this one, with other values for the arguments of `Source` that are given."""
        names = ("format_name", "title", "columns", "fingerprints", "file_starts", "notes", "classes", "asked", "shapes_in_states")
        names = (*names, "nulls", "omissions", "attributes", "masks")
        return Source(**{name: getattr(self, name) for name in names} | changes)

    def scan(self, names: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        """Read these fields of all records, at most SCAN_RECORDS at a time, and no others. Yields (record numbers, fields by name): all
        arrays of shape (records,), of numbers or texts; texts are objects where one ends in a zero character.

        Raises ConfigError for an unknown field, and for one with more than one value per record.
        """
        columns = {column.field.name: column for column in self.columns}
        for name in names:
            _check_single(columns, name, self.title)
        files = OpenFiles(self.fingerprints)
        readers = {name: columns[name].reader(files, ReadStats()) for name in names}
        try:
            for start in range(0, len(self), SCAN_RECORDS):
                numbers = np.arange(start, min(start + SCAN_RECORDS, len(self)), dtype=np.int64)
                taken = {name: read_records(columns[name], reader, numbers) for name, reader in readers.items()}
                files.verify()
                for first, stop, fields in text_arrays(taken, len(numbers)):
                    yield numbers[first:stop], fields
        except NullValueError as error:
            asked = {name: one for name, one in self.nulls.items() if name in names}
            hint = advice_on_filling(asked, self.schema, error.dataset) if asked else error.hint
            raise NullValueError(error.message, hint=hint, **error.details) from None
        finally:
            for reader in readers.values():
                reader.close()
            files.close()

    def where(self, condition: str) -> NDArray[np.int64]:
        """The numbers of the records for which a condition holds, in rising order, for `indices=` of a Loader.

        Conditions compare fields of single numbers or texts: "label in (3, 5) and not width < 64", "label == 'cat'" by the name of a
        class. They are parsed, never run as code. Numbers are compared exactly, but for fractions, which a field holds rounded: 0.1 is the
        float32 next to it. NaN is equal to nothing. Raises ConfigError for what is no condition, and for unknown fields; NullValueError
        where a field that it asks about has a null for which nothing stands.
        """
        asked = Condition(condition)
        for name in asked.names:
            if name not in self.schema.names:
                raise _no_field(self.schema.names, name, self.title, quoted=f" {advice_on_name(name)}")
        found = [numbers[asked.holds(taken, self.classes)] for numbers, taken in self.scan(asked.names)]
        return np.concatenate([*found, np.empty(0, np.int64)])

    def _values(self, name: str) -> NDArray[Any]:
        """A field of all records, shape (records,). Raises ConfigError for an unknown one, and TypeError for one of images and the like."""
        if name not in self.schema.names:
            raise _no_field(self.schema.names, name, self.title)
        field = self.schema[name]
        if not _is_single(field):
            raise TypeError(
                f"data[{name!r}]: {field} is not one number or text a record, and is not read of all of them at once. "
                f"Write data[:100][{name!r}] or data[5][{name!r}]."
            )
        empty = np.empty(0, str if field.ragged else field.dtype)
        return np.concatenate([*(taken[name] for _, taken in self.scan([name])), empty])

    def _numbers(self, index: object) -> NDArray[np.int64]:
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)), dtype=np.int64)
        refuse_masked(index, "What records are chosen by")
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
        shown, more = self.columns[:MOST_FIELDS], len(self.columns) - MOST_FIELDS
        fields = " · ".join(str(column.field) for column in shown) + (f" · ... ({len(self.columns):,} fields)" if more > 0 else "")
        lines = [f"{self.format_name} {self.title}: {len(self):,} records · {fields}"]
        lines += [f"  {column.field.name}: {column.describe()}" for column in shown]
        lines += [f"  ... and {more:,} more fields"] if more > 0 else []
        how = "addressable" if self.addressable else "decoded a block at a time"
        lines.append("  records are " + ("unpacked in the order in which they are stored" if self.forward_only else how))
        lines += [f"  {note}" for note in (*self.notes, *notes_on_nulls(self.nulls, self.schema))]
        lines += [f"  {omission}" for omission in self.omissions]
        lines += [f"  '{name}': {_listed(words)}" for name, words in self.classes.items()]
        return "\n".join(lines)


def _check_single(columns: Mapping[str, Column], name: str, title: str) -> None:
    """Raise ConfigError unless there is a field of this name, of one number or text a record."""
    if name not in columns:
        raise _no_field(list(columns), name, title)
    field = columns[name].field
    if not _is_single(field):
        raise ConfigError(
            f"Field {name!r} is {field}: not one number or text a record.", hint="Name a small field, such as a label or an identifier."
        )


def _is_single(field: Field) -> bool:
    """Whether it is one number or text a record."""
    return field.shape == () and field.ragged in ("", TEXT)


def _no_field(names: Sequence[str], name: str, title: str, *, quoted: str = "") -> ConfigError:
    """The error for a field that there is none of; `quoted` is said too, unless another name is close."""
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There is {', '.join(names)}.{quoted}"
    return ConfigError(f"{title} has no field {name!r}.", hint=hint)


def _listed(words: Sequence[str]) -> str:
    listed = ", ".join(f"{number} = {word}" for number, word in enumerate(words[:MOST_LISTED]))
    return listed + (f", ... ({len(words):,} classes)" if len(words) > MOST_LISTED else "")

"""What a source of records is: columns that readers can fill arrays from, and the dataset that users hold."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.files import Fingerprint, OpenFiles
from streamload.schema import Field, Schema


class Meter:
    """What one process has spent on a source so far; readers add to it, the engine reads it."""

    __slots__ = ("decode_ns", "read_nbytes", "read_ns")

    def __init__(self) -> None:
        self.read_ns = 0
        """Nanoseconds in system calls and copies that bring stored bytes in."""
        self.decode_ns = 0
        """Nanoseconds in codecs, in h5py, and in functions of the user's."""
        self.read_nbytes = 0
        """Stored bytes brought in."""


class Reader(Protocol):
    """Fills arrays with one field of records, in one process."""

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`, for every k.

        `records` are valid and in any order, and may repeat; `out` has shape (at least max(rows) + 1, *field.shape),
        the field's dtype, and is C-contiguous; `rows` do not repeat.
        """
        ...

    def advise(self, records: NDArray[np.int64]) -> None:
        """Say that these records will be gathered soon, so that slow storage can begin. Never an error; may do nothing."""
        ...

    def close(self) -> None:
        """Let go of memory and handles."""
        ...


class Column(Protocol):
    """How one field of all records of a source lies in storage: a plain value that pickles, its arrays out of band."""

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

    def reader(self, files: OpenFiles, meter: Meter) -> Reader:
        """A reader for the calling process; it opens nothing until it is asked for records."""
        ...

    def describe(self) -> str:
        """How it is stored, in a few words: "contiguous", "chunks of 64 records, gzip"."""
        ...


MOST_LISTED = 12
"""Classes of a field that a text lists."""


class Source:
    """Records in storage: a schema, how many there are, where they are cheap to cut, and access to any of them.

    Index it with an integer for one record (a dict of arrays and NumPy scalars), or with a slice, a list of integers or a
    boolean mask for several (a dict of arrays, each with the records along its first axis). The arrays are copies. Raises
    IndexError as NumPy does; SourceChangedError when a file is no longer what it was when the source was opened.
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
    ) -> None:
        self.format_name = format_name
        self.title = title
        self.columns = tuple(columns)
        self.fingerprints = tuple(fingerprints)
        self.file_starts = np.asarray(file_starts, np.int64)
        self.notes = tuple(notes)
        self.classes = {name: tuple(words) for name, words in (classes or {}).items()}
        """By field, the names of classes that its numbers stand for, where files or folders say so: names[label]."""
        self._readers: tuple[OpenFiles, list[Reader]] | None = None
        self._reading = threading.Lock()

    @property
    def schema(self) -> Schema:
        """The fields of a record, as they are delivered."""
        return Schema(tuple(column.field for column in self.columns))

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

    def take(self, records: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Arrays of the given records, in the order given; `records` are valid record numbers."""
        rows = np.arange(len(records), dtype=np.int64)
        out: dict[str, NDArray[Any]] = {}
        with self._reading:
            if self._readers is None:
                files = OpenFiles(self.fingerprints)
                self._readers = files, [column.reader(files, Meter()) for column in self.columns]
            files, readers = self._readers
            for column, reader in zip(self.columns, readers, strict=True):
                field = column.field
                out[field.name] = np.empty((len(records), *field.shape), field.dtype)
                if len(records):
                    reader.gather(records, out[field.name], rows)
            files.verify()
        return out

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

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_readers", "_reading")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._readers, self._reading = None, threading.Lock()

    def __repr__(self) -> str:
        lines = [f"{self.format_name} {self.title}: {len(self):,} records · {self.schema}"]
        lines += [f"  {column.field.name}: {column.describe()}" for column in self.columns]
        lines.append("  records are " + ("addressable" if self.addressable else "decoded a block at a time"))
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  '{name}': {_listed(words)}" for name, words in self.classes.items()]
        return "\n".join(lines)


def _listed(words: Sequence[str]) -> str:
    listed = ", ".join(f"{number} = {word}" for number, word in enumerate(words[:MOST_LISTED]))
    return listed + (f", ... ({len(words):,} classes)" if len(words) > MOST_LISTED else "")

"""Each file one record: what a format reads as many records of a file, seen as one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import ConfigError
from streamload.formats.columns.raw import RawRecords
from streamload.formats.derived.grouped import Grouped, first_in_blocks, spread
from streamload.nulls import Nulls
from streamload.schema import ARRAY, BYTES, Field
from streamload.source import Column, NullableColumn, Reader, ReadStats, Source
from streamload.storage.files import OpenFiles


def one_each_file(source: Source) -> Source:
    """The source with a record for each of its files: arrays of one shape stacked, others of any length along their first axis.

    Raises ConfigError for fields whose records differ in length within a file.
    """
    starts = np.asarray(source.file_starts, np.int64)
    for field in source.schema.ragged:
        raise ConfigError(
            f"{source.title}: '{field.name}' holds records of variable length, and record_axis=None takes each file for one record.",
            hint="Choose other fields with fields=[...], or leave record_axis out.",
        )
    columns = [_by_file(column, starts) for column in source.columns]
    return source.replaced(
        columns=columns,
        file_starts=np.arange(len(starts)),
        notes=[*source.notes, "each file is one record"],
        shapes_in_states={},
        nulls=_nulls(source, columns),
    )


def _nulls(source: Source, columns: Sequence[Column]) -> dict[str, Nulls]:
    """How many files hold nulls, by field: those that are counted by record are read to be counted by file."""
    found: dict[str, Nulls] = {}
    with closing(OpenFiles(source.fingerprints)) as files:
        for column in columns:
            one = source.nulls.get(column.field.name)
            if one is not None:
                count = len(cast(NullableColumn, column).null_records(files)) if one.count else one.count
                found[column.field.name] = one._replace(count=count, stored=source.schema[column.field.name])
        files.verify()
    return found


def _by_file(column: Column, starts: NDArray[np.int64]) -> Column:
    counts, field = np.diff(starts), column.field
    if len(set(counts.tolist())) != 1:
        ragged = BYTES if field.dtype == np.uint8 and field.shape == () else ARRAY
        return Grouped.of(replace(field, ragged=ragged), column, starts)
    length = int(counts[0])
    stacked = replace(field, shape=(length, *field.shape))
    raw = isinstance(column, RawRecords) and length and len(column.offsets) == len(counts) and (column.starts == starts).all()
    if raw and isinstance(column, RawRecords) and (column.strides == field.nbytes).all():
        return replace(column, field=stacked, starts=np.arange(len(starts), dtype=np.int64), strides=column.strides * length)
    return FilesAsRecords(field=stacked, elements=column, length=length)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FilesAsRecords(ColumnDefaults):
    """One field, each record of which is so many records of another column."""

    field: Field
    elements: Column
    length: int

    @property
    def addressable(self) -> bool:
        """Where the other is."""
        return self.elements.addressable

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Records that begin in other blocks than those before them."""
        inner = self.elements.cuts
        if inner is None or not self.length:
            return None
        return first_in_blocks(np.arange(0, int(inner[-1]), self.length, dtype=np.int64), inner)

    @property
    def scratch_nbytes(self) -> int:
        """As the other's."""
        return self.elements.scratch_nbytes

    @property
    def direct_nbytes(self) -> int:
        """As the other's."""
        return self.elements.direct_nbytes

    @property
    def mappable(self) -> bool:
        """As the other is."""
        return self.elements.mappable

    @property
    def file_nbytes(self) -> int | None:
        """As the other's."""
        return self.elements.file_nbytes

    def filled(self) -> FilesAsRecords:
        """The same of the other, which may hold nulls, with something in their place."""
        return replace(self, elements=cast(NullableColumn, self.elements).filled())

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """Those that hold a null of the other, which may hold some."""
        return np.unique(cast(NullableColumn, self.elements).null_records(files) // max(1, self.length))

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader for the calling process."""
        return FilesAsRecordsReader(self.elements.reader(files, meter), self.length, self.elements.field.shape)

    @property
    def single_threaded(self) -> bool:
        """As the other is."""
        return self.elements.single_threaded

    @property
    def forward_starts(self) -> NDArray[np.int64] | None:
        """The other's, in records of so many of its own."""
        inner = self.elements.forward_starts
        return None if inner is None or not self.length else inner // self.length

    def describe(self) -> str:
        """As the other is stored."""
        return self.elements.describe()


class FilesAsRecordsReader(ReaderDefaults):
    """Reads so many records of another column for each."""

    def __init__(self, elements: Reader, length: int, shape: tuple[int, ...]) -> None:
        self._elements = elements
        self._length = length
        self._shape = shape

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`."""
        if self._length and len(records):
            table = out.reshape((len(out) * self._length, *self._shape))
            self._elements.gather(self._spread(records), table, self._spread(rows))

    def advise(self, records: NDArray[np.int64]) -> None:
        """Pass it on."""
        if self._length and len(records):
            self._elements.advise(self._spread(records))

    def expect(self, records: NDArray[np.int64]) -> None:
        """Pass it on."""
        if self._length and len(records):
            self._elements.expect(self._spread(records))

    def close(self) -> None:
        """Let go of the reader."""
        self._elements.close()

    def _spread(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return spread(numbers * self._length, np.full(len(numbers), self._length, np.int64))

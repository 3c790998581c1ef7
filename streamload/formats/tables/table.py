"""Files that are tables, columns of one length with names: chosen, compared across files, and put together as a source."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError
from streamload.formats.attributes import agreed
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.formats.derived.stacked import Stacked
from streamload.formats.naming.class_names import agreed_classes
from streamload.formats.naming.field_names import Fields
from streamload.formats.tables.fields import ChosenField, Table, TablePart, chosen_in, extra_columns, refuse_unlike
from streamload.formats.tables.nulls import HeldWithNulls, ListFill, NullCounts, fill_for, refuse_idle_fill
from streamload.nulls import Nulls, own_null
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Column, NullableColumn, ReadStats, Source, measured_of, read_records, stored_nbytes
from streamload.storage.files import Fingerprint, OpenFiles, short_read, unreadable

RESIDENT_RECORD_NBYTES = 64
"""Records of a field that is decoded once and held are at most this large ..."""
RESIDENT_NBYTES = 256 * 1024**2
"""... and all of the field at most this."""
COUNTED_NBYTES = 64 * 1024**2
"""Fields of which no file counts the nulls are looked through at open if they are not larger."""


ColumnOf = Callable[[Field, Sequence[TablePart], Any], Column]
"""Makes a column of a field, its parts, and what stands for its nulls."""


def assemble(
    format_name: str,
    tables: Sequence[Table],
    fields: Fields | None,
    column_of: ColumnOf,
    *,
    fill: Any = None,
    nullable: Callable[[Column], bool] = lambda column: False,
    costs: Callable[[Column], list[str]] = lambda column: [],
    fingerprints: Sequence[Fingerprint] | None = None,
) -> Source:
    """A source over files of one schema: the first that holds records decides on the fields, the others must have the same ones.

    What stands for nulls comes from `fill` as the user gave it; `nullable` says whether a column that `column_of` made may meet
    any. Small fields are held in memory, but for the one with the largest records. `fingerprints` are all files that columns read,
    by number, where these are others than a file a table. Raises ConfigError for names that are not
    there, UnsupportedFeatureError for columns that cannot be read, SchemaMismatchError where files differ.
    """
    first = next((table for table in tables if table.records), tables[0])
    notes: list[str] = []
    chosen = chosen_in(first, fields, notes)
    for table in tables:
        if table is not first:
            refuse_unlike(first, table, chosen)
    notes.extend(extra_columns(first, tables))
    columns: list[Column] = []
    largest = max(chosen, key=lambda one: first.columns[one.keys[0]].record_nbytes * len(one.keys)).name
    read = [table.fingerprint for table in tables] if fingerprints is None else fingerprints
    assembly = _Assembly(tables, first, column_of, nullable, fill, OpenFiles(read))
    try:
        for one in chosen:
            column = assembly.column(one, hold=one.name != largest)
            columns.append(column)
            notes.extend(assembly.notes(one))
            notes.extend(costs(column))
    finally:
        assembly.files.close()
    refuse_idle_fill(fill, first.path, assembly.stands)
    return Source(
        format_name=format_name,
        title=first.path if len(tables) == 1 else f"{tables[0].path} ... {tables[-1].path} ({len(tables):,} files)",
        columns=columns,
        fingerprints=read,
        file_starts=assembly.starts,
        notes=notes,
        classes={one.name: words for one in chosen if (words := classes_of(tables, one))},
        attributes={one.name: said for one in chosen if (said := attributes_of(tables, one))},
        nulls=assembly.nulls,
    )


def classes_of(tables: Sequence[Table], chosen: ChosenField) -> tuple[str, ...]:
    """The longest list of classes that any file has for a field. Raises SchemaMismatchError where one number means different things."""
    if chosen.stacked:
        return ()
    return agreed_classes(chosen.keys[0], ((table.path, table.columns[chosen.keys[0]].classes) for table in tables))


def attributes_of(tables: Sequence[Table], chosen: ChosenField) -> dict[str, Any]:
    """What all files say alike of a field besides its values."""
    return {} if chosen.stacked else agreed(table.columns[chosen.keys[0]].attributes for table in tables)


class _Assembly:
    """The columns of a source, one after the other, and the files that they are read from, open all the while."""

    def __init__(
        self,
        tables: Sequence[Table],
        first: Table,
        column_of: ColumnOf,
        nullable: Callable[[Column], bool],
        fill: Any,
        files: OpenFiles,
    ) -> None:
        self._tables, self._first, self._column_of, self._nullable, self._fill = tables, first, column_of, nullable, fill
        self.files = files
        self.starts = np.cumsum([0, *(table.records for table in tables)])
        self.nulls: dict[str, Nulls] = {}
        self._own_nulls: dict[str, list[str]] = {}
        self.stands: dict[str, tuple[Field, Any]] = {}
        """By column, the field that it becomes, and what stands for its nulls."""

    def column(self, chosen: ChosenField, *, hold: bool) -> Column:
        """The column of a field, held in memory if it is small and may be."""
        made = [self._made(chosen, key) for key in chosen.keys]
        column, wrong = made[0]
        if chosen.stacked:
            columns, inner = tuple(one for one, _ in made), column.field
            field = Field(chosen.name, inner.dtype, (len(made), *inner.shape))
            column = Stacked(field=field, columns=columns, nullable=tuple(count != 0 for _, count in made))
            counts = [count for _, count in made]
            wrong = None if None in counts else sum(count or 0 for count in counts)
        if self._is_small(column, stacked=chosen.stacked) and (hold or chosen.stacked):
            if wrong == 0:
                return held_in_memory(column, int(self.starts[-1]), self.files)
            column = held_with_nulls(column, chosen.keys[0], self.starts, self.files)
            wrong = len(column.nulls) if isinstance(column, HeldWithNulls) else 0
        elif wrong is None and stored_nbytes(column) * self.starts[-1] <= COUNTED_NBYTES:
            wrong = len(null_records(column, self.files))
        if wrong != 0:
            self.nulls[chosen.name] = Nulls(chosen.name if chosen.stacked else chosen.keys[0], wrong)
        return column

    def notes(self, chosen: ChosenField) -> list[str]:
        """What a reader of `repr` should know of a field that was made."""
        notes = dict.fromkeys(f"'{chosen.name}' {note}" for key in chosen.keys if (note := self._first.columns[key].note))
        return [*self._own_nulls.get(chosen.name, []), *notes]

    def _made(self, chosen: ChosenField, key: str) -> tuple[Column, int | None]:
        """A column of the files, and how many nulls are errors in it; None where nobody has counted."""
        stored, tables = self._first.columns[key], self._tables
        field = Field(chosen.name, stored.dtype, stored.shape, stored.ragged)
        parts = [TablePart(number=at, records=table.records, stored=table.columns[key]) for at, table in enumerate(tables) if table.records]
        fill = self._fill
        if isinstance(fill, Mapping) and key not in fill and chosen.name in fill:
            fill = {key: fill[chosen.name]}
        stands = fill_for(fill, key, field)
        self.stands[key] = field, stands
        column = self._column_of(field, parts, stands) if parts or not stored.ragged else _nothing(field)
        counts = NullCounts.of(part.stored.nulls for part in parts) if self._nullable(column) else NullCounts()
        self._own_nulls.setdefault(chosen.name, []).extend(_note_on_nulls(field, counts, stands))
        return column, counts.refused(field, stands)

    def _is_small(self, column: Column, *, stacked: bool) -> bool:
        """Whether all of a field may be held; of columns side by side, whatever a record takes."""
        nbytes, records, measured = stored_nbytes(column), int(self.starts[-1]), measured_of(column)
        if isinstance(column, (InMemory, InMemoryRagged)):
            return False
        if measured is not None and float(measured.elements.sum()) * column.field.nbytes > RESIDENT_NBYTES:
            return False
        return (stacked or nbytes <= RESIDENT_RECORD_NBYTES) and nbytes * records <= RESIDENT_NBYTES


def _note_on_nulls(field: Field, counts: NullCounts, stands: Any) -> list[str]:
    """That NumPy's own null stands for those of a field."""
    own = own_null(field.dtype)
    count = (counts.within or counts.whole if field.ragged else (counts.whole or 0) + (counts.within or 0)) or 0
    some = counts.some and not field.ragged  # Of lists of any length these may be ones without values.
    if own is None or not (count or some) or (stands.value if isinstance(stands, ListFill) else stands) is not None:
        return []
    what = f"{count:,} null{'s' if count != 1 else ''}" if count else "nulls"
    return [f"'{field.name}' holds {what}, delivered as {'NaN' if field.dtype.kind == 'f' else 'NaT'}"]


def _nothing(field: Field) -> InMemoryRagged:
    """A ragged field of no record."""
    values = np.zeros((0, *field.shape), field.dtype)
    return InMemoryRagged(field=field, values=values, offsets=np.zeros(1, np.int64), label="no records")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawRuns:
    """Where raw records lie in one file."""

    firsts: NDArray[np.int64]
    """The record, counted in the file, with which each run begins."""
    offsets: NDArray[np.int64]
    """The byte at which it lies."""
    stride: int
    """Bytes from one record to the next."""
    dtype: np.dtype
    """As it lies in the file."""


def raw_records_of(field: Field, parts: Sequence[TablePart], runs: Sequence[RawRuns], *, blocks: bool, label: str) -> RawRecords:
    """Raw records of several files as one column; `runs` belong to `parts`."""
    starts = np.cumsum([0, *(part.records for part in parts)])
    counts = [len(one.firsts) for one in runs]
    return RawRecords(
        field=field,
        stored=runs[0].dtype if runs else field.dtype,
        starts=np.concatenate([*(one.firsts + start for one, start in zip(runs, starts[:-1], strict=True)), starts[-1:]]).astype(np.int64),
        numbers=np.repeat(np.array([part.number for part in parts], np.int32), counts),
        offsets=np.concatenate([one.offsets for one in runs] or [[]]).astype(np.int64),
        strides=np.repeat(np.array([one.stride for one in runs], np.int64), counts),
        blocks=blocks,
        label=label,
    )


def held_in_memory(column: Column, records: int, files: OpenFiles) -> InMemory | InMemoryRagged:
    """A small field, read whole, to be held in memory."""
    reader = column.reader(files, ReadStats())
    try:
        if column.field.ragged:
            found: Ragged = read_records(column, reader, np.arange(records, dtype=np.int64))
            files.verify()
            return InMemoryRagged(field=column.field, values=found.values, offsets=found.offsets, label=column.describe())
        values = np.empty((records, *column.field.shape), column.field.dtype)
        if isinstance(column, RawRecords):
            _read_runs(column, files, values)
        elif records:
            everything = np.arange(records, dtype=np.int64)
            reader.gather(everything, values, everything)
        files.verify()
    finally:
        reader.close()
    return InMemory(field=column.field, values=values, label=column.describe())


def null_records(column: Column, files: OpenFiles) -> NDArray[np.int64]:
    """The records of a column that may hold nulls for which nothing stands: where it does."""
    found = cast(NullableColumn, column).null_records(files)
    files.verify()
    return found


def held_with_nulls(column: Column, key: str, starts: NDArray[np.int64], files: OpenFiles) -> InMemory | InMemoryRagged | HeldWithNulls:
    """A small field that may hold nulls for which nothing stands, read whole; `key` is the name of its column."""
    nulls = null_records(column, files)
    if not len(nulls):
        return held_in_memory(column, int(starts[-1]), files)
    whole = held_in_memory(cast(NullableColumn, column).filled(), int(starts[-1]), files)
    return HeldWithNulls(stored=whole, column=key, nulls=nulls, starts=starts.astype(np.int64))


MOST_SPREAD = 64 * 1024**2
"""Bytes read at once where small records lie between others."""


def _read_runs(column: RawRecords, files: OpenFiles, values: NDArray[np.generic]) -> None:
    """Read whole runs and pick the records out: a call for each record would be slow before kernels are compiled."""
    nbytes = column.field.nbytes
    if not nbytes or not len(values):
        return
    rows = values.reshape(len(values), -1).view(np.uint8).reshape(len(values), nbytes)
    for run, number in enumerate(column.numbers.tolist()):
        start, stop = int(column.starts[run]), int(column.starts[run + 1])
        offset, stride = int(column.offsets[run]), int(column.strides[run])
        step = max(1, MOST_SPREAD // stride)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            spread = read_exactly(files, number, offset + (first - start) * stride, (last - first - 1) * stride + nbytes, column.field.name)
            apart = np.lib.stride_tricks.as_strided(np.frombuffer(spread, np.uint8), (last - first, nbytes), (stride, 1), writeable=False)
            rows[first:last] = apart
    if column.stored.newbyteorder("=") == column.field.dtype and not column.stored.isnative:
        values.byteswap(inplace=True)


def read_exactly(files: OpenFiles, number: int, offset: int, nbytes: int, dataset: str | None = None) -> bytearray:
    """`nbytes` at `offset` of a file. Raises CorruptDataError where the file ends before, SourceError where it cannot be read."""
    room = bytearray(nbytes if 0 <= nbytes <= files.fingerprints[number].nbytes else 0)
    read_into(memoryview(room), files, number, offset, nbytes, dataset)
    return room


def read_into(view: memoryview, files: OpenFiles, number: int, offset: int, nbytes: int, dataset: str | None = None) -> None:
    """The same, into the first `nbytes` of memory that is there already."""
    was = files.fingerprints[number]
    if offset < 0 or nbytes < 0 or offset + nbytes > was.nbytes:
        raise short_read(was, offset, nbytes)
    done = 0
    while done < nbytes:
        try:
            got = os.preadv(files.descriptor(number), [view[done:nbytes]], offset + done)
        except OSError as error:
            if isinstance(error, SourceError):
                raise
            raise unreadable(was, dataset, offset, nbytes, error) from error
        if not got:
            raise short_read(was, offset, nbytes)
        done += got

"""Files that are tables, columns of one length with names: chosen, compared across files, and put together as a source."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, SchemaMismatchError, SourceError, UnsupportedFeatureError
from streamload.formats.columns.raw import InMemory, RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Column, ReadStats, Source, read_records, stored_nbytes
from streamload.storage.files import Fingerprint, OpenFiles, short_read, unreadable

RESIDENT_RECORD_NBYTES = 64
"""Records of a field that is decoded once and held are at most this large ..."""
RESIDENT_NBYTES = 256 * 1024**2
"""... and all of the field at most this."""
MOST_LISTED = 12
"""Names that a text lists."""

Fields = Sequence[str] | Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileColumn:
    """One column of one file."""

    dtype: np.dtype
    """As it is delivered, in native byte order."""
    shape: tuple[int, ...]
    """Of one record."""
    kind: str
    """The type for people, as the file's own words have it: "uint8 (28, 28)", "fixed_size_binary[3072]"."""
    detail: Any
    """What the format needs to read it."""
    classes: tuple[str, ...] = ()
    """Names of the classes that its numbers stand for, where the file says so."""
    note: str = ""
    """What a reader of `repr` should know, after the field's name."""
    ragged: str = ""
    """How records differ in length, as `Field.ragged` has it."""
    mean: float = 1.0
    """Elements of a record on average, roughly, where it is ragged."""

    @property
    def record_nbytes(self) -> int:
        """Bytes of a record, as it is delivered, on average."""
        return int(self.mean * self.dtype.itemsize * np.prod(self.shape, dtype=np.float64))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """What one file holds."""

    path: str
    """As the user named it."""
    fingerprint: Fingerprint
    records: int
    columns: Mapping[str, FileColumn]
    """Those that can be read, in the order of the file."""
    aside: Mapping[str, str]
    """Columns that are no fields of records, such as names of files, and why: left out unless they are asked for."""
    refused: Mapping[str, str]
    """Columns that hold data which cannot be read yet, and why: an error unless other fields are chosen."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TablePart:
    """One column in one file of a source."""

    number: int
    """Of the file."""
    records: int
    stored: FileColumn


def assemble(
    format_name: str,
    tables: Sequence[Table],
    fields: Fields | None,
    column_of: Callable[[Field, Sequence[TablePart]], Column],
    *,
    costs: Callable[[Column], list[str]] = lambda column: [],
) -> Source:
    """A source over files of one schema: the first that holds records decides on the fields, the others must have the same ones.

    Nothing says how long the lists are in a file without records: it agrees with all. Small fields are held in memory, but for
    the one with the largest records. Raises ConfigError for names that are not there, UnsupportedFeatureError for columns that
    cannot be read, SchemaMismatchError where files differ.
    """
    first = next((table for table in tables if table.records), tables[0])
    notes: list[str] = []
    chosen = _chosen(first, fields, notes)
    for table in tables:
        if table is not first:
            _refuse_unlike(first, table, chosen)
    notes.extend(_extra(first, tables))
    fingerprints = [table.fingerprint for table in tables]
    largest = max(chosen, key=lambda pair: first.columns[pair[1]].record_nbytes)[0]
    records = sum(table.records for table in tables)
    columns: list[Column] = []
    for name, key in chosen:
        stored = first.columns[key]
        field = Field(name, stored.dtype, stored.shape, stored.ragged)
        parts = [TablePart(number=at, records=table.records, stored=table.columns[key]) for at, table in enumerate(tables) if table.records]
        column = column_of(field, parts) if parts or not stored.ragged else _nothing(field)
        nbytes = stored_nbytes(column)
        small = nbytes <= RESIDENT_RECORD_NBYTES and nbytes * records <= RESIDENT_NBYTES
        if small and name != largest and not isinstance(column, (InMemory, InMemoryRagged)):
            column = held_in_memory(column, records, fingerprints)
        columns.append(column)
        notes.extend(costs(column))
        notes += [f"'{name}' {stored.note}"] if stored.note else []
    return Source(
        format_name=format_name,
        title=first.path if len(tables) == 1 else f"{tables[0].path} ... {tables[-1].path} ({len(tables):,} files)",
        columns=columns,
        fingerprints=fingerprints,
        file_starts=np.cumsum([0, *(table.records for table in tables)]),
        notes=notes,
        classes={name: words for name, key in chosen if (words := max((table.columns[key].classes for table in tables), key=len))},
    )


def _nothing(field: Field) -> InMemoryRagged:
    """A ragged field of no record."""
    values = np.zeros((0, *field.shape), field.dtype)
    return InMemoryRagged(field=field, values=values, offsets=np.zeros(1, np.int64), label="no records")


def _chosen(table: Table, fields: Fields | None, notes: list[str]) -> list[tuple[str, str]]:
    """Fields in order: the name to deliver, and the name in the file."""
    if fields is None:
        if table.refused:
            others, it = list(table.columns), "it" if len(table.refused) == 1 else "them"
            listed = [f"column '{name}' {why}" for name, why in table.refused.items()]
            raise UnsupportedFeatureError(
                f"{table.path}: {'; '.join(listed[:MOST_LISTED])}{'; ...' if len(listed) > MOST_LISTED else ''}.",
                hint=f"Leave {it} out: fields={others}."
                if others
                else "There is no other column with data: write the file in another form.",
                path=table.path,
                dataset=next(iter(table.refused)),
            )
        if not table.columns:
            listed = "; ".join(f"'{name}' {why}" for name, why in list(table.aside.items())[:MOST_LISTED])
            raise ConfigError(
                f"{table.path} holds no column that could be a field" + (f": {listed}." if listed else "."),
                hint="Records need at least one column of numbers, arrays, text or bytes.",
                path=table.path,
            )
        notes.extend(f"'{name}' left out: it {why}" for name, why in list(table.aside.items())[:MOST_LISTED])
        return [(name, name) for name in table.columns]
    pairs = list(fields.items()) if isinstance(fields, Mapping) else [(name, name) for name in fields]
    twice = next((name for name, count in Counter(name for name, _ in pairs).items() if count > 1), None)
    if twice is not None:
        raise ConfigError(f"fields names {twice!r} twice.", hint="Name each field once, or rename with fields={name: column}.")
    return [(name, _known(table, key)) for name, key in pairs]


def _known(table: Table, key: str) -> str:
    if key in table.columns:
        return key
    why = table.refused.get(key) or table.aside.get(key)
    if why is not None:
        raise UnsupportedFeatureError(
            f"{table.path}: column '{key}' {why}.", hint="Choose other fields with fields=[...].", path=table.path, dataset=key
        )
    known = [*table.columns, *table.refused, *table.aside]
    close = difflib.get_close_matches(str(key), known, n=1)
    listed = ", ".join(map(repr, known[:MOST_LISTED])) + (", ..." if len(known) > MOST_LISTED else "")
    raise ConfigError(
        f"{table.path} holds no column {key!r}; it holds {listed or 'none at all'}.",
        hint=f"Did you mean {close[0]!r}?" if close else "Choose among these with fields=[...].",
        path=table.path,
    )


def refuse_unknown_columns(table: Table, given: object, argument: str) -> None:
    """Raise where an argument that is a mapping names a column that a file does not hold, or that cannot be read in any way."""
    unknown = [name for name in given if name not in table.columns and name not in table.aside] if isinstance(given, Mapping) else []
    for name in unknown:
        if name in table.refused:
            raise UnsupportedFeatureError(
                f"{table.path}: column '{name}' {table.refused[name]}, whatever {argument}= says of it.",
                hint=f"Leave it out: fields={list(table.columns)}.",
                path=table.path,
                dataset=name,
            )
        raise ConfigError(
            f"{argument} names {name!r}, which {table.path} does not hold.", hint=f"It holds {list(table.columns)}.", path=table.path
        )


def checked_shapes(given: object) -> dict[str, tuple[int | None, ...]]:
    """What `shapes=` says: by column, whole numbers, of which the first may be None. Raises ConfigError for anything else."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"shapes={given!r} names no columns.", hint='Give {column: shape}: shapes={"image": (32, 32, 3)}.')
    found: dict[str, tuple[int | None, ...]] = {}
    for name, shape in given.items():
        axes: list[Any] = list(shape) if isinstance(shape, (tuple, list)) else [""]
        if any(not isinstance(axis, (int, np.integer)) or isinstance(axis, bool) or axis < 0 for axis in axes[axes[:1] == [None] :]):
            raise ConfigError(
                f"shapes={{{name!r}: {shape!r}}} is no shape of a record.",
                hint=f"Give whole numbers, shapes={{{name!r}: (32, 32, 3)}}; None may stand first, where records differ in length.",
                dataset=str(name),
            )
        found[str(name)] = tuple(None if axis is None else int(axis) for axis in axes)
    return found


def _refuse_unlike(first: Table, table: Table, chosen: Sequence[tuple[str, str]]) -> None:
    for _, key in chosen:
        here, there = table.columns.get(key), first.columns[key]
        if here is None:
            why = table.refused.get(key) or table.aside.get(key)
            what = "missing" if why is None else f"unreadable: it {why}"
        elif not table.records and 0 in here.shape and here.dtype == there.dtype:
            continue
        elif (here.dtype, here.shape, here.ragged) != (there.dtype, there.shape, there.ragged):
            what = here.kind
        elif here.classes and there.classes and here.classes != there.classes:
            _refuse_other_classes(first, table, key, there.classes, here.classes)
            continue
        else:
            continue
        raise SchemaMismatchError(
            f"Column '{key}' differs: {there.kind} in {first.path}, {what} in {table.path}.",
            hint="Files of one source have one schema: open them apart, or choose other fields with fields=[...].",
            path=table.path,
            dataset=key,
        )


def _refuse_other_classes(first: Table, table: Table, key: str, there: tuple[str, ...], here: tuple[str, ...]) -> None:
    """Raise for files in which one number stands for different things; one list may go on where the other ends."""
    number = next((at for at, (a, b) in enumerate(zip(there, here, strict=False)) if a != b), None)
    if number is not None:
        raise SchemaMismatchError(
            f"Column '{key}' has other classes: {number} is {there[number]!r} in {first.path}, and {here[number]!r} in {table.path}.",
            hint="Open them apart, or write them with the same classes in the same order.",
            path=table.path,
            dataset=key,
        )


def _extra(first: Table, tables: Sequence[Table]) -> Iterator[str]:
    """What some files have beyond the first, for people."""
    known = {*first.columns, *first.refused, *first.aside}
    for table in tables:
        extra = [name for name in (*table.columns, *table.refused, *table.aside) if name not in known]
        if extra:
            yield f"{', '.join(map(repr, extra[:MOST_LISTED]))} left out: in {table.path}, not in {first.path}"
            known.update(extra)


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


def extents_of(field: Field, parts: Sequence[TablePart], runs: Sequence[RawRuns], *, blocks: bool, label: str) -> RawRecords:
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


def held_in_memory(column: Column, records: int, fingerprints: Sequence[Fingerprint]) -> InMemory | InMemoryRagged:
    """A small field, read whole, to be held in memory."""
    if column.field.ragged:
        return _held_ragged(column, records, fingerprints)
    files, values = OpenFiles(fingerprints), np.empty((records, *column.field.shape), column.field.dtype)
    reader = column.reader(files, ReadStats())
    try:
        if isinstance(column, RawRecords):
            _read_runs(column, files, values)
        elif records:
            everything = np.arange(records, dtype=np.int64)
            reader.gather(everything, values, everything)
        files.verify()
    finally:
        reader.close()
        files.close()
    return InMemory(field=column.field, values=values, label=column.describe())


def _held_ragged(column: Column, records: int, fingerprints: Sequence[Fingerprint]) -> InMemoryRagged:
    files = OpenFiles(fingerprints)
    reader = column.reader(files, ReadStats())
    try:
        found: Ragged = read_records(column, reader, np.arange(records, dtype=np.int64))
        files.verify()
    finally:
        reader.close()
        files.close()
    return InMemoryRagged(field=column.field, values=found.values, offsets=found.offsets, label=column.describe())


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

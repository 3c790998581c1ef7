"""The columns of tables: what each file holds, which of it is wanted, and whether files agree."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from streamload.errors import ConfigError, SchemaMismatchError, UnsupportedFeatureError
from streamload.formats.naming.field_names import Fields, is_pattern, matches, natural_key
from streamload.formats.tables.nulls import NullCounts
from streamload.storage.files import Fingerprint

MOST_LISTED = 12
"""Names that a text lists."""


class WantedColumns:
    """The columns that fields ask for, by name, by the name of a struct that they are members of, or by a pattern."""

    def __init__(self, fields: Fields | None) -> None:
        self._all = fields is None
        asked = [] if fields is None else list(fields.values()) if isinstance(fields, Mapping) else list(fields)
        names = [name for one in asked for name in ((one,) if isinstance(one, str) else one)]
        self._names = frozenset(names)
        self._patterns = [name for name in names if is_pattern(name)]

    def __contains__(self, key: str) -> bool:
        if self._all or key in self._names:
            return True
        parts = key.split(".")
        above = (".".join(parts[:depth]) for depth in range(1, len(parts)))
        return any(name in self._names for name in above) or any(matches(key, pattern) for pattern in self._patterns)

    @property
    def all(self) -> bool:
        """Whether nobody chose."""
        return self._all

    def within(self, key: str, columns: Container[str] = ()) -> bool:
        """Whether a column, or any member of it, is asked for; `columns` are names that are no members, whatever they begin with."""
        return key in self or any(name.startswith(f"{key}.") and name not in columns for name in self._names)

    def by_name(self, key: str) -> bool:
        """Whether a column is asked for by its own name."""
        return key in self._names


class ChosenField(NamedTuple):
    """A field that is to be delivered."""

    name: str
    keys: tuple[str, ...]
    """Its columns in the files."""
    stacked: bool
    """Whether they lie side by side in it, as they do even where there is only one."""


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
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the file says of it besides."""
    nulls: NullCounts = NullCounts()
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


def chosen_in(table: Table, fields: Fields | None, notes: list[str]) -> list[ChosenField]:
    """Fields in order. Raises ConfigError for names that are not there, UnsupportedFeatureError for what cannot be read."""
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
        return [ChosenField(name, (name,), False) for name in table.columns]
    asked = list(fields.items()) if isinstance(fields, Mapping) else [(None, name) for name in fields]
    chosen = [one for name, key in asked for one in _settled(table, name, key)]
    twice = next((name for name, count in Counter(one.name for one in chosen).items() if count > 1), None)
    if twice is not None:
        raise ConfigError(f"fields names {twice!r} twice.", hint="Name each field once, or rename with fields={name: column}.")
    return chosen


def _settled(table: Table, name: str | None, key: str | Sequence[str]) -> list[ChosenField]:
    """The fields that one that was asked for comes to: of a struct its members, of a pattern the columns that it stands for.

    Under a name given to them, the columns of a pattern or of a list are one field, side by side.
    """
    if not isinstance(key, str):
        found = [_known(table, column) for one in key for column in (_matching(table, one) or [one])]
        return [_stacked(table, str(name), found)]
    if key in table.columns:
        return [ChosenField(key if name is None else name, (key,), False)]
    members = [column for column in table.columns if column.startswith(f"{key}.")]
    if members:
        return [ChosenField((key if name is None else name) + column[len(key) :], (column,), False) for column in members]
    found = _matching(table, key)
    if not found:
        return [ChosenField(key if name is None else name, (_known(table, key),), False)]
    return [ChosenField(column, (column,), False) for column in found] if name is None else [_stacked(table, name, found)]


def _matching(table: Table, pattern: str) -> list[str]:
    """The columns that a pattern stands for, in natural order; none where it is no pattern, or the name of a column itself."""
    if not is_pattern(pattern) or pattern in table.columns:
        return []
    return sorted((column for column in table.columns if matches(column, pattern)), key=natural_key)


def _stacked(table: Table, name: str, keys: Sequence[str]) -> ChosenField:
    """Columns side by side. Raises ConfigError where there are none, or one is named twice; SchemaMismatchError where they differ."""
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice is not None or not keys:
        what = f"names column {twice!r} twice" if keys else "names no column"
        raise ConfigError(f"fields={{{name!r}: [...]}} {what}.", hint="Name each of the columns that are to stand side by side once.")
    first = table.columns[keys[0]]
    for key in keys:
        one = table.columns[key]
        if one.ragged or (one.dtype, one.shape) != (first.dtype, first.shape):
            other = f", and '{keys[0]}' is {first.kind}" if key != keys[0] else ""
            raise SchemaMismatchError(
                f"{table.path}: '{name}' cannot be made of columns side by side: '{key}' is {one.kind}{other}.",
                hint="They must be of one type, and of one length a record: choose such, or cast them when you write the file.",
                path=table.path,
                dataset=key,
            )
    return ChosenField(name, tuple(keys), True)


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


def refuse_unknown_columns(table: Table, given: object, argument: str, fields: Fields | None = None) -> None:
    """Raise where an argument that is a mapping names a column that a file does not hold, or that cannot be read in any way.

    It may also name those of `fields` that have names of their own.
    """
    known = {*table.columns, *table.aside, *(fields if isinstance(fields, Mapping) else ())}
    unknown = [name for name in given if name not in known] if isinstance(given, Mapping) else []
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


def refuse_unlike(first: Table, table: Table, chosen: Sequence[ChosenField]) -> None:
    """Raise SchemaMismatchError where a file has the chosen fields in another form than the first."""
    for key in (key for one in chosen for key in one.keys):
        here, there = table.columns.get(key), first.columns[key]
        if here is None:
            why = table.refused.get(key) or table.aside.get(key)
            what = "missing" if why is None else f"unreadable: it {why}"
        elif not table.records and 0 in here.shape and here.dtype == there.dtype:
            continue
        elif (here.dtype, here.shape, here.ragged) != (there.dtype, there.shape, there.ragged):
            what = here.kind
        else:
            continue
        raise SchemaMismatchError(
            f"Column '{key}' differs: {there.kind} in {first.path}, {what} in {table.path}.",
            hint="Files of one source have one schema: open them apart, or choose other fields with fields=[...].",
            path=table.path,
            dataset=key,
        )


def extra_columns(first: Table, tables: Sequence[Table]) -> Iterator[str]:
    """What some files have beyond the first, for people."""
    known = {*first.columns, *first.refused, *first.aside}
    for table in tables:
        extra = [name for name in (*table.columns, *table.refused, *table.aside) if name not in known]
        if extra:
            yield f"{', '.join(map(repr, extra[:MOST_LISTED]))} left out: in {table.path}, not in {first.path}"
            known.update(extra)

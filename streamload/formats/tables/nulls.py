"""Nulls in tables: what stands for them, and fields in which nothing does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.column_defaults import AddressableDefaults, ReaderDefaults
from streamload.errors import ConfigError
from streamload.formats.columns.raw import InMemory
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.nulls import null_error, own_null, stand_in_text
from streamload.schema import ARRAY, BYTES, TEXT, Field
from streamload.source import Lengths, ReadStats
from streamload.storage.files import OpenFiles


@dataclass(frozen=True, kw_only=True, slots=True)
class ListFill:
    """What stands for nulls of a field of lists that differ in length."""

    empty: bool
    """Whether a null among lists is a list without values; it is an error otherwise."""
    value: Any
    """What stands for a null in a list; None where NumPy has nothing of its own, and it is an error."""


def fill_for(fill: object, column: str, field: Field) -> Any:
    """The value that stands for nulls of a column; None where they are errors, and where NaN or NaT do.

    `fill` is what the user gave: {column: value}, or one value for all columns that can hold it. Raises ConfigError where a
    column that is named cannot hold its value.
    """
    value = fill.get(column) if isinstance(fill, Mapping) else fill
    found = None if value is None else _as_stored(value, field)
    if found is not None or value is None or not isinstance(fill, Mapping):
        return found
    what = f"is ragged ({field.ragged})" if field.ragged else f"is {field.dtype}"
    raise ConfigError(
        f"fill={value!r} cannot stand for nulls in '{column}', which {what}.",
        hint=f"Give what it can hold, such as fill={{{column!r}: {stand_in_text(field)}}}.",
        dataset=column,
    )


def refuse_idle_fill(fill: object, path: str, stands: Mapping[str, tuple[Field, Any]]) -> None:
    """Raise ConfigError where one value was given for all columns, and stands for the nulls of none of those that were chosen.

    `stands` has them by name, each with its field and what `fill_for` said.
    """
    if fill is None or isinstance(fill, Mapping) or any(value is not None for _, value in stands.values()):
        return
    column, (field, _) = next(iter(stands.items()))
    raise ConfigError(
        f"fill={fill!r:.60} cannot stand for nulls in any column that is read of {path}.",
        hint=f"Give what one of them can hold, such as fill={{{column!r}: {stand_in_text(field)}}}, or leave it out.",
        path=path,
    )


def _as_stored(value: object, field: Field) -> Any:
    """A value as a field holds it; None where it cannot."""
    if field.ragged in (TEXT, BYTES):
        return value if isinstance(value, str if field.ragged == TEXT else bytes) else None
    several = isinstance(value, (list, tuple))
    if several and field.ragged != ARRAY:
        return None
    elements = _elements(list(value) if isinstance(value, (list, tuple)) else [value], field.dtype)
    if elements is None or field.ragged != ARRAY:
        return None if elements is None else elements[0]
    return ListFill(empty=several, value=elements[0] if len(elements) else None)


def _elements(values: Sequence[Any], dtype: np.dtype) -> NDArray[Any] | None:
    """Up to one value as the dtype has it, a fraction rounded to it; None where it cannot hold it."""
    if len(values) > 1 or any(np.ndim(value) or (isinstance(value, (str, bytes)) != (dtype.kind in "SMm")) for value in values):
        return None
    try:
        with np.errstate(all="ignore"):
            given = np.asarray(values, dtype if not values or dtype.kind in "SMm" else None)
            found = given.astype(dtype)
        if given.dtype.kind == dtype.kind == "f":
            # The nearest fraction, but for one too large or too small for the dtype.
            return found if bool(((np.isfinite(found) == np.isfinite(given)) & ((found == 0) == (given == 0))).all()) else None
        return found if bool(((found == given) | (found != found)).all()) else None
    except (TypeError, ValueError, OverflowError):
        return None


class NullCounts(NamedTuple):
    """How many records of a column hold nulls; None where nobody has counted."""

    whole: int | None = 0
    """Records that are null."""
    within: int | None = 0
    """Lists that hold one, or the nulls in them."""
    some: bool = False
    """Whether there are any, though nobody has counted which are which."""

    def refused(self, field: Field, fill: Any) -> int | None:
        """How many of them are errors, in a field of which `fill` is what stands for nulls."""
        return _total(count for count, wrong in zip(self[:2], refusals(field, fill), strict=True) if wrong)

    @classmethod
    def of(cls, parts: Iterable[NullCounts]) -> NullCounts:
        """Of several files together."""
        counts = list(parts)
        return cls(_total(one.whole for one in counts), _total(one.within for one in counts), any(one.some for one in counts))


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def refusals(field: Field, fill: Any) -> tuple[bool, bool]:
    """Whether a record that is null is an error, and whether one that holds a null is."""
    own = own_null(field.dtype) is not None
    if field.ragged == ARRAY:
        lists = fill if isinstance(fill, ListFill) else ListFill(empty=False, value=None)
        return not lists.empty, lists.value is None and not own
    wrong = fill is None and (bool(field.ragged) or not own)
    return wrong, wrong


class NullsInBlocks(Protocol):
    """A reader that knows which records of a block are null."""

    def nulls_in(self, block: int) -> NDArray[np.bool_]:
        """Which records of a block have a null for which nothing stands: shape (records,)."""
        ...

    def close(self) -> None:
        """Let go of memory and handles."""
        ...


def nulls_in_blocks(reader: NullsInBlocks, cuts: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The records, in rising order, that have a null in any block; the reader is closed."""
    assert cuts is not None
    try:
        found = [np.flatnonzero(reader.nulls_in(block)) + first for block, first in enumerate(cuts[:-1].tolist())]
    finally:
        reader.close()
    return np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int64)


def without_refusals(field: Field, fill: Any) -> Any:
    """What stands for nulls where none may be an error: `fill` as it is, or a stand-in."""
    return stand_in(field) if any(refusals(field, fill)) else fill


def stand_in(field: Field) -> Any:
    """A value that a null of a field may be made, where nobody will look at it."""
    if field.ragged == TEXT:
        return ""
    if field.ragged == BYTES:
        return b""
    zero = np.zeros((), field.dtype)[()]
    return ListFill(empty=True, value=zero) if field.ragged else zero


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldWithNulls(AddressableDefaults):
    """A small field with nulls for which nothing stands, held in memory: asking for one of these is an error."""

    stored: InMemory | InMemoryRagged
    """The values, something in the place of nulls."""
    column: str
    """Its name in the files."""
    nulls: NDArray[np.int64]
    """The records that are null, or hold one, in rising order."""
    starts: NDArray[np.int64]
    """The first record of each file, and the number of records."""

    @property
    def field(self) -> Field:
        """As it is delivered."""
        return self.stored.field

    @property
    def lengths(self) -> Lengths:
        """Of all records, if it is ragged."""
        assert isinstance(self.stored, InMemoryRagged)
        return self.stored.lengths

    @property
    def block_elements(self) -> NDArray[np.int64] | None:
        """None: there are no blocks."""
        return None

    def filled(self) -> InMemory | InMemoryRagged:
        """The same with something in the place of nulls, for whoever will not ask for them."""
        return self.stored

    def null_records(self, files: OpenFiles) -> NDArray[np.int64]:
        """The records that are null, or hold one."""
        return self.nulls

    def renamed(self, name: str) -> HeldWithNulls:
        """The same under another name."""
        return replace(self, stored=replace(self.stored, field=replace(self.stored.field, name=name)))

    def reader(self, files: OpenFiles, meter: ReadStats) -> HeldReader:
        """A reader of the values."""
        return HeldReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored, and that it is held."""
        return f"{self.stored.describe()}, {len(self.nulls):,} of them null"


class HeldReader(ReaderDefaults):
    """Gathers from values in memory, none of which is a null."""

    def __init__(self, column: HeldWithNulls, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._inner: Any = column.stored.reader(files, meter)

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`. Raises NullValueError, with file and record."""
        self._refuse_nulls(records)
        self._inner.gather(records, out, rows)

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elements of each record. Raises NullValueError, with file and record."""
        self._refuse_nulls(records)
        return self._inner.lengths(records)

    def gather_ragged(self, records: NDArray[np.int64], values: NDArray[np.generic], starts: NDArray[np.int64]) -> None:
        """Put the elements of record `records[k]` into `values[starts[k]:]`."""
        self._inner.gather_ragged(records, values, starts)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Nothing to do: the values are in memory."""

    def close(self) -> None:
        """Let go of the inner reader."""
        self._inner.close()

    def _refuse_nulls(self, records: NDArray[np.int64]) -> None:
        column = self._column
        wrong = np.isin(records, column.nulls)
        if wrong.any():
            record = int(records[int(wrong.argmax())])
            number = int(np.searchsorted(column.starts, record, side="right")) - 1
            path, row = self._files.fingerprints[number].path, record - int(column.starts[number])
            raise null_error(path, column.column, row, column.field)

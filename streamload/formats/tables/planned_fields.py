"""Fields of formats whose records an index finds, put together as a source: chosen, filled, held where they are small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.formats.columns.raw import InMemory
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.formats.naming.field_names import Fields
from streamload.formats.tables.fields import FileColumn, Table, chosen_in, refuse_unknown_columns
from streamload.formats.tables.label_values import LabelValues, labels_or_texts
from streamload.formats.tables.nulls import HeldWithNulls, fill_for, refuse_idle_fill
from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.ragged import Ragged
from streamload.schema import TEXT, Field
from streamload.source import Column, Source
from streamload.storage.files import Fingerprint

Made = tuple[Column, int]
"""A column, and how many of its records are nulls for which nothing stands."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlannedField:
    """One field that there is to choose."""

    dtype: np.dtype
    shape: tuple[int, ...]
    ragged: str
    make: Callable[[Field, Any], Made]
    """Makes its column, under a name, with what stands for its nulls, or None."""
    classes: tuple[str, ...] = ()
    is_mask: bool = False
    as_nan: int = 0
    """Records without a value that NaN stands for, unless something else is to."""


def planned_source(
    fields_there: Mapping[str, PlannedField],
    fields: Fields | None,
    *,
    format_name: str,
    title: str,
    path: str,
    fingerprints: Sequence[Fingerprint],
    starts: NDArray[np.int64],
    fill: Any,
    aside: Mapping[str, str],
    notes: Sequence[str],
    omissions: Sequence[Omission],
    refused: Mapping[str, str] | None = None,
) -> Source:
    """A source of the fields that were chosen; `aside` are those that cannot be any, and why, `refused` those too large to lose in silence.

    Raises as `chosen_in` does, and ConfigError where `fill` names what is no field, or stands for nulls of none.
    """
    kinds = {
        name: FileColumn(dtype=one.dtype, shape=one.shape, kind=str(Field("", one.dtype, one.shape, one.ragged)), detail=None)
        for name, one in fields_there.items()
    }
    table = Table(path=path, fingerprint=fingerprints[0], records=int(starts[-1]), columns=kinds, aside=aside, refused=refused or {})
    said = list(notes)
    refuse_unknown_columns(table, fill, "fill", fields)
    chosen = chosen_in(table, fields, said)
    columns: list[Column] = []
    nulls: dict[str, Nulls] = {}
    given_for: dict[str, tuple[Field, Any]] = {}
    for name, (key, *_), _ in chosen:
        one = fields_there[key]
        field = Field(name, one.dtype, one.shape, one.ragged)
        given = {key: fill[name]} if isinstance(fill, Mapping) and key not in fill and name in fill else fill
        stands = fill_for(given, key, field)
        given_for[key] = field, stands
        column, count = one.make(field, stands)
        columns.append(column)
        if one.as_nan and stands is None:
            said.append(f"'{name}' holds {one.as_nan:,} null{'s' if one.as_nan != 1 else ''}, delivered as NaN")
        if count:
            nulls[name] = Nulls(key, count)
    refuse_idle_fill(fill, path, given_for)
    return Source(
        format_name=format_name,
        title=title,
        columns=columns,
        fingerprints=fingerprints,
        file_starts=starts,
        notes=said,
        classes={one.name: words for one in chosen if (words := fields_there[one.keys[0]].classes)},
        nulls=nulls,
        omissions=omissions,
        masks=[one.name for one in chosen if fields_there[one.keys[0]].is_mask],
    )


def field_of_values(
    key: str, values: Sequence[Any], starts: NDArray[np.int64], *, as_classes: bool | None = None, unreadable: Sequence[int] = ()
) -> PlannedField | str:
    """A field held in memory, of a value for each record, None where it has none; or why it can be none.

    Numbers, truth values, and lists of numbers of one length stay such. Texts are classes, in their order, where `as_classes` says so, or
    says nothing and they repeat: no more than 1,000 of them, each twice on average; else they are texts. `starts` are the records
    with which files begin, for errors; `unreadable` is as of `held_field`.
    """
    found = labels_or_texts(values, as_classes=as_classes)
    return held_field(key, [found], starts, unreadable=unreadable) if found.array is not None or found.texts is not None else found.why


def held_field(key: str, parts: Sequence[LabelValues], starts: NDArray[np.int64], *, unreadable: Sequence[int] = ()) -> PlannedField:
    """A field held in memory, its values in some parts that follow each other: texts, or numbers of the same classes.

    NaN stands for fractions that a record lacks, but not in the records `unreadable`, whose values are there and cannot be read.
    """
    if parts[0].texts is not None:
        return _held_texts(key, [text for part in parts for text in part.texts or ()], starts)
    array = np.concatenate([one.array for one in parts if one.array is not None])
    missing = np.flatnonzero(~np.concatenate([one.there for one in parts])).astype(np.int64)
    classes = tuple(parts[0].classes or ())

    is_float = array.dtype.kind == "f"
    wrong = np.intersect1d(missing, np.array(unreadable, np.int64)) if is_float else missing

    def make(field: Field, stands: Any) -> Made:
        values = array
        if len(missing) and (stands is not None or is_float):
            values = array.copy()
            values[missing] = np.nan if stands is None else stands
        whole = InMemory(field=field, values=values, label=f"{len(classes):,} classes" if classes else "small values")
        if not len(wrong) or stands is not None:
            return whole, 0
        return HeldWithNulls(stored=whole, column=key, nulls=wrong, starts=starts), len(wrong)

    as_nan = len(missing) - len(wrong)
    return PlannedField(dtype=array.dtype, shape=array.shape[1:], ragged="", make=make, classes=classes, as_nan=as_nan)


def _held_texts(key: str, values: Sequence[Any], starts: NDArray[np.int64]) -> PlannedField:
    missing = np.array([at for at, value in enumerate(values) if value is None], np.int64)

    def make(field: Field, stands: Any) -> Made:
        texts = Ragged.of([(stands or "") if value is None else value for value in values])
        whole = InMemoryRagged(field=field, values=texts.values, offsets=texts.offsets, label="texts")
        if not len(missing) or stands is not None:
            return whole, 0
        return HeldWithNulls(stored=whole, column=key, nulls=missing, starts=starts), len(missing)

    return PlannedField(dtype=np.dtype(np.uint8), shape=(), ragged=TEXT, make=make)

"""Nulls, which tables have and NumPy has not: what stands for them by itself, and what to tell whoever must say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from streamload.errors import NullValueError
from streamload.schema import ARRAY, BYTES, TEXT, Field, Schema

SKIP = 'Loader(..., on_bad_record="skip")'


class Nulls(NamedTuple):
    """Of a field in which nothing stands for nulls."""

    column: str
    """Its name in the files."""
    count: int | None  # pyright: ignore[reportIncompatibleMethodOverride]
    """How many records are null, or hold one; None where nobody has counted, and there may be none."""
    stored: Field | None = None
    """The field as `fill=` knows it, where several of its records are delivered as one."""


def own_null(dtype: np.dtype) -> Any:
    """What NumPy itself has for a null of a dtype: NaN or NaT; None where it has nothing."""
    if dtype.kind == "f":
        return dtype.type(np.nan)
    return dtype.type("NaT", np.datetime_data(dtype)) if dtype.kind in "Mm" else None


def stand_in_text(field: Field) -> str:
    """What a user may give in `fill=` for a field."""
    if field.ragged in (TEXT, BYTES):
        return '""' if field.ragged == TEXT else 'b""'
    zero = {"b": "False", "S": 'b""', "M": '"2000-01-01"'}.get(field.dtype.kind, "0")
    if field.ragged == ARRAY:
        return "[]" if own_null(field.dtype) is not None else f"[{zero}]"
    return zero


def advice(fields: Sequence[tuple[Field, str]]) -> str:
    """What to do about nulls in fields, which are given with the names of their columns in the files."""
    return f"{_filling(fields)}; or leave such records out, {SKIP}."


def advice_on_filling(nulls: Mapping[str, Nulls], schema: Schema, column: str | None) -> str:
    """The same for whoever asks for fields of all records at once, of which none can be left out."""
    return f"{_filling(_known(nulls, schema, column))}."


def _filling(fields: Sequence[tuple[Field, str]]) -> str:
    stands = ", ".join(f"{column!r}: {stand_in_text(field)}" for field, column in fields)
    return f"Say what stands for {'it' if len(fields) == 1 else 'them'}, fill={{{stands}}}"


def advice_on_nulls(nulls: Mapping[str, Nulls], schema: Schema, column: str | None = None) -> str:
    """What to do about nulls of all fields in which some were counted, and of `column`, which met one."""
    return advice(_known(nulls, schema, column))


def _known(nulls: Mapping[str, Nulls], schema: Schema, column: str | None) -> list[tuple[Field, str]]:
    return [(one.stored or schema[name], one.column) for name, one in nulls.items() if one.count or one.column == column]


def notes_on_nulls(nulls: Mapping[str, Nulls], schema: Schema) -> list[str]:
    """What `repr` says of fields in which some were counted, all of them in one line; nothing where there are none."""
    return [f"nulls in {counted(nulls)}. {advice_on_nulls(nulls, schema)}"] if counted(nulls) else []


def counted(nulls: Mapping[str, Nulls]) -> str:
    """Fields and their nulls, for people: "'label' (12), 'caption' (3)"."""
    return ", ".join(f"'{name}' ({one.count:,})" for name, one in nulls.items() if one.count)


def null_error(path: str, column: str, row: int, field: Field) -> NullValueError:
    """The error for a null; `row` is counted in the file."""
    return NullValueError(
        f"{path}: null at row {row:,} of column '{column}'.",
        hint=advice([(field, column)]),
        path=path,
        dataset=column,
        records=(row, row + 1),
    )

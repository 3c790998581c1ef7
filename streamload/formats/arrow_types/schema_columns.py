"""The columns of an Arrow schema as fields may be made of them: each by itself, and members of structs under names of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.types as kinds

from streamload.formats.arrow_types import ragged_types
from streamload.formats.arrow_types.element_types import storage_of

MOST_NESTED = 16
"""Structs within structs."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableColumn:
    """A column, or a member of one that is a struct."""

    path: tuple[str, ...]
    """Its name, and that of each member on the way."""
    numbers: tuple[int, ...]
    """The same as numbers: of the column in the schema, of each member in its struct."""
    field: Any
    """As pyarrow has it, under the name of the whole path."""

    @property
    def key(self) -> str:
        """What it is called: "place.x"."""
        return self.field.name


def columns_in(schema: Any) -> Iterator[TableColumn]:
    """The columns of a schema, in order; structs that are no images as their members, down to those that are none."""
    for number, field in enumerate(schema):
        yield from _members(field, (field.name,), (number,))


def _members(field: Any, path: tuple[str, ...], numbers: tuple[int, ...]) -> Iterator[TableColumn]:
    kind = storage_of(field.type)
    if not kinds.is_struct(kind) or ragged_types.is_image(kind) or not kind.num_fields or len(path) > MOST_NESTED:
        yield TableColumn(path=path, numbers=numbers, field=field.with_name(".".join(path)))
        return
    for number in range(kind.num_fields):
        member = kind.field(number)
        yield from _members(member, (*path, member.name), (*numbers, number))


def member_at(array: Any, names: tuple[str, ...]) -> Any:
    """The member of an array of structs that stands at the end of these names, null where any struct on the way is."""
    for name in names:
        array = ragged_types.plain(array)
        # Unlike the child itself, what flatten gives is null where the struct is.
        array = array.flatten()[array.type.get_field_index(name)]
    return array


def duplicate_in(names: list[str]) -> str | None:
    """A name that stands twice; None where there is none."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None

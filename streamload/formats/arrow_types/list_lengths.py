"""How long the lists of a column are, in all files of a source together: one length makes arrays, several make ragged records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc
import pyarrow.types as kinds

from streamload.formats.arrow_types import element_types, ragged_types
from streamload.formats.arrow_types.element_types import ArrowValues, SkippedColumnError, UnsupportedColumnError
from streamload.formats.arrow_types.ragged_types import RaggedValues
from streamload.formats.tables.fields import FileColumn, Table

MOST_LENGTHS = 2
"""Different lengths that are remembered of lists of one depth: more say nothing new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListLengths:
    """Lengths that were met in some records of a column."""

    met: tuple[frozenset[int], ...]
    """Of lists at each depth, the outermost first: up to MOST_LENGTHS of them, none where there were no lists."""
    records: int = 0
    """How many records were looked at."""

    @classmethod
    def nothing(cls, depth: int) -> ListLengths:
        """Of no records of a column with lists within lists, `depth` deep."""
        return cls(met=(frozenset(),) * depth)

    @classmethod
    def of(cls, array: Any, depth: int) -> ListLengths:
        """Of all records of an Arrow array."""
        met: list[frozenset[int]] = []
        count = len(array)
        for _ in range(depth):
            array = element_types.plain(array).drop_null()
            if kinds.is_fixed_size_list(array.type):
                found = frozenset([array.type.list_size] if len(array) else [])
            else:
                found = frozenset(pc.call_function("list_value_length", [array]).unique().slice(0, MOST_LENGTHS).to_pylist())
            met.append(found)
            array = array.flatten()
        return cls(met=tuple(met), records=count)

    def __or__(self, other: ListLengths) -> ListLengths:
        both = (frozenset(sorted(one | more)[:MOST_LENGTHS]) for one, more in zip(self.met, other.met, strict=True))
        return ListLengths(met=tuple(both), records=self.records + other.records)

    @property
    def known(self) -> tuple[int, ...]:
        """A length for each depth, where each has one; 0 where none was met."""
        return tuple(min(met, default=0) for met in self.met)

    @property
    def settled(self) -> bool:
        """Whether no further record can change what the column is."""
        inner = [len(one) > 1 for one in self.met[1:]]
        return any(inner) or (len(self.met[0]) > 1 and not inner)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenLists:
    """A column of lists whose lengths its type does not tell."""

    field: Any
    """As pyarrow has it."""
    values: ArrowValues | RaggedValues
    """With None for the lengths that are not known."""

    @property
    def inner(self) -> ArrowValues:
        """How values within lists become records, or elements of them."""
        found = self.values.inner if isinstance(self.values, RaggedValues) else self.values
        assert found is not None
        return found

    @property
    def closes_itself(self) -> bool:
        """Whether the type says all that there is to know."""
        return None not in self.inner.lists

    @property
    def depth(self) -> int:
        """Of lists within lists."""
        return len(self.inner.lists) + isinstance(self.values, RaggedValues)

    def closed(self, lengths: ListLengths) -> ArrowValues | RaggedValues:
        """The same with the lengths that were met. Raises UnsupportedColumnError where lists within lists differ."""
        name, values = self.field.name, self.values
        wrong = next((sorted(met) for met in lengths.met[1:] if len(met) > 1), None)
        if wrong is not None:
            raise UnsupportedColumnError(
                f"holds lists within lists that differ in length ({wrong[0]:,} and {wrong[1]:,}): "
                "records of a field may differ along their first axis only"
            )
        if isinstance(values, RaggedValues) or len(lengths.met[0]) > 1:
            ragged = values if isinstance(values, RaggedValues) else ragged_types.listed(self.field, None)
            if ragged.inner is None or None not in ragged.inner.lists:
                return ragged
            return replace(ragged, inner=element_types.with_lengths(ragged.inner, lengths.known[1:], name))
        return element_types.with_lengths(values, lengths.known, name)


def decide(
    tables: Sequence[Table],
    lists: Callable[[FileColumn], OpenLists | None],
    measure: Callable[[str, Sequence[int]], ListLengths],
    finish: Callable[[Table, str, ArrowValues | RaggedValues, ListLengths], FileColumn],
) -> list[Table]:
    """The same tables, in which each column of lists is either of arrays or ragged, in all files alike.

    `lists` says how a column is made of lists, if it is; `measure` looks at one in some of the files, by their numbers; `finish`
    makes it a column of a file.
    """
    found = list(tables)
    for name in dict.fromkeys(name for table in tables for name in table.columns):
        alike: dict[int, list[int]] = {}
        for at, table in enumerate(tables):
            one = lists(table.columns[name]) if name in table.columns else None
            if one is not None:
                alike.setdefault(one.depth, []).append(at)
        for numbers in alike.values():
            if all(_lists_of(lists, tables[at], name).closes_itself for at in numbers):
                continue
            lengths = measure(name, numbers)
            for at in numbers:
                found[at] = _decided(found[at], name, _lists_of(lists, tables[at], name), lengths, finish)
    return found


def _lists_of(lists: Callable[[FileColumn], OpenLists | None], table: Table, name: str) -> OpenLists:
    found = lists(table.columns[name])
    assert found is not None
    return found


def _decided(
    table: Table,
    name: str,
    lists: OpenLists,
    lengths: ListLengths,
    finish: Callable[[Table, str, ArrowValues | RaggedValues, ListLengths], FileColumn],
) -> Table:
    try:
        return replace(table, columns={**table.columns, name: finish(table, name, lists.closed(lengths), lengths)})
    except SkippedColumnError as error:
        return _without(table, name, error)


def _without(table: Table, name: str, error: SkippedColumnError) -> Table:
    """The table with a column that is no field, and why."""
    columns = {key: stored for key, stored in table.columns.items() if key != name}
    if isinstance(error, UnsupportedColumnError):
        return replace(table, columns=columns, refused={**table.refused, name: error.why})
    return replace(table, columns=columns, aside={**table.aside, name: error.why})

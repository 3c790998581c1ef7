"""Several sources as one: every batch has a fixed number of records of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.schema import Schema
from streamload.source import Column, Source

MOST_PARTS = 127
"""A batch says in a byte which part each record is from."""
HINT = 'Give each part as a source and its records in a batch: sl.mix({"a": (data_a, 192), "b": (data_b, 64)}).'


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mixture:
    """What `mix` makes: sources by name, all of the same fields, and how many records of each a rank's batch has."""

    sources: Mapping[str, Source]
    counts: Mapping[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        """The parts, in the order in which they lie in a batch."""
        return tuple(self.sources)

    @property
    def batch_size(self) -> int:
        """Records of a rank's batch."""
        return sum(self.counts.values())

    @property
    def schema(self) -> Schema:
        """The fields of every part, in the order of the first."""
        return next(iter(self.sources.values())).schema

    def columns(self, name: str) -> tuple[Column, ...]:
        """The columns of a part, in the order of the first one's fields."""
        columns = {column.field.name: column for column in self.sources[name].columns}
        return tuple(columns[field] for field in self.schema.names)

    def __len__(self) -> int:
        return sum(map(len, self.sources.values()))

    def __repr__(self) -> str:
        lines = [f"Mixture of {len(self.sources)} parts in batches of {self.batch_size:,} · {self.schema}"]
        lines += [f"  {name}: {self.counts[name]:,} of {len(source):,} records · {source.title}" for name, source in self.sources.items()]
        return "\n".join(lines)


def mix(parts: Mapping[str, tuple[Source, int]]) -> Mixture:
    """Sources that a Loader takes in place of one: every batch has so many records of each, part after part.

    ```python
    mixed = sl.mix({"photos": (photos, 192), "drawings": (drawings, 64)})
    loader = sl.Loader(mixed, batch_size=256)
    ```

    Each part goes through epochs of its own, in an order of its own. An epoch of the mixture ends with the step in which the part
    that needs most steps has been seen once. All parts have the same fields, in any order.

    Raises ConfigError for what are no parts, and SchemaMismatchError, naming the field and both sides, where fields differ.
    """
    if not isinstance(cast(object, parts), Mapping) or not parts:
        raise ConfigError(f"mix() was given {type(parts).__name__} in place of parts by name.", hint=HINT)
    if len(parts) > MOST_PARTS:
        raise ConfigError(
            f"mix() was given {len(parts):,} parts; at most {MOST_PARTS} are told apart.", hint="Join files that are alike: sl.open([...])."
        )
    sources: dict[str, Source] = {}
    counts: dict[str, int] = {}
    for name, part in parts.items():
        sources[name], counts[name] = _part(name, part)
    if not sum(counts.values()):
        raise ConfigError("mix() was given no records for a batch: every count is 0.", hint=HINT)
    first, *others = sources
    for name in others:
        _check_alike(first, sources[first].schema, name, sources[name].schema)
    _check_classes(sources)
    return Mixture(sources=sources, counts=counts)


def _check_classes(sources: Mapping[str, Source]) -> None:
    """Raise SchemaMismatchError where a number of a field stands for one thing in one part, and for another in another."""
    for field in next(iter(sources.values())).schema.names:
        longest, where = (), ""
        for name, source in sources.items():
            words = source.classes.get(field, ())
            number = next((at for at, (a, b) in enumerate(zip(longest, words, strict=False)) if a != b), None)
            if number is not None:
                raise SchemaMismatchError(
                    f"mix(): '{field}' has other classes: {number} is {longest[number]!r} in '{where}', and {words[number]!r} in '{name}'.",
                    hint="Number them alike: write one of them with the classes of the other, in their order.",
                    dataset=field,
                )
            longest, where = (words, name) if len(words) > len(longest) else (longest, where)


def _part(name: Any, part: Any) -> tuple[Source, int]:
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise ConfigError(f"mix(): {name!r} is no name of a part.", hint=HINT)
    if not isinstance(part, tuple) or len(cast("tuple[Any, ...]", part)) != 2:
        raise ConfigError(f"mix(): part {name!r} is no pair of a source and a number.", hint=HINT)
    source, count = cast("tuple[Any, Any]", part)
    if not isinstance(source, Source):
        raise ConfigError(f"mix(): part {name!r} is of {type(source).__name__}, not a source.", hint=HINT)
    if isinstance(count, (bool, np.bool_)) or not isinstance(count, (int, np.integer)) or count < 0:
        raise ConfigError(f"mix(): {count!r} is no number of records of {name!r}.", hint=HINT)
    if not len(source):
        raise ConfigError(f"mix(): part {name!r} has no records.", hint="Leave it out.")
    return source, int(count)


def _check_alike(first: str, ours: Schema, name: str, theirs: Schema) -> None:
    """Raise SchemaMismatchError where two parts have different fields."""
    hint = "Choose and rename fields where you open them, sl.open(..., fields={...}), or bring them to one shape in a conversion."
    for field in (*ours, *theirs):
        sides = [(part, schema) for part, schema in ((first, ours), (name, theirs)) if field.name in schema]
        if len(sides) == 1:
            other = name if sides[0][0] == first else first
            raise SchemaMismatchError(f"Part {sides[0][0]!r} has a field {field.name!r}, and part {other!r} has none.", hint=hint)
        if ours[field.name] != theirs[field.name]:
            raise SchemaMismatchError(
                f"Field {field.name!r} is {ours[field.name]} in part {first!r}, and {theirs[field.name]} in part {name!r}.", hint=hint
            )

"""What was asked of HDF5 files: which fields, and which axis of them counts records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from streamload.errors import ConfigError
from streamload.formats.naming.field_names import natural_key

Axis = int | None
"""The axis of a dataset that counts records: 0 the first, -1 the last, None where all of it is one record."""
MOST_LISTED = 12
"""Names that an error lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One call of `sl.open`, as far as HDF5 goes."""

    paths: tuple[str, ...]
    fields: tuple[tuple[str | None, str], ...] | None = None
    """(Name to deliver, or None for the file's own; name or pattern in the file); None where they are to be found."""
    axis: Axis = 0
    axes: tuple[tuple[str, Axis], ...] = ()
    """Of single fields, by name."""
    scaled: bool = False
    """Whether packed values are delivered as physical ones; what is stored does not depend on it."""

    @classmethod
    def of(
        cls,
        paths: Sequence[str],
        fields: Sequence[str] | Mapping[str, str] | None = None,
        record_axis: Axis | Mapping[str, Axis] = 0,
        *,
        scaled: bool = False,
    ) -> Request:
        """The request for what a user has said. Raises ConfigError for what cannot be."""
        axes = dict(record_axis) if isinstance(record_axis, Mapping) else {}
        for axis in [*axes.values(), *(() if isinstance(record_axis, Mapping) else (record_axis,))]:
            if axis is not None and (not isinstance(cast(object, axis), int) or isinstance(axis, bool)):
                raise ConfigError(
                    f"record_axis={record_axis!r} is not known.",
                    hint='Give the number of an axis (-1 is the last), None for "each dataset is one record", or these by field.',
                )
        return cls(
            paths=tuple(paths),
            fields=None if fields is None else _pairs(fields),
            axis=0 if isinstance(record_axis, Mapping) else record_axis,
            axes=tuple(axes.items()),
            scaled=scaled,
        )

    def axis_of(self, *names: str | None) -> Axis:
        """The axis that counts records of a field, known by any of these names."""
        return next((axis for known, axis in self.axes if known in names), self.axis)

    def refuse_unknown_axes(self, known: Iterable[str | None]) -> None:
        """Raise ConfigError where record_axis names what nothing is called that it could be of."""
        names = set(known)
        unknown = [name for name, _ in self.axes if name not in names]
        if unknown:
            listed = sorted(filter(None, names), key=natural_key)
            raise ConfigError(
                f"record_axis names {unknown[0]!r}, which no dataset or field of {self.paths[0]} is called.",
                hint=f"It holds {', '.join(map(repr, listed[:MOST_LISTED]))}{', ...' if len(listed) > MOST_LISTED else ''}.",
                path=self.paths[0],
                unknown_axes=unknown,
            )

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"paths": self.paths, "fields": self.fields, "axis": self.axis, "axes": self.axes}

    @classmethod
    def from_plain(cls, said: dict[str, Any]) -> Request:
        """What `to_plain` gave."""
        fields = said["fields"]
        return cls(
            paths=tuple(said["paths"]),
            fields=None if fields is None else tuple((name, asked) for name, asked in fields),
            axis=said["axis"],
            axes=tuple((name, axis) for name, axis in said["axes"]),
        )


def _pairs(fields: Sequence[str] | Mapping[str, str]) -> tuple[tuple[str | None, str], ...]:
    if isinstance(fields, Mapping):
        return tuple(fields.items())
    twice = next((name for name, count in Counter(fields).items() if count > 1), None)
    if twice is not None:
        raise ConfigError(f"fields names {twice!r} twice.", hint="Name each field once, or rename with fields={name: path}.")
    return tuple((None, asked) for asked in fields)

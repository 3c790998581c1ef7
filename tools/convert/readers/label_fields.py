"""Chosen small fields of an origin, read without the rest of its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.ragged import text_arrays
from streamload.schema import TEXT
from streamload.tools.console import clean, meant
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.record_source import RecordSource

STRETCH_RECORDS = 65_536
"""Records are read so many at a time."""


class SmallFields:
    """Some fields of all records; `asked` names, for errors, the arguments that ask for each."""

    def __init__(self, origin: RecordSource, request: OpenRequest, asked: dict[str, str]) -> None:
        self._names = tuple(asked)
        self._own: RecordSource | None = None
        self._origin = origin
        chosen = request.fields or {}
        stored = {name: chosen.get(name, name) for name in self._names}
        if not set(self._names) <= set(origin.schema.names):
            # Beside those that were chosen: what else was said is said of them, and they must be of the same records.
            whole = replace(request, fields=chosen | stored, size=None, mode="rgb", in_colour=False)
            try:
                self._own = self._origin = open_records(whole)
            except ConfigError:
                self._own = None
        schema, count = self._origin.schema, len(self._origin)
        if count != len(origin):
            self.close()
            raise ConfigError(
                f"{clean(', '.join(f'{argument} {name}' for name, argument in asked.items()))}: there are {count:,} records of that, and "
                f"{len(origin):,} of what is converted.",
                hint="Name a field of the same records, or choose --fields that have as many.",
            )
        for name, argument in asked.items():
            if name not in schema or schema[name].shape != () or schema[name].ragged not in ("", TEXT):
                self.close()
                small = [field.name for field in origin.schema if field.shape == ()]
                quoted = f" If it is a text, put it in quotes: '{clean(name)}'." if argument == "--where" else ""
                raise ConfigError(
                    f"{argument} {clean(name)}: there is no field of single numbers of that name.",
                    hint=meant(name, small) + quoted + " Fields with other signs in their names can be renamed: --fields a=x/y.",
                )

    @property
    def classes(self) -> dict[str, Sequence[str]]:
        """What numbers of a field stand for, where the origin says so."""
        return dict(self._origin.classes)

    def passes(self, numbers: Iterator[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        """Stretches of record numbers, and their fields."""
        schema = self._origin.schema
        nothing = {name: np.zeros(0, np.str_ if schema[name].ragged else schema[name].dtype) for name in self._names}
        for stretch in numbers:
            if not self._names or not len(stretch):
                yield stretch, nothing
                continue
            taken = {name: self._origin.values(name, stretch) for name in self._names}
            for start, stop, fields in text_arrays(taken, len(stretch)):
                yield stretch[start:stop], fields

    def close(self) -> None:
        """Let go of what was opened for this."""
        if self._own is not None:
            self._own.close()
        self._own = None


def stretches(count: int, left_out: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """All record numbers but those left out (ascending), a stretch at a time."""
    for start in range(0, count, STRETCH_RECORDS):
        stop = min(count, start + STRETCH_RECORDS)
        numbers = np.arange(start, stop, dtype=np.int64)
        first, last = np.searchsorted(left_out, [start, stop])
        yield np.delete(numbers, left_out[first:last] - start) if last > first else numbers


def filed(path: str) -> Iterator[NDArray[np.int64]]:
    """The record numbers in a file, a stretch at a time."""
    with open(path, "rb") as file:
        while len(numbers := np.fromfile(file, np.int64, STRETCH_RECORDS)):
            yield numbers

"""Some records of a source: those that can be read, or those that were chosen, in an order of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SchemaMismatchError, SourceError
from streamload.schema import Field, Schema
from streamload.tools.convert.record_source import RecordSource, batch_records
from streamload.tools.convert.record_source_defaults import NOTHING, ForwardingSource


def sound_records(
    origin: RecordSource, numbers: NDArray[np.int64], *, alike: bool = True
) -> tuple[NDArray[np.int64], dict[str, Any] | None, list[tuple[int, str]]]:
    """Those of the records that can be read, all their fields, and why others cannot; None for the fields where none can.

    Raises SchemaMismatchError, which is about all of them, where they should be `alike`.
    """
    try:
        return numbers, origin.take(numbers), []
    except SourceError as error:
        if alike and isinstance(error, SchemaMismatchError):
            raise
        if len(numbers) == 1:
            return numbers[:0], None, [(int(numbers[0]), error.message)]
    bad = [fault for number in numbers for fault in sound_records(origin, numbers[numbers == number], alike=alike)[2]]
    sound = numbers[~np.isin(numbers, [number for number, _ in bad])]
    return sound, origin.take(sound) if len(sound) else None, bad


def sound_numbers(origin: RecordSource) -> NDArray[np.int64]:
    """The records that can be read; all are read to find them."""
    every, batch = np.arange(len(origin), dtype=np.int64), batch_records(origin)
    parts = [sound_records(origin, every[start : start + batch], alike=False)[0] for start in range(0, len(every), batch)]
    return np.concatenate(parts) if parts else every


class ChosenRecords(ForwardingSource):
    """Some records of another source, which is its owner's, in an order of their own."""

    stored_nbytes: Mapping[str, int] = NOTHING

    def __init__(self, origin: RecordSource, numbers: NDArray[np.int64]) -> None:
        super().__init__(origin)
        self._numbers = numbers

    @property
    def schema(self) -> Schema:
        """The other's."""
        return self._origin.schema

    @property
    def encoded_fields(self) -> tuple[str, ...]:
        """The other's: records are delivered as they are there."""
        return self._origin.encoded_fields

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """Arrays of the given records, by their place among the chosen."""
        return self._origin.take(self._numbers[records])

    def take_encoded(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The same with images as bytes."""
        return self._origin.take_encoded(self._numbers[records])

    def begin_take(self, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """The same, under way."""
        return self._origin.begin_take(self._numbers[records])

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """One field."""
        return self._origin.values(name, self._numbers[records])

    def image_shapes(self, number: int) -> Iterator[tuple[Field, str, tuple[tuple[int, ...], np.dtype[Any]]]]:
        """What headers say of a record."""
        return self._origin.image_shapes(int(self._numbers[number]))

"""FlatBuffers, as much of them as Arrow's messages need: tables, scalars, and vectors of structures, every access checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FlatError(ValueError):
    """Bytes that are no table."""


@dataclass(frozen=True, slots=True)
class FlatTable:
    """One table in a buffer."""

    data: bytes
    at: int

    def place(self, field: int) -> int | None:
        """The byte at which a field lies, or None where the table leaves it out."""
        vtable = self.at - _number(self.data, self.at, "<i")
        nbytes = _number(self.data, vtable, "<H")
        slot = 4 + 2 * field
        if slot + 2 > nbytes:
            return None
        offset = _number(self.data, vtable + slot, "<H")
        return self.at + offset if offset else None

    def number(self, field: int, code: str, default: int = 0) -> int:
        """A scalar; `code` is struct's."""
        place = self.place(field)
        return default if place is None else _number(self.data, place, "<" + code)

    def table(self, field: int) -> FlatTable | None:
        """A table that a field refers to."""
        place = self.place(field)
        return None if place is None else FlatTable(self.data, place + _number(self.data, place, "<I"))

    def text(self, field: int) -> bytes:
        """A string, as it is encoded; b"" where the table leaves it out."""
        return self.structures(field, np.dtype(np.uint8)).tobytes()

    def tables(self, field: int) -> list[FlatTable]:
        """A vector of tables."""
        place = self.place(field)
        if place is None:
            return []
        start = place + _number(self.data, place, "<I")
        count = _number(self.data, start, "<I")
        if start + 4 + 4 * count > len(self.data):
            raise FlatError(f"a vector of {count:,} tables goes on beyond its message")
        return [FlatTable(self.data, at + _number(self.data, at, "<I")) for at in range(start + 4, start + 4 + 4 * count, 4)]

    def structures(self, field: int, dtype: np.dtype) -> NDArray[Any]:
        """A vector of structures of a fixed layout."""
        place = self.place(field)
        if place is None:
            return np.zeros(0, dtype)
        start = place + _number(self.data, place, "<I")
        count = _number(self.data, start, "<I")
        if start + 4 + count * dtype.itemsize > len(self.data):
            raise FlatError(f"a vector of {count:,} elements goes on beyond its message")
        return np.frombuffer(self.data, dtype, count, start + 4)


def root(data: bytes) -> FlatTable:
    """The table that a buffer begins with. Raises FlatError, here or on access, where there is none."""
    return FlatTable(data, _number(data, 0, "<I"))


def _number(data: bytes, at: int, code: str) -> int:
    if at < 0:
        raise FlatError("an offset leads before the message")
    try:
        return struct.unpack_from(code, data, at)[0]
    except struct.error as error:
        raise FlatError("an offset leads beyond the message") from error

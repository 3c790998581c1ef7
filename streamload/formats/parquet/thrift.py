"""Thrift's compact protocol, as much of it as footers and page headers need: structures become dicts from field number to value."""

from __future__ import annotations

from typing import Any

MOST_DEPTH = 16
"""Structures within structures."""
MOST_ELEMENTS = 10_000_000
"""Of a list."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class ThriftError(ValueError):
    """Bytes that are no Thrift structure."""


class CutShortError(ThriftError):
    """A structure that goes on beyond the bytes at hand."""


def read_struct(data: bytes, at: int = 0) -> tuple[dict[int, Any], int]:
    """The structure that begins at byte `at`, and the byte after it.

    Binary values stay bytes, structures are dicts, lists are lists. Raises CutShortError where the data ends before the
    structure, ThriftError where it is no structure.
    """
    cursor = _Cursor(data, at)
    return cursor.struct(0), cursor.at


class _Cursor:
    """A place in the data, and what can be read there."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def struct(self, depth: int) -> dict[int, Any]:
        """A structure: fields up to the stop byte."""
        if depth > MOST_DEPTH:
            raise ThriftError("structures are nested too deeply")
        found: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return found
            kind, step = head & 0x0F, head >> 4
            number = number + step if step else self._zigzag()
            if number in found:
                raise ThriftError(f"field {number} stands twice")
            found[number] = self._value(kind, depth, inside=False)

    def _value(self, kind: int, depth: int, *, inside: bool) -> Any:
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if inside else kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ThriftError(f"a field has the type {kind}, which Parquet never has")

    def _list(self, depth: int) -> list[Any]:
        if depth > MOST_DEPTH:
            raise ThriftError("lists are nested too deeply")
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()
        if count > min(MOST_ELEMENTS, len(self._data)):
            raise ThriftError(f"a list claims {count:,} elements")
        return [self._value(head & 0x0F, depth + 1, inside=True) for _ in range(count)]

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise CutShortError("the data ends within a structure")
        self.at += 1
        return self._data[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        if self.at + count > len(self._data):
            raise CutShortError("the data ends within a value")
        self.at += count
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ThriftError("a number has more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

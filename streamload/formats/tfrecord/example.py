"""`tf.train.Example` messages, taken apart by hand: named lists of bytes, of fractions or of whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5
"""Wire types of protocol buffers; groups have not been written for twenty years."""
FEATURE = {1: "bytes", 2: "floats", 3: "integers"}

Feature = list[bytes] | NDArray[Any]


def features_of(data: bytes) -> dict[str, Feature]:
    """The features of an Example by name: lists of bytes, float32 or int64. Raises ValueError for what is no whole Example."""
    return {name: [bytes(one) for one in made] if isinstance(made, list) else made for name, made in viewed(memoryview(data)).items()}


def viewed(data: memoryview) -> dict[str, list[memoryview] | NDArray[Any]]:
    """The same, bytes as views of where they lie in `data`."""
    found: dict[str, list[memoryview] | NDArray[Any]] = {}
    for number, wire, value in _parts(data):
        if number == 2 and wire == LENGTH:
            raise ValueError("it is a SequenceExample, whose records are of many lengths")
        if number != 1:
            continue
        for inner, _, entry in _parts(_message(value, wire)):
            if inner == 1:
                name, feature = _entry(entry)
                found[name] = feature
    return found


def _entry(entry: Any) -> tuple[str, list[memoryview] | NDArray[Any]]:
    """A name and its feature."""
    name, feature = "", memoryview(b"")
    for number, wire, value in _parts(_message(entry, LENGTH)):
        if number == 1:
            name = bytes(_message(value, wire)).decode("utf-8", "surrogateescape")
        elif number == 2:
            feature = _message(value, wire)
    made: list[memoryview] | NDArray[Any] = []
    for number, wire, value in _parts(feature):
        if number in FEATURE:
            made = _KINDS[number](_message(value, wire))
    return name, made


def _message(value: Any, wire: int) -> memoryview:
    if wire != LENGTH or not isinstance(value, memoryview):
        raise ValueError(f"a message was expected, and wire type {wire} found")
    return value


def _parts(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """The parts of a message: field number, wire type, and the value: an integer, or a view of bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, wire, value
            continue
        if wire == LENGTH:
            nbytes, at = _varint(data, at)
        elif wire in (EIGHT, FOUR):
            nbytes = 8 if wire == EIGHT else 4
        else:
            raise ValueError(f"there is no wire type {wire}")
        if at + nbytes > len(data):
            raise ValueError(f"a part of {nbytes:,} bytes has {len(data) - at:,}")
        yield key >> 3, wire, data[at : at + nbytes]
        at += nbytes


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number has more than 10 bytes")


def _texts(data: memoryview) -> list[memoryview]:
    return [_message(value, wire) for number, wire, value in _parts(data) if number == 1]


def _floats(data: memoryview) -> NDArray[np.float32]:
    parts: list[memoryview] = []
    for number, wire, value in _parts(data):
        if number == 1:
            if wire not in (LENGTH, FOUR) or len(value) % 4:
                raise ValueError("a list of fractions is no whole number of them")
            parts.append(value)
    return np.frombuffer(b"".join(parts), "<f4").astype(np.float32)


def _integers(data: memoryview) -> NDArray[np.int64]:
    lists: list[NDArray[np.uint64]] = []
    for number, wire, value in _parts(data):
        if number == 1:
            if wire not in (LENGTH, VARINT):
                raise ValueError("a list of whole numbers holds something else")
            lists.append(np.array([value], np.uint64) if wire == VARINT else varints(value))
    return (np.concatenate(lists) if lists else np.zeros(0, np.uint64)).view(np.int64)


def varints(data: bytes | memoryview) -> NDArray[np.uint64]:
    """Numbers of 7 bits a byte, one behind the other. Raises ValueError where the last is cut short, or one too long."""
    held = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(held < 0x80)
    if len(held) and (not len(ends) or ends[-1] != len(held) - 1):
        raise ValueError("a number is cut short")
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]) if len(ends) else np.zeros(0, np.int64)
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    if longest > 10:
        raise ValueError("a number has more than 10 bytes")
    values = np.zeros(len(starts), np.uint64)
    for at in range(longest):
        has = lengths > at
        values[has] |= (held[starts[has] + at] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * at)
    return values


_KINDS: dict[int, Any] = {1: _texts, 2: _floats, 3: _integers}

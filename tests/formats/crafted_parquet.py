"""Parquet files of one column of bytes of fixed length, pages put together by hand: layouts that pyarrow reads and never writes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Pack = Callable[[bytes], bytes]
CODECS = {"none": 0, "gzip": 2, "zstd": 6}
BYTES_OF_FIXED_LENGTH, OPTIONAL, PLAIN, RLE = 7, 1, 0, 3


class Long(int):
    """A number of 64 bits; others have 32."""


def varint(number: int) -> bytes:
    """A number, seven bits a byte."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def thrift(fields: dict[int, object]) -> bytes:
    """A structure in Thrift's compact protocol: whole numbers, bytes, structures as dicts, and lists of one of these."""
    out, before = b"", 0
    for number, value in fields.items():
        out += bytes([(number - before) << 4 | _kind(value)]) + _value(value)
        before = number
    return out + b"\0"


def _kind(value: object) -> int:
    if isinstance(value, int):
        return 6 if isinstance(value, Long) else 5
    return 8 if isinstance(value, bytes) else 12 if isinstance(value, dict) else 9


def _value(value: object) -> bytes:
    if isinstance(value, int):
        return varint(2 * value)
    if isinstance(value, bytes):
        return varint(len(value)) + value
    if isinstance(value, dict):
        return thrift(value)
    assert isinstance(value, list)
    return bytes([0xF0 | _kind(value[0])]) + varint(len(value)) + b"".join(map(_value, value))


def levels(count: int, *, bits: bool = False) -> bytes:
    """Definition levels that say of each value that it is there: as one run, or as bits."""
    return varint(-(-count // 8) << 1 | 1) + b"\xff" * -(-count // 8) if bits else varint(count << 1) + b"\1"


def page(values: np.ndarray, pack: Pack, *, bits: bool = False, version: int = 1) -> bytes:
    """A page of data, its values optional and all there."""
    body, own = values.tobytes(), levels(len(values), bits=bits)
    if version == 2:
        packed, count = own + pack(body), len(values)
        says: dict[int, object] = {1: count, 2: 0, 3: count, 4: PLAIN, 5: len(own), 6: 0}
        return thrift({1: 3, 2: len(own) + len(body), 3: len(packed), 8: says}) + packed
    body = struct.pack("<I", len(own)) + own + body
    packed = pack(body)
    return thrift({1: 0, 2: len(body), 3: len(packed), 5: {1: len(values), 2: PLAIN, 3: RLE, 4: RLE}}) + packed


def write(path: Path, pages: Sequence[bytes], *, records: int, width: int, codec: str) -> None:
    """A file of one row group of such pages: column x, records of `width` bytes."""
    body = b"".join(pages)
    kind: dict[int, object] = {1: BYTES_OF_FIXED_LENGTH, 2: width, 3: OPTIONAL, 4: b"x"}
    count, nbytes, start = Long(records), Long(len(body)), Long(4)
    says: dict[int, object] = {1: BYTES_OF_FIXED_LENGTH, 2: [PLAIN, RLE], 3: [b"x"], 4: CODECS[codec], 5: count, 6: nbytes, 7: nbytes}
    column = {2: start, 3: {**says, 9: start, 12: {3: Long(0)}}}
    footer = thrift({1: 2, 2: [{4: b"schema", 5: 1}, kind], 3: count, 4: [{1: [column], 2: nbytes, 3: count}]})
    path.write_bytes(b"PAR1" + body + footer + struct.pack("<I", len(footer)) + b"PAR1")

"""Pages of raw values: where their records lie in the file, read from the page headers alone.

A page is a header in Thrift's compact protocol, then its body. Of a body in PLAIN encoding without compression, whose
column is not repeated, the values lie side by side, behind the definition levels where the column is optional.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.formats.parquet.thrift import CutShortError, ThriftError, read_struct

DATA, INDEX, DICTIONARY, DATA_V2 = range(4)
PLAIN, RLE = 0, 3

FIRST_READ = 256
"""Bytes read at a page's beginning: header and definition levels of most pages."""
MOST_HEADER = 16 * 1024**2
"""Bytes of a page header: one holds statistics, which may be two whole records."""

DICTIONARY_SLACK = 100
"""Bytes by which old writers miscount a chunk with a dictionary: they forget the header of its page."""
DOUBTED_NBYTES = 64 * 1024**2 - 1
"""Up to so many bytes of a chunk are unpacked though the footer admits fewer: some writers count them in their own way."""

ReadAt = Callable[[int, int], bytes]
"""Bytes at (offset, most nbytes): fewer at the end of the file."""


class NotRawError(Exception):
    """Pages that must be decoded; internal to planning."""


class PageError(ValueError):
    """Pages that contradict themselves, or the footer."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ColumnChunk:
    """One column of one row group, as the footer has it."""

    offset: int
    """Of its first page."""
    nbytes: int
    """Of all its pages, headers included."""
    rows: int
    codec: str = "uncompressed"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RawPages:
    """The data pages of one column in one file."""

    firsts: NDArray[np.int64]
    """The record, counted in the file, with which each page begins."""
    offsets: NDArray[np.int64]
    """The byte at which its first value lies."""
    bodies: NDArray[np.int64]
    """The byte at which its body begins, levels included."""
    nbytes: NDArray[np.int64]
    """Of its body."""
    checksums: NDArray[np.int64]
    """CRC-32 of its body, or -1."""


def walk(read: ReadAt, chunks: list[ColumnChunk], *, value_nbytes: int, optional: bool) -> RawPages:
    """The pages of a column, chunk after chunk.

    Raises NotRawError where a page is encoded, or holds nulls; PageError where headers and footer disagree.
    """
    firsts: list[int] = []
    offsets: list[int] = []
    bodies: list[int] = []
    sizes: list[int] = []
    checksums: list[int] = []
    start = 0
    for chunk in chunks:
        at, stop, rows = chunk.offset, chunk.offset + chunk.nbytes, 0
        while at < stop and rows < chunk.rows:
            header, body, head = read_header(read, at, stop)
            nbytes = whole(header, 3)
            at = body + nbytes
            if at > stop:
                raise PageError(f"the page at byte {body:,} ends at {at:,}, beyond its column chunk, which ends at {stop:,}")
            kind = header.get(1)
            if kind == INDEX:
                continue
            if kind not in (DATA, DATA_V2):
                raise NotRawError
            count, levels = (_version_1 if kind == DATA else _version_2)(header, head, read, body, optional)
            expected = count * value_nbytes + levels
            if expected != nbytes:
                raise PageError(f"the page at byte {body:,} has {nbytes:,} bytes where its {count:,} values take {expected:,}")
            if count:
                firsts.append(start + rows)
                offsets.append(body + levels)
                bodies.append(body)
                sizes.append(nbytes)
                checksums.append(checksum(header))
            rows += count
        if rows != chunk.rows:
            raise PageError(f"the pages from byte {chunk.offset:,} hold {rows:,} records, and the footer says {chunk.rows:,}")
        require_end(at, chunk.offset, chunk.nbytes, dictionary=False)
        start += rows
    arrays = (np.array(numbers, np.int64) for numbers in (firsts, offsets, bodies, sizes, checksums))
    return RawPages(**dict(zip(("firsts", "offsets", "bodies", "nbytes", "checksums"), arrays, strict=True)))


def tile(read: ReadAt, *, offset: int, nbytes: int, values: int, unpacked: int, compressed: bool) -> int:
    """Check that the pages of a column chunk, encoded ones, hold as many values as the footer says, and no more bytes than can be;
    returns the bytes of the largest of them, unpacked.

    Raises PageError where they do not: pages that claim much more than the whole chunk are never unpacked. Sizes that are only
    miscounted, as some writers do, are left to whoever decodes the pages: what is compressed does not unpack from a wrong
    place. Pages that are not must fill their chunk.
    """
    at, stop, found, claimed, largest, dictionary = offset, offset + nbytes, 0, 0, 0, False
    while at < stop and found < values:
        header, body, _ = read_header(read, at, stop)
        kind, size = header.get(1), whole(header, 3)
        claimed, largest = claimed + body - at + whole(header, 2), max(largest, whole(header, 2))
        at = body + size
        if size > max(nbytes, DOUBTED_NBYTES) or (at > stop and size and not read(at - 1, 1)):
            raise PageError(f"the page at byte {body:,} claims {size:,} stored bytes, which are not there")
        if kind in (DATA, DATA_V2):
            inner = header.get(5 if kind == DATA else 8)
            if not isinstance(inner, dict):
                raise PageError(f"the page header before byte {body:,} does not describe a data page")
            found += whole(inner, 1)
        elif kind not in (INDEX, DICTIONARY):
            raise PageError(f"the page header before byte {body:,} is of no known kind, {kind}")
        dictionary = dictionary or kind == DICTIONARY
        if claimed > max(unpacked + DICTIONARY_SLACK, DOUBTED_NBYTES):
            raise PageError(f"the page at byte {body:,} claims {whole(header, 2):,} bytes, more than its column chunk has left")
    if found != values:
        raise PageError(f"the pages from byte {offset:,} hold {found:,} values, and the footer says {values:,}")
    if values and not compressed:
        require_end(at, offset, nbytes, dictionary=dictionary)
    return largest


def require_end(at: int, offset: int, nbytes: int, *, dictionary: bool) -> None:
    """Raise PageError unless the pages of a chunk, one of which may be a dictionary, end where it does."""
    if not 0 <= at - offset - nbytes <= DICTIONARY_SLACK * dictionary:
        raise PageError(f"the pages from byte {offset:,} end at byte {at - offset:,} of their column chunk's {nbytes:,}")


def read_header(read: ReadAt, at: int, stop: int) -> tuple[dict[int, Any], int, bytes]:
    """The page header at byte `at`, the byte at which the body begins, and what was read of the body with it."""
    nbytes = FIRST_READ
    while True:
        data = read(at, min(nbytes, stop - at))
        try:
            header, end = read_struct(data)
            return header, at + end, data[end:]
        except CutShortError as error:
            if len(data) < nbytes or nbytes >= MOST_HEADER:
                raise PageError(f"the page header at byte {at:,} has no end") from error
            nbytes *= 4
        except ThriftError as error:
            raise PageError(f"at byte {at:,} stands no page header: {error}") from error


def _version_1(header: dict[int, Any], head: bytes, read: ReadAt, body: int, optional: bool) -> tuple[int, int]:
    """Values of a page of version 1, and the bytes of levels before them."""
    inner = header.get(5)
    if not isinstance(inner, dict):
        raise PageError(f"the page header before byte {body:,} does not describe a data page")
    count = whole(inner, 1)
    if inner.get(2) != PLAIN:
        raise NotRawError
    if not optional:
        return count, 0
    if inner.get(3) != RLE:
        raise NotRawError
    prefix = head[:4] if len(head) >= 4 else read(body, 4)
    nbytes = int.from_bytes(prefix, "little")
    if len(prefix) < 4 or nbytes > whole(header, 3) - 4:
        raise PageError(f"the definition levels at byte {body:,} claim {nbytes:,} bytes")
    levels = head[4 : 4 + nbytes] if len(head) >= 4 + nbytes else read(body + 4, nbytes)
    require_defined(levels, count)
    return count, 4 + nbytes


def _version_2(header: dict[int, Any], head: bytes, read: ReadAt, body: int, optional: bool) -> tuple[int, int]:
    """Values of a page of version 2, and the bytes of levels before them."""
    inner = header.get(8)
    if not isinstance(inner, dict):
        raise PageError(f"the page header before byte {body:,} does not describe a data page")
    count, nbytes = whole(inner, 1), whole(inner, 5)
    if inner.get(4) != PLAIN or inner.get(2) != 0:
        raise NotRawError
    if inner.get(3) != count or inner.get(6) != 0 or nbytes > whole(header, 3) or (nbytes and not optional):
        raise PageError(f"the page header before byte {body:,} contradicts itself")
    if optional and nbytes:
        require_defined(head[:nbytes] if len(head) >= nbytes else read(body, nbytes), count)
    return count, nbytes


def require_defined(levels: bytes, count: int) -> None:
    """Raise NotRawError unless definition levels of one bit, in the hybrid of runs and packed bits, are all 1."""
    at = defined = 0
    while defined < count:
        head = shift = 0
        while True:
            if at >= len(levels) or shift > 35:
                raise PageError("definition levels end too soon")
            byte = levels[at]
            head |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        if head & 1:
            packed = levels[at : at + (head >> 1)]
            wanted = min(8 * (head >> 1), count - defined)
            at, defined = at + len(packed), defined + wanted
            if int.from_bytes(packed, "little") & ((1 << wanted) - 1) != (1 << wanted) - 1:
                raise NotRawError
        else:
            run = head >> 1
            if not run or at >= len(levels):
                raise PageError("definition levels hold an empty run")
            if levels[at] != 1:
                raise NotRawError
            at, defined = at + 1, defined + run


def checksum(header: dict[int, Any]) -> int:
    """The CRC-32 that a page header gives, or -1. Raises PageError where it is no number."""
    found = header.get(4, -1)
    if type(found) is not int:
        raise PageError(f"field 4 of a page header is {found!r}, where a checksum is expected")
    return found & 0xFFFFFFFF if 4 in header else -1


def whole(fields: dict[int, Any], number: int) -> int:
    """A size in a page header. Raises PageError where it is none."""
    value = fields.get(number)
    if type(value) is not int or not 0 <= value < 2**31:
        raise PageError(f"field {number} of a page header is {value!r}, where a size is expected")
    return value

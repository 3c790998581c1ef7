"""Pages of raw values: where their records lie in the file, read from the page headers alone.

A page is a header in Thrift's compact protocol, then its body. Of a body in PLAIN encoding without compression, whose
column is not repeated, the values lie side by side, behind the definition levels where the column is optional.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.formats.parquet.page_headers import (
    DATA,
    DATA_V2,
    DICTIONARY,
    DICTIONARY_SLACK,
    INDEX,
    PLAIN,
    RLE,
    ColumnChunk,
    NotRawError,
    Page,
    PageError,
    ReadAt,
    end_of,
    pages_in,
    require_end,
    whole,
)
from streamload.formats.parquet.runs import require_defined

DOUBTED_NBYTES = 64 * 1024**2 - 1
"""Up to so many bytes of a chunk are unpacked though the footer admits fewer: some writers count them in their own way."""


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
        pages = pages_in(read, at, stop)
        while rows < chunk.rows and (page := next(pages, None)) is not None:
            at = page.stop
            if at > stop:
                raise PageError(f"the page at byte {page.body:,} ends at {at:,}, beyond its column chunk, which ends at {stop:,}")
            if page.kind == INDEX:
                continue
            if page.kind not in (DATA, DATA_V2):
                raise NotRawError
            count, levels = (_version_1 if page.kind == DATA else _version_2)(page, read, optional=optional)
            expected = count * value_nbytes + levels
            if expected != page.nbytes:
                raise PageError(f"the page at byte {page.body:,} has {page.nbytes:,} bytes where its {count:,} values take {expected:,}")
            if count:
                firsts.append(start + rows)
                offsets.append(page.body + levels)
                bodies.append(page.body)
                sizes.append(page.nbytes)
                checksums.append(page.crc)
            rows += count
        if rows != chunk.rows:
            raise PageError(f"the pages from byte {chunk.offset:,} hold {rows:,} records, and the footer says {chunk.rows:,}")
        require_end(end_of(pages, at), chunk.offset, chunk.nbytes, dictionary=False)
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
    at, found, claimed, largest, dictionary = offset, 0, 0, 0, False
    pages = pages_in(read, offset, offset + nbytes)
    while found < values and (page := next(pages, None)) is not None:
        at, size, unpacked_nbytes = page.stop, page.nbytes, page.unpacked_nbytes
        claimed, largest = claimed + page.body - page.start + unpacked_nbytes, max(largest, unpacked_nbytes)
        if size > max(nbytes, DOUBTED_NBYTES) or (at > offset + nbytes and size and not read(at - 1, 1)):
            raise PageError(f"the page at byte {page.body:,} claims {size:,} stored bytes, which are not there")
        if page.kind in (DATA, DATA_V2):
            found += whole(page.data(), 1)
        elif page.kind not in (INDEX, DICTIONARY):
            raise PageError(f"the page header before byte {page.body:,} is of no known kind, {page.kind}")
        dictionary = dictionary or page.kind == DICTIONARY
        if claimed > max(unpacked + DICTIONARY_SLACK, DOUBTED_NBYTES):
            raise PageError(f"the page at byte {page.body:,} claims {unpacked_nbytes:,} bytes, more than its column chunk has left")
    if found != values:
        raise PageError(f"the pages from byte {offset:,} hold {found:,} values, and the footer says {values:,}")
    if values and not compressed:
        require_end(end_of(pages, at), offset, nbytes, dictionary=dictionary)
    return largest


def _version_1(page: Page, read: ReadAt, *, optional: bool) -> tuple[int, int]:
    """Values of a page of version 1, and the bytes of levels before them."""
    inner, head, body = page.data(), page.head, page.body
    count = whole(inner, 1)
    if inner.get(2) != PLAIN:
        raise NotRawError
    if not optional:
        return count, 0
    if inner.get(3) != RLE:
        raise NotRawError
    prefix = head[:4] if len(head) >= 4 else read(body, 4)
    nbytes = int.from_bytes(prefix, "little")
    if len(prefix) < 4 or nbytes > page.nbytes - 4:
        raise PageError(f"the definition levels at byte {body:,} claim {nbytes:,} bytes")
    require_defined(head[4 : 4 + nbytes] if len(head) >= 4 + nbytes else read(body + 4, nbytes), count)
    return count, 4 + nbytes


def _version_2(page: Page, read: ReadAt, *, optional: bool) -> tuple[int, int]:
    """Values of a page of version 2, and the bytes of levels before them."""
    inner, head, body = page.data(), page.head, page.body
    count, nbytes = whole(inner, 1), whole(inner, 5)
    if inner.get(4) != PLAIN or inner.get(2) != 0:
        raise NotRawError
    if inner.get(3) != count or inner.get(6) != 0 or nbytes > page.nbytes or (nbytes and not optional):
        raise PageError(f"the page header before byte {body:,} contradicts itself")
    if optional and nbytes:
        require_defined(head[:nbytes] if len(head) >= nbytes else read(body, nbytes), count)
    return count, nbytes

"""Which pages hold values of fixed size side by side once they are unpacked, or once each, in a dictionary: from headers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.formats.parquet.page_headers import (
    DATA,
    DATA_V2,
    DICTIONARY,
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

PACKINGS = ("uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4 raw")
"""Codecs whose pages are unpacked by ourselves."""
PLAIN_DICTIONARY, RLE_DICTIONARY = 2, 8
BODY, NBYTES, UNPACKED, CHECKSUM, COUNT, LEVELS, CODEC, INDEXED = range(8)
"""Columns of the table of pages: where the body begins and how long it is, stored and unpacked; its CRC-32 or -1; its values;
bytes of levels that stand before it, not packed, or -1 where they are within it; its codec; its dictionary, or -1."""
SLACK = 64
"""Bytes of a page beside its values and levels."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CompressedPageFile:
    """The pages of one column in one file."""

    firsts: NDArray[np.int64]
    """The record, counted in the file, with which each data page begins."""
    pages: NDArray[np.int64]
    """The table of data pages: shape (pages, 8)."""
    dictionaries: NDArray[np.int64]
    """The table of dictionaries."""


def walk_compressed(read: ReadAt, chunks: list[ColumnChunk], *, value_nbytes: int, optional: bool) -> CompressedPageFile:
    """The pages of a column, chunk after chunk.

    Raises NotRawError where a page is encoded in another way, PageError where headers and footer disagree.
    """
    firsts: list[int] = []
    pages: list[list[int]] = []
    dictionaries: list[list[int]] = []
    start = 0
    for chunk in chunks:
        at, stop, rows, dictionary = chunk.offset, chunk.offset + chunk.nbytes, 0, -1
        found = pages_in(read, at, stop)
        while rows < chunk.rows and (page := next(found, None)) is not None:
            at, body, nbytes, unpacked = page.stop, page.body, page.nbytes, page.unpacked_nbytes
            if at > stop:
                raise NotRawError  # Old writers miscount chunks with a dictionary: pyarrow knows how.
            if page.kind == INDEX:
                continue
            crc, codec = page.crc, PACKINGS.index(chunk.codec)
            if page.kind == DICTIONARY:
                count = _dictionary(page, value_nbytes)
                dictionary = len(dictionaries)
                dictionaries.append([body, nbytes, unpacked, crc, count, -1, codec, -1])
                continue
            if page.kind not in (DATA, DATA_V2):
                raise NotRawError
            count, levels, encoding, packed = (_version_1 if page.kind == DATA else _version_2)(page.data())
            indexed = encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY)
            if (not indexed and encoding != PLAIN) or (indexed and dictionary < 0):
                raise NotRawError
            most = count * (5 if indexed else value_nbytes) + count + SLACK
            if unpacked > most or levels > min(nbytes, unpacked) or (not optional and levels > 0):
                raise PageError(f"the page at byte {body:,} claims {unpacked:,} bytes where its {count:,} values take at most {most:,}")
            if count:
                firsts.append(start + rows)
                pages.append([body, nbytes, unpacked, crc, count, levels, codec if packed else 0, dictionary if indexed else -1])
            rows += count
        if rows != chunk.rows:
            raise PageError(f"the pages from byte {chunk.offset:,} hold {rows:,} records, and the footer says {chunk.rows:,}")
        if chunk.codec == PACKINGS[0]:
            # What is not compressed can be read from a wrong place and nobody would know.
            require_end(end_of(found, at), chunk.offset, chunk.nbytes, dictionary=dictionary >= 0)
        start += rows
    tables = (np.array(rows, np.int64).reshape(-1, 8) for rows in (pages, dictionaries))
    return CompressedPageFile(firsts=np.array(firsts, np.int64), pages=next(tables), dictionaries=next(tables))


def _dictionary(page: Page, value_nbytes: int) -> int:
    """Values in a dictionary."""
    inner, unpacked = page.header.get(7), page.unpacked_nbytes
    if not isinstance(inner, dict) or inner.get(2) not in (PLAIN, PLAIN_DICTIONARY):
        raise NotRawError
    count, expected = whole(inner, 1), whole(inner, 1) * value_nbytes
    if unpacked != expected:
        raise PageError(f"the dictionary at byte {page.body:,} has {unpacked:,} bytes where its {count:,} values take {expected:,}")
    return count


def _version_1(inner: dict[int, Any]) -> tuple[int, int, Any, bool]:
    """Of a page of version 1: values, that its levels are within the body, its encoding, and that it is packed."""
    if inner.get(3) != RLE:
        raise NotRawError
    return whole(inner, 1), -1, inner.get(2), True


def _version_2(inner: dict[int, Any]) -> tuple[int, int, Any, bool]:
    """Of a page of version 2: values, bytes of levels before what is packed, its encoding, and whether it is packed."""
    count, packed = whole(inner, 1), inner.get(7, True)
    if inner.get(2) != 0 or whole(inner, 6) != 0 or whole(inner, 3) != count or type(packed) is not bool:
        raise NotRawError
    return count, whole(inner, 5), inner.get(4), packed

"""Pages of a column chunk, one after the other: each a header in Thrift's compact protocol, then its body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamload.formats.parquet.thrift import CutShortError, ThriftError, read_struct

DATA, INDEX, DICTIONARY, DATA_V2 = range(4)
PLAIN, RLE = 0, 3

FIRST_READ = 256
"""Bytes read at a page's beginning: header and definition levels of most pages."""
MOST_HEADER = 16 * 1024**2
"""Bytes of a page header: one holds statistics, which may be two whole records."""

DICTIONARY_SLACK = 100
"""Bytes by which old writers miscount a chunk with a dictionary: they forget the header of its page."""

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


class Page(NamedTuple):
    """A page as its header describes it."""

    header: dict[int, Any]
    kind: Any
    """DATA, INDEX, DICTIONARY or DATA_V2, if it is a known one."""
    start: int
    """The byte at which its header begins ..."""
    body: int
    """... its body ..."""
    stop: int
    """... and what follows."""
    nbytes: int
    """Of its body."""
    head: bytes
    """What was read of the body with the header."""

    @property
    def unpacked_nbytes(self) -> int:
        """Of its body without compression. Raises PageError where the header says none."""
        return whole(self.header, 2)

    @property
    def crc(self) -> int:
        """The CRC-32 of its body, or -1. Raises PageError where it is no number."""
        return checksum(self.header)

    def data(self) -> dict[int, Any]:
        """The part of the header that describes a page of data, of either version. Raises PageError where there is none."""
        inner = self.header.get(5 if self.kind == DATA else 8)
        if not isinstance(inner, dict):
            raise PageError(f"the page header before byte {self.body:,} does not describe a data page")
        return inner


def pages_in(read: ReadAt, offset: int, stop: int) -> Iterator[Page]:
    """The pages that begin in a stretch of a file, read as they are asked for. Raises PageError where a header cannot be one."""
    while offset < stop:
        header, body, head = _header(read, offset, stop)
        nbytes = whole(header, 3)
        yield Page(header=header, kind=header.get(1), start=offset, body=body, stop=body + nbytes, nbytes=nbytes, head=head)
        offset = body + nbytes


def end_of(pages: Iterator[Page], at: int) -> int:
    """The byte after the pages that are left of a chunk, as far as these hold no value; `at` is the one after those before."""
    try:
        for page in pages:
            if page.kind != INDEX and (page.kind not in (DATA, DATA_V2) or whole(page.data(), 1)):
                break
            at = page.stop
    except PageError:
        pass  # What is no page is told by whoever requires that they end where their chunk does.
    return at


def require_end(at: int, offset: int, nbytes: int, *, dictionary: bool) -> None:
    """Raise PageError unless the pages of a chunk, one of which may be a dictionary, end where it does."""
    if not 0 <= at - offset - nbytes <= DICTIONARY_SLACK * dictionary:
        raise PageError(f"the pages from byte {offset:,} end at byte {at - offset:,} of their column chunk's {nbytes:,}")


def _header(read: ReadAt, at: int, stop: int) -> tuple[dict[int, Any], int, bytes]:
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

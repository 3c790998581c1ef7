"""The pages of an LMDB file: keys and where their values stand, found by reads that are held against the length of the file.

The library maps the file and believes what stands in it, so that one that is cut or damaged ends the process with a signal.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from streamload.errors import CorruptDataError, UnsupportedFeatureError
from streamload.storage.files import regular_file

MAGIC = 0xBEEFC0DE
VERSION = 1
HEAD_NBYTES = 16
"""Of every page: its number, flags, and where its free room begins and ends."""
BRANCH, LEAF, OVERFLOW, FIXED = 0x01, 0x02, 0x04, 0x20
"""Flags of pages; the last of leaves without nodes, as sorted duplicates have them."""
LARGE, DATABASE, DUPLICATES = 0x01, 0x02, 0x04
"""Flags of nodes: the value stands on pages of its own, or is a database or several values itself."""
_META = struct.Struct("<IIQQ")
_DATABASE = struct.Struct("<IHHQQQQQ")
_NODE = struct.Struct("<HHHH")
DEEPEST = 64
"""Pages on the way to a record; the library stops at 32."""
_NOTHING = 0xFFFFFFFFFFFFFFFF
"""The root of a database without records."""


class ValuePlace(NamedTuple):
    """Where a value stands in the file."""

    offset: int
    nbytes: int
    page: int = -1
    """The first of the pages that it has for itself."""


class LmdbPages:
    """An open file. Its records are found when they are asked for; values are read by their places."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = regular_file(path)
        try:
            self.file_nbytes = os.fstat(self._fd).st_size
            self.page_nbytes, self._root, self._entries = self._newest()
        except BaseException:
            self.close()
            raise

    def entries(self) -> Iterator[tuple[bytes, ValuePlace | None]]:
        """Keys in their order, and where their values stand; None where a key names a database of its own.

        Raises CorruptDataError where a page is damaged or lies beyond the end, or where keys are missing.
        """
        count, seen = 0, set[int]()
        for found in self._below(self._root, seen, 0) if self._root != _NOTHING else ():
            count += 1
            yield found
        if count != self._entries:
            raise self.damaged(f"{count:,} keys, and says to have {self._entries:,}")

    def damaged(self, what: str) -> CorruptDataError:
        """The error for a file that leads to something that cannot be."""
        return CorruptDataError(
            f"{self.path} cannot be read as an LMDB database: it leads to {what}.",
            hint="It was cut short, or is damaged: fetch it again, or write it anew with `mdb_copy`.",
            path=self.path,
        )

    def read(self, place: ValuePlace) -> bytes:
        """A value. Raises CorruptDataError where it does not stand there."""
        if place.page >= 0:
            head = self._read(place.offset - HEAD_NBYTES, HEAD_NBYTES)
            number, _, flags, pages = struct.unpack("<QHHI", head)
            if number != place.page or flags != OVERFLOW or HEAD_NBYTES + place.nbytes > pages * self.page_nbytes:
                raise self.damaged(f"page {place.page:,}, which holds no value of {place.nbytes:,} bytes")
        return self._read(place.offset, place.nbytes)

    def close(self) -> None:
        """Let go of the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _newest(self) -> tuple[int, int, int]:
        """Bytes of a page, the page of the root, and how many keys there are, by the newer of the two heads."""
        page_nbytes, found = self._meta(0)
        heads = [found]
        if page_nbytes < 512 or page_nbytes & (page_nbytes - 1):
            raise self.damaged(f"pages of {page_nbytes:,} bytes")
        heads.append(self._meta(page_nbytes)[1])
        return page_nbytes, *max(heads)[1:]

    def _meta(self, offset: int) -> tuple[int, tuple[int, int, int]]:
        """Bytes of a page by one head; and the number of its transaction, its root, and how many keys there are."""
        data = self._read(offset + HEAD_NBYTES, _META.size + 2 * _DATABASE.size + 16)
        magic, version, _, _ = _META.unpack_from(data)
        if magic != MAGIC or version != VERSION:
            raise self.damaged(f"a head of version {version}" if magic == MAGIC else "no head of an LMDB file")
        page_nbytes = _DATABASE.unpack_from(data, _META.size)[0]
        _, flags, _, _, _, _, entries, root = _DATABASE.unpack_from(data, _META.size + _DATABASE.size)
        if flags & DUPLICATES:
            raise UnsupportedFeatureError(
                f"{self.path} is an LMDB database with several values for a key.", hint="Write each under a key of its own.", path=self.path
            )
        transaction = int.from_bytes(data[-8:], "little")
        return page_nbytes, (transaction, root, entries)

    def _below(self, number: int, seen: set[int], depth: int) -> Iterator[tuple[bytes, ValuePlace | None]]:
        page = self._page(number)
        if number in seen:
            raise self.damaged(f"page {number:,} twice")
        if depth > DEEPEST:
            raise self.damaged(f"more than {DEEPEST} pages on the way to a record")
        seen.add(number)
        flags, lower = struct.unpack_from("<HH", page, 10)
        if lower < HEAD_NBYTES or lower > len(page) or lower % 2 or flags & FIXED or not flags & (BRANCH | LEAF):
            raise self.damaged(f"page {number:,}, which holds no nodes")
        for (at,) in struct.iter_unpack("<H", page[HEAD_NBYTES:lower]):
            if at < lower or at + _NODE.size > len(page):
                raise self.damaged(f"page {number:,}, a node of which lies outside")
            low, high, node, key_nbytes = _NODE.unpack_from(page, at)
            if flags & BRANCH:
                yield from self._below(low | high << 16 | node << 32, seen, depth + 1)
                continue
            start = at + _NODE.size + key_nbytes
            key = page[at + _NODE.size : start]
            yield key, self._place(number, page, start, low | high << 16, node)

    def _place(self, number: int, page: bytes, start: int, nbytes: int, node: int) -> ValuePlace | None:
        """Where the value of a node stands: behind its key, or on pages of its own."""
        if node & (DATABASE | DUPLICATES):
            return None
        if not node & LARGE:
            if start + nbytes > len(page):
                raise self.damaged(f"page {number:,}, a value of which leads beyond it")
            return ValuePlace(number * self.page_nbytes + start, nbytes)
        if start + 8 > len(page):
            raise self.damaged(f"page {number:,}, a node of which leads beyond it")
        first = int.from_bytes(page[start : start + 8], "little")
        return ValuePlace(first * self.page_nbytes + HEAD_NBYTES, nbytes, first)

    def _page(self, number: int) -> bytes:
        page = self._read(number * self.page_nbytes, self.page_nbytes)
        if int.from_bytes(page[:8], "little") != number:
            raise self.damaged(f"page {number:,}, which says to be another")
        return page

    def _read(self, offset: int, nbytes: int) -> bytes:
        if offset + nbytes > self.file_nbytes:
            raise self.damaged(f"{nbytes:,} bytes at byte {offset:,}, beyond the end at {self.file_nbytes:,}")
        data = os.pread(self._fd, nbytes, offset)
        while 0 < len(data) < nbytes:
            more = os.pread(self._fd, nbytes - len(data), offset + len(data))
            if not more:
                break
            data += more
        if len(data) < nbytes:
            raise self.damaged(f"{nbytes:,} bytes at byte {offset:,}, of which {len(data):,} came")
        return data

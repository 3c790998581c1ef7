"""Packed pages: unpacked one after the other by ourselves, and their records put where they are wanted in one copy."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import ChecksumError, CorruptDataError, damaged
from streamload.formats.columns.blocks import by_block
from streamload.formats.parquet.compressed_page_index import BODY, CHECKSUM, CODEC, COUNT, INDEXED, LEVELS, NBYTES, PACKINGS, UNPACKED
from streamload.formats.parquet.page_headers import NotRawError, PageError
from streamload.formats.parquet.runs import indices_of, require_defined
from streamload.formats.tables.table import read_into
from streamload.reuse.scratch import Scratch
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles

MOST_LEVELS_NBYTES = 4096
"""Levels that may be unpacked over the end of a row, to be put right again. Of pages without nulls they are a few bytes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CompressedPages(ColumnDefaults):
    """One field in pages that are compressed, or hold indices into a dictionary."""

    field: Field
    """As it is delivered: in the byte order of the file."""
    column: str
    """Its name in the files."""
    blocks: NDArray[np.int64]
    """Record numbers at which row groups begin, or pages where row groups are large; the number of records last."""
    starts: NDArray[np.int64]
    """Record numbers at which pages begin, the number of records last."""
    numbers: NDArray[np.int32]
    """The file of each page."""
    pages: NDArray[np.int64]
    """The table of pages, as `compressed_page_index` has it; their dictionaries are rows of `dictionaries`."""
    dictionaries: NDArray[np.int64]
    """The table of dictionaries."""
    optional: bool
    """Whether values have definition levels; all must say that there is a value."""
    verify: bool
    """Whether checksums are looked at."""
    label: str
    """How it is stored, for people."""

    @property
    def addressable(self) -> bool:
        """Never: what lies before a record in its page must be unpacked with it."""
        return False

    @property
    def mappable(self) -> bool:
        """Pages are unpacked from where a file is mapped: a copy less, 8 % of what zstd takes."""
        return True

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where row groups begin, since there the pages of all columns do; or pages."""
        return self.blocks

    @property
    def amplification(self) -> float:
        """Records unpacked for each one wanted, if the order is exact."""
        sizes = np.diff(self.starts).astype(np.float64)
        return float((sizes**2).sum() / max(1, sizes.sum()))

    @property
    def scratch_nbytes(self) -> int:
        """A page as stored and unpacked, and a dictionary."""
        page, dictionary = (int(table[:, [NBYTES, UNPACKED]].sum(axis=1).max(initial=0)) for table in (self.pages, self.dictionaries))
        return page + dictionary + 16 * int(np.diff(self.starts).max(initial=0))

    @property
    def page_starts(self) -> NDArray[np.int64]:
        """The first record of each page."""
        return self.starts

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader that needs no library of the format."""
        return CompressedPageReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class CompressedPageReader(ReaderDefaults):
    """Unpacks pages, each once a call, and keeps the last one that it copied records from, and its dictionary.

    Both lie in memory that nothing else is ever unpacked into.
    """

    def __init__(self, column: CompressedPages, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        numbers = column.numbers
        self._only = int(numbers[0]) if len(numbers) and (numbers == numbers[0]).all() else None
        self._page = self._dictionary = -1
        self._values: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._indices: NDArray[np.int64] | None = None
        self._words: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._page_room: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._dictionary_room: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._packed, self._unkept = Scratch(), Scratch()
        """For what is stored, and for what is unpacked and not kept."""

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`. Raises CorruptDataError or ChecksumError, with file and records."""
        began, before = time.perf_counter_ns(), self._meter.read_ns
        nbytes, address = self._column.field.nbytes, out.__array_interface__["data"][0]
        last = -2
        for page, chosen, local in by_block(self._column.starts, records):
            self._files.descriptor(int(self._column.numbers[page]))
            there = np.ascontiguousarray(rows[chosen])
            follows, last = int(there[0]) == last + 1, int(there[-1])
            if page != self._page and self._put_whole(page, local, out, there, follows=follows):
                continue
            if page != self._page:
                self._turn_to(page)
            table, places = (self._values, local) if self._indices is None else (self._words, self._indices[local])
            kernels.gather_kernels().copy_rows(table.ctypes.data, places, nbytes, nbytes, address, there)
        self._meter.decode_ns += time.perf_counter_ns() - began - (self._meter.read_ns - before)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading the pages of these records, unless they lie in one file that is mapped."""
        if not hasattr(os, "posix_fadvise") or (self._only is not None and self._files.address(self._only) is not None):
            return
        pages = np.unique(np.searchsorted(self._column.starts, records, side="right") - 1)
        for number, place in zip(self._column.numbers[pages].tolist(), self._column.pages[pages].tolist(), strict=True):
            os.posix_fadvise(self._files.descriptor(number), place[BODY], place[NBYTES], os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Forget the page."""
        self._page = self._dictionary = -1
        self._values = self._words = self._page_room = self._dictionary_room = np.zeros(0, np.uint8)
        self._indices = None
        self._packed.close()
        self._unkept.close()

    def _put_whole(self, page: int, local: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64], *, follows: bool) -> bool:
        """Unpack a page straight to where all its records are wanted, side by side; False where they are not, or it cannot be.

        Levels that are packed with the values come to lie over the end of the row before, whose bytes are then put back. So
        that row must be one that was written just now (`follows`), and they must fit it: any other may be somebody else's.
        """
        place, first, nbytes = self._column.pages[page].tolist(), int(rows[0]), self._column.field.nbytes
        count = place[COUNT]
        if len(local) != count or (np.diff(rows) != 1).any() or (np.diff(local) != 1).any() or not out.flags.c_contiguous:
            return False
        if place[INDEXED] >= 0:
            return self._put_dictionary(page, place, out.reshape(-1).view(np.uint8)[first * nbytes : (first + count) * nbytes])
        before = place[UNPACKED] - max(0, place[LEVELS]) - count * nbytes
        if not place[CODEC] or not 0 <= before <= (min(nbytes, MOST_LEVELS_NBYTES) if follows else 0):
            return False
        room = out.reshape(-1).view(np.uint8)[first * nbytes - before : (first + count) * nbytes]
        kept = room[:before].copy()
        with self._told(page):
            try:
                values, _ = self._read(place, int(self._column.numbers[page]), room)
                if not np.may_share_memory(values, room):
                    room[before:] = values  # A decoder that has memory of its own.
            finally:
                room[:before] = kept
        return True

    def _put_dictionary(self, page: int, place: list[int], room: NDArray[np.uint8]) -> bool:
        """The same for a page of indices into a dictionary that holds its records, each once, as if it were they.

        Writers begin a dictionary whatever is written, and give it up once it is large: no image is in it twice.
        """
        words, number = self._column.dictionaries[place[INDEXED]].tolist(), int(self._column.numbers[page])
        alike = words[COUNT] == place[COUNT] and words[UNPACKED] == len(room) and words[CODEC] and words[LEVELS] <= 0
        if not alike or place[INDEXED] == self._dictionary:
            return False
        with self._told(page):
            _, indices = self._read(place, number, self._unkept.room(place[UNPACKED]))
            if indices is None or (np.diff(indices, prepend=-1) != 1).any():
                return False
            values = self._unpacked(words, number, room)[1]
            if not np.may_share_memory(values, room):
                room[:] = values
        return True

    def _turn_to(self, page: int) -> None:
        """Keep another page, and its dictionary; those that were kept are forgotten first, since their memory is written to."""
        column, place = self._column, self._column.pages[page].tolist()
        number, self._page = int(column.numbers[page]), -1
        with self._told(page):
            if place[INDEXED] >= 0 and place[INDEXED] != self._dictionary:
                self._dictionary = -1
                words = column.dictionaries[place[INDEXED]].tolist()
                self._dictionary_room = _grown(self._dictionary_room, words[UNPACKED])
                self._words = self._unpacked(words, number, self._dictionary_room)[1]
                self._dictionary = place[INDEXED]
            self._page_room = _grown(self._page_room, place[UNPACKED])
            self._values, self._indices = self._read(place, number, self._page_room)
        self._page = page

    @contextmanager
    def _told(self, page: int) -> Generator[None]:
        """Whatever is wrong with a page is told with its file and records."""
        try:
            yield
        except (PageError, NotRawError) as error:
            self._files.verify()
            column = self._column
            path = self._files.fingerprints[int(column.numbers[page])].path
            what = str(error) or "a null stands where the footer counts none"
            kind = ChecksumError if isinstance(error, _ChecksumFailedError) else CorruptDataError
            raise damaged(
                f"{path}: column '{column.column}' cannot be read: {what}.",
                kind=kind,
                path=path,
                dataset=column.column,
                records=(int(column.starts[page]), int(column.starts[page + 1])),
            ) from error

    def _read(self, place: list[int], number: int, room: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        """The values of a page, unpacked into memory for them; or, where they are in the dictionary, which ones there."""
        levels, values = self._unpacked(place, number, room)
        count = place[COUNT]
        if place[LEVELS] < 0 and self._column.optional:
            nbytes = int.from_bytes(values[:4].tobytes(), "little")
            if nbytes > len(values) - 4:
                raise PageError(f"the definition levels at byte {place[BODY]:,} claim {nbytes:,} bytes")
            levels, values = values[4 : 4 + nbytes], values[4 + nbytes :]
        if len(levels):
            require_defined(levels.tobytes(), count)
        if place[INDEXED] < 0:
            if len(values) != count * self._column.field.nbytes:
                raise PageError(f"the page at byte {place[BODY]:,} has {len(values):,} bytes of values where there are {count:,} of them")
            return values, None
        indices = indices_of(values, count)
        words = int(self._column.dictionaries[place[INDEXED], COUNT])
        if count and int(indices.max()) >= words:
            raise PageError(f"the page at byte {place[BODY]:,} asks for value {int(indices.max()):,} of a dictionary of {words:,}")
        return values[:0], indices

    def _unpacked(self, place: list[int], number: int, room: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The levels that stand before a body, and the body: in memory for it, or as it lies in a file that is mapped.

        The levels are for this call alone; the body may be kept as long as `room` is.
        """
        stored = self._stored(place, number, self._packed.room(place[NBYTES]) if place[CODEC] or place[NBYTES] > len(room) else room)
        found = zlib.crc32(stored.data) if self._column.verify and place[CHECKSUM] >= 0 else place[CHECKSUM]
        if found != place[CHECKSUM]:
            raise _ChecksumFailedError(
                f"the page at byte {place[BODY]:,} has the checksum {found:08x}, and its header says {place[CHECKSUM]:08x}"
            )
        before = max(0, place[LEVELS])
        levels, stored, wanted = stored[:before], stored[before:], place[UNPACKED] - before
        if place[CODEC]:
            stored = _decoded(PACKINGS[place[CODEC]], stored, room[:wanted])
        if len(stored) != wanted:
            raise PageError(f"the page at byte {place[BODY]:,} unpacks to {len(stored):,} bytes, and its header says {wanted:,}")
        return levels, stored

    def _stored(self, place: list[int], number: int, room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A page as it lies in the file: there itself where the file is mapped, else read into memory for it."""
        self._meter.read_nbytes += place[NBYTES]
        mapped = self._files.bytes_at(number, place[BODY], place[NBYTES])
        if mapped is not None:
            return mapped
        began = time.perf_counter_ns()
        stored = room[: place[NBYTES]]
        read_into(stored.data, self._files, number, place[BODY], place[NBYTES], self._column.column)
        self._meter.read_ns += time.perf_counter_ns() - began
        return stored


class _ChecksumFailedError(PageError):
    """A page whose checksum is wrong."""


def _grown(room: NDArray[np.uint8], nbytes: int) -> NDArray[np.uint8]:
    """The same memory, or new memory where it has fewer than `nbytes`."""
    return room if len(room) >= nbytes else np.empty(nbytes, np.uint8)


def _decoded(codec: str, stored: NDArray[np.uint8], out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import imagecodecs

    decoders: dict[str, Callable[..., Any]] = {
        "snappy": imagecodecs.snappy_decode,
        "gzip": imagecodecs.gzip_decode,
        "brotli": imagecodecs.brotli_decode,
        "zstd": imagecodecs.zstd_decode,
        "lz4 raw": imagecodecs.lz4_decode,
    }
    if not len(out):
        return out
    try:
        found = np.frombuffer(decoders[codec](stored, out=out), np.uint8)
        return _gzip_members(stored, out) if codec == "gzip" and len(found) < len(out) else found
    except (RuntimeError, ValueError, MemoryError, zlib.error) as error:
        raise PageError(f"a page cannot be unpacked: {error}") from error


def _gzip_members(stored: NDArray[np.uint8], out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What was packed as several members, one behind the other, of which imagecodecs unpacks the first alone."""
    left, done = stored.tobytes(), 0
    while left:
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        piece = member.decompress(left, len(out) - done + 1)
        if not member.eof or done + len(piece) > len(out):
            raise ValueError("it is cut short, or unpacks to more than its header says")
        out[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        left, done = member.unused_data, done + len(piece)
    return out[:done]

"""Stored chunks: where each lies, and bringing their bytes in by offset."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceChangedError, damaged
from streamload.formats.columns.chunk_grid import reads, together
from streamload.formats.columns.files_together import FilesTogether
from streamload.formats.columns.read_ahead import ReadAhead
from streamload.kernels import gather_kernels
from streamload.reuse.scratch import Scratch
from streamload.source import ReadStats
from streamload.storage.file_table import sizes_of
from streamload.storage.files import OpenFiles, is_cached, short_read, unreadable

READ_NBYTES = 1024**2
"""Chunks that are neighbours in the file are read together, up to so many bytes."""
FILES_NBYTES = 1024**2
"""Files that each are a chunk are read together, up to so many bytes."""
PROBES = 8
"""Chunks looked up in the page cache before advice is given for all of them."""
LOOKS_LEFT_OUT = 3
"""After chunks in files of their own were found in the page cache, so many calls for advice go by without a look: each opens files."""
IN_SHARD = -2
"""The offset of a chunk that is not there, whose place would be in a file that is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkNames:
    """What the files of chunks are called that each lie in a file, or a shard, of their own."""

    folder: str
    prefix: str
    """Of all names; "" for none."""
    separator: str
    """Between the parts of a name."""
    grid: tuple[int, ...]
    """How many chunks there are along each axis."""
    inner: tuple[int, ...]
    """How many of them lie in one file, along each axis."""

    def path(self, chunk: int) -> str:
        """Where a chunk lies, or would lie."""
        place = [int(at) // count for at, count in zip(np.unravel_index(chunk, self.grid), self.inner, strict=True)]
        parts = ([self.prefix] if self.prefix else []) + [str(at) for at in place]
        return os.path.join(self.folder, self.separator.join(parts))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkedFile:
    """The chunks of one array, in one file or in files of their own."""

    number: int
    """The file, as an index into `Source.fingerprints`."""
    records: int
    """Records in this file."""
    chunk_shape: tuple[int, ...]
    """Shape of a chunk, the number of records first."""
    offsets: NDArray[np.int64]
    """The byte at which each chunk lies, in C order of the grid of chunks; -1 where none is allocated, or IN_SHARD: fill values."""
    nbytes: NDArray[np.int64]
    """Bytes of each chunk as stored."""
    masks: NDArray[np.uint32]
    """For each chunk, the filters that were not applied to it: bit i is filter i."""
    filters: tuple[tuple[int, tuple[int, ...]], ...]
    """HDF5's number of each filter and its values, in the order in which they were applied."""
    stored: np.dtype
    """An element as it lies in the file."""
    fill: bytes
    """One element of the fill value, as `stored`; b"" for zeros."""
    axis: int = 0
    """Where the axis that counts records, which is first here, stands in a chunk as it is stored."""
    numbers: NDArray[np.int32] | None = None
    """The file of each chunk, where they lie in several; those without bytes have any. None: all lie in `number`."""
    names: ChunkNames | None = None
    """What files are called, where one may be added later for a chunk that was never written."""

    def by_file(self, chunks: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
        """For each file that holds some of the chunks: its number, and which of them these are."""
        if self.numbers is None:
            yield self.number, slice(None)
            return
        numbers = self.numbers[chunks]
        if len(numbers) < 2:
            yield from ((number, slice(None)) for number in numbers.tolist())
            return
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        firsts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(order)]
        for first, stop in pairwise(firsts):
            yield int(numbers[first]), order[first:stop]

    def file_of(self, chunk: int) -> int:
        """The number of the file that holds a chunk."""
        return self.number if self.numbers is None else int(self.numbers[chunk])

    def refuse_added(self, chunk: int, files: OpenFiles) -> None:
        """Raise SourceChangedError where a chunk that was not there when the source was opened may be there now."""
        if self.offsets[chunk] == IN_SHARD:
            files.descriptor(self.file_of(chunk))  # Its shard must be what it was.
            return
        path = None if self.names is None else self.names.path(chunk)
        if path is not None and os.path.isdir(path):
            raise damaged(f"{path} is a folder, where a chunk was expected.", path=path)
        if path is not None and os.path.lexists(path):
            raise SourceChangedError(
                f"{path} was added after its store was opened, when this chunk was not there and stood for fill values.",
                hint="Open the source again to read it; leave a store alone while it is read.",
                path=path,
            )


class ChunkReader:
    """Reads the stored bytes of one dataset's chunks: when they are asked for, or ahead and past the page cache."""

    def __init__(self, parts: Sequence[ChunkedFile], name: str, files: OpenFiles, meter: ReadStats, ring_nbytes: int) -> None:
        self._parts = parts
        self._name = name
        self._files = files
        self._meter = meter
        self._buffer = Scratch()
        self._ahead: ReadAhead | None = None
        self._ring_nbytes = ring_nbytes if files.past_cache else 0
        apart = any(part.numbers is not None for part in parts)
        self._together = FilesTogether.of(files.fingerprints) if apart else None
        self._left_out = 0
        """For how many calls more no look is taken."""

    @property
    def ahead(self) -> bool:
        """Whether chunks are to be read ahead and past the page cache."""
        return self._ring_nbytes > 0

    def leaves_out(self) -> bool:
        """Whether advice is to be left out this time, since what the last look found seems to go on."""
        if self._left_out:
            self._left_out -= 1
            return True
        return False

    def advise(self, index: int, chunks: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading chunks of a file, unless it seems to hold them already."""
        if not hasattr(os, "posix_fadvise"):
            return
        part = self._parts[index]
        chunks = chunks[part.offsets[chunks] >= 0]
        if part.numbers is not None and self._are_cached(part, part.numbers, chunks[:: max(1, len(chunks) // PROBES)]):
            self._left_out = LOOKS_LEFT_OUT if len(chunks) else 0
            return
        for number, chosen in part.by_file(chunks):
            self._advise(number, part.offsets[chunks[chosen]], part.nbytes[chunks[chosen]])

    def _are_cached(self, part: ChunkedFile, numbers: NDArray[np.int32], chunks: NDArray[np.int64]) -> bool:
        """Whether the page cache holds the beginnings of chunks; `numbers` are the files of all."""
        offsets, chosen = part.offsets[chunks], numbers[chunks]
        if self._together is not None:
            return self._together.are_cached(chosen, offsets)
        places = zip(chosen.tolist(), offsets.tolist(), strict=True)
        return all(is_cached(self._files.descriptor(number, reads=False), offset) for number, offset in places)

    def _advise(self, number: int, offsets: NDArray[np.int64], nbytes: NDArray[np.int64]) -> None:
        fd = self._files.descriptor(number, reads=False)
        if all(is_cached(fd, offset) for offset in offsets[:: max(1, len(offsets) // PROBES)].tolist()):
            return
        firsts, stops = together(offsets, nbytes, READ_NBYTES)
        for first, stop in zip(firsts.tolist(), stops.tolist(), strict=True):
            length = int(offsets[stop - 1] + nbytes[stop - 1] - offsets[first])
            os.posix_fadvise(fd, int(offsets[first]), length, os.POSIX_FADV_WILLNEED)

    def expect(self, index: int, chunks: NDArray[np.int64]) -> bool:
        """Begin to read chunks of a file past the page cache, after those said before; False where that is not wanted, or cannot be."""
        part = self._parts[index]
        if self._ahead is None and self._ring_nbytes:
            self._ahead = ReadAhead.create(self._ring_nbytes, self._files.direct)
        first = part.file_of(int(chunks[0])) if len(chunks) else part.number
        if self._ahead is None or self._files.direct(first) is None:
            self._ring_nbytes = 0
            return False
        if all((index, chunk) in self._ahead for chunk in chunks.tolist()):
            return True
        chunks = chunks[part.offsets[chunks] >= 0]
        places = zip(chunks.tolist(), part.offsets[chunks].tolist(), part.nbytes[chunks].tolist(), strict=True)
        self._ahead.expect(((index, chunk), (part.file_of(chunk), offset, nbytes)) for chunk, offset, nbytes in places)
        return True

    def read_chunks(self, index: int, chunks: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The stored bytes of chunks, each with its place among them, in the order of files; they last until the next is asked for."""
        part, first = self._parts[index], 0
        if self._together is not None and part.numbers is not None and not self.ahead:
            for stored in self._read_files(part, part.numbers[chunks], chunks, self._together):
                yield first, stored
                first += 1
        lines = np.arange(first, len(chunks))
        for number, one in part.by_file(chunks[first:]) if first < len(chunks) else ():
            yield from self._chunks_of(index, number, chunks, lines[one])

    def _chunks_of(
        self, index: int, number: int, chunks: NDArray[np.int64], lines: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The same for the chunks in these lines, all of one file."""
        part, numbers = self._parts[index], lines.tolist()
        chunks = chunks[lines]
        if self.expect(index, chunks):
            for k, chunk in zip(numbers, chunks.tolist(), strict=True):
                yield k, self._take(index, chunk)
                self.done(index, chunk)
            return
        offsets, nbytes = part.offsets[chunks], part.nbytes[chunks]
        firsts, stops, begins, stride = reads(offsets, nbytes, READ_NBYTES)
        begin_of, end_of = begins.tolist(), (begins + nbytes).tolist()
        for first, stop in zip(firsts.tolist(), stops.tolist(), strict=True):
            if stride:
                stored = self._read_apart(number, offsets[first:stop], nbytes[first:stop], stride)
            else:
                stored = self._read(number, int(offsets[first]), end_of[stop - 1])
            for k in range(first, stop):
                yield numbers[k], stored[begin_of[k] : end_of[k]]

    def _take(self, index: int, chunk: int) -> NDArray[np.uint8]:
        """The stored bytes of a chunk that is being read ahead; where that failed they are read anew, and the reason found."""
        part, began = self._parts[index], time.perf_counter_ns()
        number = part.file_of(chunk)
        self._files.descriptor(number)
        stored = self._ahead.take((index, chunk)) if self._ahead is not None else None
        if stored is None:
            return self._read(number, int(part.offsets[chunk]), int(part.nbytes[chunk]))
        self._meter.read_ns += time.perf_counter_ns() - began
        self._meter.read_nbytes += len(stored)
        return stored

    def done(self, index: int, chunk: int) -> None:
        """Let go of a chunk that was expected."""
        if self._ahead is not None:
            self._ahead.done((index, chunk))

    def _read_apart(self, number: int, offsets: NDArray[np.int64], nbytes: NDArray[np.int64], stride: int) -> NDArray[np.uint8]:
        """Small chunks from all over a file, `stride` bytes from the beginning of each, in one call of a kernel; until the next read."""
        began = time.perf_counter_ns()
        room = self._room(len(offsets) * stride)
        rows = np.arange(len(offsets))
        fd = self._files.descriptor(number)
        first = 0
        while first < len(offsets):
            failed = gather_kernels().read_rows(fd, offsets[first:], stride, room.ctypes.data, rows[first:])
            if failed < 0:
                break
            # What follows the last chunk of a file may be too short for a stride: only its own bytes have to be there.
            first += failed
            self._read(number, int(offsets[first]), int(nbytes[first]), room[first * stride :])
            first += 1
        self._meter.read_nbytes += int(nbytes.sum())
        self._meter.read_ns += time.perf_counter_ns() - began
        return room

    def _read_files(
        self, part: ChunkedFile, numbers: NDArray[np.int32], chunks: NDArray[np.int64], together: FilesTogether
    ) -> Iterator[NDArray[np.uint8]]:
        """The stored bytes of the first of some chunks, each all of a file, up to one that is not, or in whose file something is wrong.

        As many are read at once as fit the buffer, which serves the next read too. A chunk alone is left to descriptors that stay open.
        """
        if len(chunks) < 2:
            return
        nbytes = part.nbytes[chunks]
        # A file of no bytes may be no file at all: that is found where it is opened.
        whole = (part.offsets[chunks] == 0) & (nbytes > 0) & (nbytes == sizes_of(self._files.fingerprints, numbers))
        count = len(chunks) if whole.all() else int(whole.argmin())
        ends = np.cumsum(nbytes[:count])
        begins = ends - nbytes[:count]
        first = 0
        while first < count:
            began, begin = time.perf_counter_ns(), int(begins[first])
            stop = max(first + 1, int(ends.searchsorted(begin + FILES_NBYTES, "right")))
            room, places = self._room(int(ends[stop - 1]) - begin), begins[first:stop] - begin
            done = together.read(numbers[first:stop], room, places, self._meter)
            self._meter.read_ns += time.perf_counter_ns() - began
            for place, length in zip(places[:done].tolist(), nbytes[first : first + done].tolist(), strict=True):
                yield room[place : place + length]
            if done < stop - first:
                return
            first = stop

    def _read(self, number: int, offset: int, nbytes: int, room: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Bytes of a file, in a buffer that serves the next read too, or in a room for them."""
        began = time.perf_counter_ns()
        if room is None:
            room = self._room(nbytes)
        stored = room[:nbytes]
        fd = self._files.descriptor(number)
        done = 0
        while done < nbytes:
            try:
                got = _read_into(fd, stored[done:] if done else stored, offset + done)
            except OSError as error:
                raise unreadable(self._files.fingerprints[number], self._name, offset, nbytes, error) from error
            if got == 0:
                raise short_read(self._files.fingerprints[number], offset, nbytes)
            done += got
        self._meter.read_nbytes += nbytes
        self._meter.read_ns += time.perf_counter_ns() - began
        return stored

    def close(self) -> None:
        """Let go of the buffers."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        self._buffer.close()

    def _room(self, nbytes: int) -> NDArray[np.uint8]:
        """The buffer for stored bytes, at least so many of them."""
        return self._buffer.room(max(nbytes, min(2 * nbytes, READ_NBYTES)))


def _read_into(fd: int, target: NDArray[np.uint8], offset: int) -> int:
    """Read into `target`; the number of bytes that came."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [target.data], offset)
    os.lseek(fd, offset, os.SEEK_SET)
    data = os.read(fd, len(target))
    target[: len(data)] = np.frombuffer(data, np.uint8)
    return len(data)

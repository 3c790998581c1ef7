"""Runs of records in compressed files, which are unpacked as they go by: where each lies, and what unpacks it for all fields."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.errors import damaged
from streamload.source import ReadStats
from streamload.storage.compressed_file import open_unpacked
from streamload.storage.files import OpenFiles
from streamload.storage.plain_file import StoredFile

BLOCK_NBYTES = 1 << 20
"""Unpacked bytes of a block, or a little more; a record that is larger is a block by itself."""
MOST_STREAMS = 2
"""Files that a process keeps unpacking at a time: it comes to them one after the other."""
KEPT_NBYTES = 32 * 1024**2
"""Of records that lie elsewhere than the others of their block, so many bytes are kept of what goes by."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackedBlocks:
    """Blocks of records that lie side by side in the unpacked bytes of a file."""

    starts: NDArray[np.int64]
    """The first record of each file, and the number of records: shape (files + 1,)."""
    numbers: NDArray[np.int32]
    """Which file of the source each of them is: shape (files,)."""
    cuts: NDArray[np.int64]
    """The first record of each block, and the number of records: shape (blocks + 1,)."""
    begins: NDArray[np.int64]
    """The unpacked byte of its file at which each block begins: shape (blocks,)."""
    ends: NDArray[np.int64]
    """And at which it ends."""

    @property
    def largest_nbytes(self) -> int:
        """Unpacked bytes of the largest block."""
        return int((self.ends - self.begins).max(initial=0))

    def file_of(self, block: int) -> int:
        """The number of the file that a block lies in."""
        return int(self.numbers[np.searchsorted(self.starts, self.cuts[block], side="right") - 1])


def blocks_of(places: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], starts: NDArray[np.int64]) -> PackedBlocks:
    """Blocks of records whose fields lie at `places`: of each field the offset, -1 where there is nothing, and the size of each record.

    Records follow each other in a file, of which `starts` are the first ones; what lies before the record before it, as a link leads
    there, belongs to no block.
    """
    offsets = np.stack([one for one, _ in places], axis=1)
    stops = offsets + np.stack([sizes for _, sizes in places], axis=1)
    cuts: list[int] = [0]
    begins: list[int] = []
    ends: list[int] = []
    for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if first == stop:
            continue
        reached = np.maximum.accumulate(np.maximum(stops[first:stop].max(axis=1), 0))
        floor = np.concatenate([[0], reached[:-1]])
        own = offsets[first:stop] >= floor[:, None]
        begun = np.where(own, offsets[first:stop], np.iinfo(np.int64).max).min(axis=1)
        begun = np.minimum(begun, reached)  # A record of which nothing lies here begins where it ends.
        at = 0
        while at < stop - first:
            end = min(max(at + 1, int(np.searchsorted(reached, begun[at] + BLOCK_NBYTES, side="left")) + 1), stop - first)
            cuts.append(first + end)
            begins.append(int(begun[at]))
            ends.append(int(reached[end - 1]))
            at = end
    return PackedBlocks(
        starts=starts,
        numbers=np.arange(len(starts) - 1, dtype=np.int32),
        cuts=np.array(cuts, np.int64),
        begins=np.array(begins, np.int64),
        ends=np.array(ends, np.int64),
    )


class PackedStreams:
    """The compressed files of a source in one process: one after the other is unpacked, and the last block kept for all fields."""

    def __init__(self, files: OpenFiles) -> None:
        self._files = files
        self._streams: OrderedDict[int, StoredFile] = OrderedDict()
        self._last: tuple[tuple[int, int, int], NDArray[np.uint8]] | None = None
        self._apart: dict[tuple[int, int, int], NDArray[np.uint8]] = {}

    def block(self, number: int, begin: int, end: int, meter: ReadStats) -> NDArray[np.uint8]:
        """Unpacked bytes [begin, end) of file `number`, good until the next call. Raises CorruptDataError where they cannot be had."""
        key = number, begin, end
        if self._last is None or self._last[0] != key:
            self._last = None
            self._last = key, self._read(number, begin, end - begin, meter)
        self._files.descriptor(number)  # Whoever was given its bytes has them verified.
        return self._last[1]

    def apart(self, number: int, places: NDArray[np.int64], at: int, nbytes: int, meter: ReadStats) -> NDArray[np.uint8]:
        """The bytes of a record that lies elsewhere than its block: the file is unpacked again, and others of `places` are kept.

        `places` are offset and size of all such records of the file, shape (records, 2).
        """
        key = number, at, nbytes
        if key not in self._apart:
            self._apart.clear()
            chosen = np.unique(places, axis=0)
            if chosen[:, 1].sum() > KEPT_NBYTES:
                chosen = chosen[chosen[:, 0] >= at]
                chosen = chosen[(np.cumsum(chosen[:, 1]) <= KEPT_NBYTES) | (chosen[:, 0] == at)]
            stream = open_unpacked(self._files.fingerprints[number].path)
            try:
                for offset, size in chosen.tolist():
                    self._apart[number, offset, size] = self._taken(stream, number, offset, size, meter)
            finally:
                stream.close()
        self._files.descriptor(number)
        return self._apart[key]

    def _read(self, number: int, begin: int, nbytes: int, meter: ReadStats) -> NDArray[np.uint8]:
        self._files.descriptor(number)
        stream = self._streams.pop(number, None)
        if stream is None:
            stream = open_unpacked(self._files.fingerprints[number].path)
        self._streams[number] = stream
        if len(self._streams) > MOST_STREAMS:
            self._streams.popitem(last=False)[1].close()
        return self._taken(stream, number, begin, nbytes, meter)

    def _taken(self, stream: StoredFile, number: int, begin: int, nbytes: int, meter: ReadStats) -> NDArray[np.uint8]:
        began = time.perf_counter_ns()
        data = np.frombuffer(stream.read(begin, nbytes), np.uint8)
        meter.decode_ns += time.perf_counter_ns() - began
        if len(data) < nbytes:
            stream.read(begin + len(data), 1)  # It says what is wrong, if the file is damaged there.
            path = self._files.fingerprints[number].path
            raise damaged(f"{path} has no {nbytes:,} bytes at unpacked byte {begin:,}.", path=path)
        return data

    def close(self) -> None:
        """Let go of files and of what was kept."""
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        self._apart.clear()
        self._last = None


def streams_of(files: OpenFiles) -> PackedStreams:
    """What unpacks the files of a source for all readers of a process."""
    return files.beside("packed streams", lambda: PackedStreams(files))

"""Decodes windows into the arena, as one worker does it: its share of their blocks; and takes records of steps from there."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.errors import StreamloadError
from streamload.fetch.job import ArenaLayout, Job
from streamload.fetch.ragged_collate import Region, WindowSlice, offsets_of
from streamload.fetch.reading_time import ReadingTime
from streamload.fetch.tasks import StepTask, WindowKey, WindowTask
from streamload.fetch.window_shares import spread
from streamload.fetch.window_tables import LaneTables
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.order import StepPiece, WindowTable, runs_of
from streamload.processes.fault_points import fault_point
from streamload.source import RaggedReader, Reader, RecordDecoder, forward_starts

ADVISED_BLOCKS = 32
"""Blocks that readers are advised of at a time: decoding is always at least one such stretch behind."""
TOGETHER_BLOCKS, TOGETHER_NBYTES, TOGETHER_NS = 64, 8 * 1024**2, 6_000_000
"""Small blocks are decoded together, as long as they are at most so many blocks and so many bytes, and take at most so many nanoseconds
at the pace of the last ones: no more, since a step that could be filled waits meanwhile."""
FIRST_NBYTES = 1024**2
"""As many bytes are decoded together as long as the pace is not known."""


def _ended(*_: object) -> Any:
    """Takes the place of a callback once a `WindowDecoder` is closed."""
    raise RuntimeError("windows are used after they were closed: a fault in streamload")


class OpenWindow:
    """A window that is being decoded: its blocks, and how many of this worker's share are done."""

    def __init__(self, task: WindowTask, table: WindowTable, shares: Sequence[NDArray[np.int64]], index: int) -> None:
        self.task = task
        self.table = table
        self.blocks = table.blocks_of(task.window).copy()  # Tables are written again two epochs later.
        self.rows = table.held_starts(task.window)
        """Block k has rows [rows[k], rows[k + 1]) of the part of the arena: shape (blocks + 1,)."""
        self.shares = tuple(map(len, shares))
        """By worker, how many of the blocks it decodes."""
        self.share = shares[index]
        """The blocks that this worker decodes, by their number in the window, in the order of decoding."""
        self.held = [0, *np.cumsum(self.rows[self.share + 1] - self.rows[self.share]).tolist()]
        """How many records come before each of these, and the number of all: length len(share) + 1."""
        self.done = 0
        """How many of `share` are decoded."""
        self.told = 0
        """How many of `share` readers have been advised of."""
        self.firsts: dict[str, NDArray[np.int64]] = {}
        """By ragged field: elements [firsts[k], firsts[k + 1]) of the part of the arena are room for block k; shape (blocks + 1,)."""


class ArenaPart:
    """One part of the arena, as arrays: room for one window of the stream that it belongs to."""

    def __init__(self, stream: int, layout: ArenaLayout, memory: NDArray[np.uint8], part: int, augmented: frozenset[str]) -> None:
        self.stream = stream
        self.arrays = layout.views(memory, part)
        self.regions = {name: Region(self.arrays[name], *place) for name, place in layout.places(memory, part).items()}
        """By name, those of ragged fields, and of encoded ones, whose stored bytes are ragged."""
        fixed = [field for field in layout.fields if not field.ragged]
        self.fixed = [(field.name, self.arrays[field.name].ctypes.data, field.nbytes) for field in fixed if field.name not in augmented]
        """(name, address, bytes of a record) of the fixed fields that are delivered as they lie here."""
        self.augmented = {field.name: (self.arrays[field.name].ctypes.data, field.nbytes) for field in fixed if field.name in augmented}
        """By name, (address, bytes of a record) of the fixed fields that are augmented first."""


def arena_parts(job: Job, arena: SharedBlock | None) -> list[ArenaPart]:
    """The parts of a job's arena, stream after stream."""
    parts: list[ArenaPart] = []
    augmented = job.augmentation.fields if job.augmentation is not None else frozenset[str]()
    at = 0
    for number, stream in enumerate(job.streams if arena is not None else ()):
        if stream.arena is not None:
            assert arena is not None
            memory = arena.bytes[at : at + stream.arena.nbytes]
            parts += [ArenaPart(number, stream.arena, memory, part, augmented) for part in range(stream.arena.parts)]
            at += stream.arena.nbytes
    return parts


class WindowDecoder:
    """The windows that one worker has open, and the readers of the fields that are decoded into them."""

    def __init__(
        self,
        job: Job,
        *,
        index: int,
        progress: WorkerProgress,
        arena: SharedBlock | None,
        tables: LaneTables,
        reading: ReadingTime,
        verify: Callable[[], None],
    ) -> None:
        """`reading` is entered while blocks are read; `verify` raises SourceChangedError where files have changed."""
        self.fixed_fields: list[list[tuple[str, Reader]]] = [[] for _ in job.streams]
        """By stream, (name, reader) of the fixed fields that are decoded into the arena; filled by `fetcher.StreamReaders`."""
        self._augmented = job.augmentation.fields if job.augmentation is not None else frozenset[str]()
        self.ragged_fields: list[list[tuple[str, RaggedReader]]] = [[] for _ in job.streams]
        """By stream, (name, reader) of the ragged fields, and of stored bytes of encoded ones, that are decoded into the arena."""
        self.parts = arena_parts(job, arena)
        self._job = job
        self._index = index
        self._progress = progress
        self._tables = tables
        self._reading = reading
        self._verify = verify
        self._open: dict[WindowKey, OpenWindow] = {}
        self._undone: dict[WindowKey, OpenWindow] = {}
        """Those of them in which blocks of this worker's share are left, in the order in which they were opened."""
        self._awaited: tuple[int, list[WindowKey]] = -1, []
        """The step that was last asked about, and the windows that it touches and that were not ready then."""
        self._forward = [forward_starts(stream.columns) for stream in job.streams]
        self._record_nbytes = [sum(field.nbytes for field in one.arena.fields) if one.arena is not None else 0 for one in job.streams]
        """By stream, bytes of a record in the arena."""
        self._most_records = [FIRST_NBYTES // max(1, nbytes) for nbytes in self._record_nbytes]
        """By stream, how many records may be decoded together."""
        self._rows = np.arange(job.layout.batch_size if job.layout else 0, dtype=np.int64)

    def close(self) -> None:
        """Drop the arena, and the callback of the fetcher that made this: the two would otherwise keep each other, and the arena, alive."""
        self.forget()
        self.fixed_fields, self.ragged_fields, self.parts, self._tables = [], [], [], {}
        self._verify = _ended

    @property
    def plain(self) -> list[list[tuple[str, Reader]]]:
        """By stream, those of `fixed_fields` that are delivered as they are, without augmentation."""
        return [[one for one in decoded if one[0] not in self._augmented] for decoded in self.fixed_fields]

    @property
    def needed(self) -> bool:
        """Whether any field is decoded into windows."""
        return bool(self.parts)

    def regions_of(self, name: str) -> dict[int, Region]:
        """By number of a part of the arena, the region of a ragged or encoded field in it; parts without the field are left out."""
        return {number: part.regions[name] for number, part in enumerate(self.parts) if name in part.regions}

    def open(self, task: WindowTask) -> None:
        """Begin a window: `decode_next` then decodes this worker's share of it. A window that had the same part of the arena is dropped."""
        table = self._tables[task.stream, task.lane].read(task.epoch)
        for key in [key for key, window in self._open.items() if window.task.part == task.part]:
            del self._open[key]
            self._undone.pop(key, None)
        opened = OpenWindow(task, table, self._shares(task, table), self._index)
        layout = self._job.streams[task.stream].arena
        if layout is not None:
            for field, rooms in zip(layout.fields, layout.rooms, strict=True):
                if rooms is not None:
                    opened.firsts[field.name] = offsets_of(table.pieces.of_blocks(rooms)[opened.blocks])
        opened.done = self._progress.blocks_done(self._index, task.part, task.serial)  # Not 0 if this worker replaces one that died.
        opened.told = opened.done
        self._open[task.key] = opened
        self._undone.pop(task.key, None)
        if opened.done < len(opened.share):
            self._undone[task.key] = opened
        self._awaited = -1, []
        self._progress.publish(self._index, task.part, task.serial, opened.done)
        self._reading.tell(self._tell)

    def _shares(self, task: WindowTask, table: WindowTable) -> list[NDArray[np.int64]]:
        """By worker, the blocks of a window that it decodes, as their numbers in the window.

        Each has as many as the task says, spread over the window. Where it says nothing, blocks go to workers in turn, and the turn
        begins with another worker in each window. The blocks of a file that can only be read from its beginning (`forward_starts`) all
        go to one worker, which has it open where the last window ended.
        """
        workers, blocks = self._job.workers, table.blocks_of(task.window)
        streams = self._forward[task.stream]
        if streams is None and task.shares:
            return spread(task.shares)
        if streams is None:
            return [np.arange((worker + task.window) % workers, len(blocks), workers) for worker in range(workers)]
        firsts = np.array([table.block_records(block)[0] for block in blocks.tolist()], np.int64)
        owners = (np.searchsorted(streams, firsts, side="right") - 1) % workers
        return [np.flatnonzero(owners == worker) for worker in range(workers)]

    def forget(self) -> None:
        """Drop every open window."""
        self._open.clear()
        self._undone.clear()
        self._awaited = -1, []

    def decode_next(self) -> int:
        """Decode the next blocks of this worker's share, windows in the order in which they were opened. Returns how many blocks; 0
        if there is nothing to decode.

        Several small blocks are decoded together, since a call of a reader takes as long for one as for several.
        """
        window = next(iter(self._undone.values()), None)
        if window is None:
            return 0
        began, some = time.perf_counter_ns(), self._next_blocks(window)
        self._decode(window, some)
        self._note_pace(window, len(some), time.perf_counter_ns() - began)
        window.done += len(some)
        if window.done == len(window.share):
            del self._undone[window.task.key]
        self._progress.publish(self._index, window.task.part, window.task.serial, window.done)
        return len(some)

    def _next_blocks(self, window: OpenWindow) -> NDArray[np.int64]:
        """The next block of this worker's share of a window, and those after it that are decoded together with it."""
        first, held, stream = window.done, window.held, window.task.stream
        stop = first + 1
        if not self.ragged_fields[stream]:
            most = held[first] + self._most_records[stream]
            stop = min(max(stop, bisect_right(held, most) - 1), first + TOGETHER_BLOCKS, len(window.share))
        return window.share[first:stop]

    def _note_pace(self, window: OpenWindow, blocks: int, took_ns: int) -> None:
        """See how many records may be decoded together next, now that these blocks took so long."""
        stream, records = window.task.stream, window.held[window.done + blocks] - window.held[window.done]
        bounds = TOGETHER_NBYTES // max(1, self._record_nbytes[stream]), records * TOGETHER_NS // max(1, took_ns)
        self._most_records[stream] = min(bounds)

    def _decode(self, window: OpenWindow, some: NDArray[np.int64]) -> None:
        self._reading.tell(self._tell)
        stream, part = window.task.stream, self.parts[window.task.part]
        starts, stops = window.rows[some], window.rows[some + 1]
        records, places = window.table.records_of_blocks(window.blocks[some]), runs_of(starts, stops - starts)
        fault_point("mid_block_decode")
        with self._reading:
            for name, reader in self.fixed_fields[stream]:
                reader.gather(records, part.arrays[name], places)
            for name, reader in self.ragged_fields[stream]:
                first, end = window.firsts[name][some[0] : some[0] + 2].tolist()  # One block at a time, where there are any.
                part.regions[name].keep(reader, records, int(starts[0]), int(stops[0]), first, end - first)
        self._verify()

    def _tell(self) -> None:
        """Advise readers of the blocks that will be decoded next: ADVISED_BLOCKS at a time, up to twice as many ahead of decoding."""
        ahead = sum(window.told - window.done for window in self._undone.values())
        for window in self._undone.values():
            if ahead > ADVISED_BLOCKS:
                break
            while ahead <= ADVISED_BLOCKS and window.told < len(window.share):
                start, window.told = window.told, min(window.told + ADVISED_BLOCKS, len(window.share))
                self._advise_share(window, start, window.told)
                ahead += window.told - start

    def _advise_share(self, window: OpenWindow, start: int, stop: int) -> None:
        """Advise readers of the blocks `share[start:stop]`, so that decoding need not wait for storage."""
        if start == stop:
            return
        records = window.table.records_of_blocks(window.blocks[window.share[start:stop]])
        for _, reader in (*self.fixed_fields[window.task.stream], *self.ragged_fields[window.task.stream]):
            try:
                # Not `advise`: this very process will read these records, so that a reader may begin to read them itself.
                reader.expect(records)
            except StreamloadError:
                pass  # Decoding these blocks raises what is wrong with them.

    def ready(self, task: StepTask) -> bool:
        """Whether all workers have decoded every block of the windows that the step touches."""
        if not self.parts:
            return True
        number, keys = self._awaited
        if number != task.number:
            # Asked again and again while blocks are decoded: a window that is ready stays so while the step waits for others.
            keys = list(self._keys(task.pieces))
            keys.reverse()
            self._awaited = task.number, keys
        while keys:
            window = self._open.get(keys[-1])
            if window is None:
                return False
            for worker, wanted in enumerate(window.shares):
                if wanted and not self._progress.published(worker, window.task.part, window.task.serial, wanted):
                    return False
            keys.pop()
        return True

    def left_of_share(self, pieces: Sequence[StepPiece], *, steps: int) -> int:
        """How many blocks of this worker's share are left in open windows that a step of these pieces needs, or one of the `steps`
        after it, which are as large."""
        left = 0
        for stream, lane, epoch, start, stop in pieces:
            one, last = self._job.streams[stream], stop + (stop - start) * steps
            if one.arena is None or lane not in one.own:
                continue
            table = self._tables[stream, lane].read(epoch)
            end = int(table.starts[-1])
            keys = [(stream, lane, epoch, window) for window in table.windows_between(start, min(last, end), least=one.least)]
            if last > end:
                keys.append((stream, lane, epoch + 1, 0))
            left += sum(len(window.share) - window.done for key in keys if (window := self._open.get(key)) is not None)
        return left

    def _keys(self, pieces: Sequence[StepPiece]) -> Iterator[WindowKey]:
        """The windows that pieces of a step lie in, of lanes that are decoded by windows."""
        for stream, lane, epoch, start, stop in pieces:
            one = self._job.streams[stream]
            if one.arena is not None and lane in one.own:
                table = self._tables[stream, lane].read(epoch)
                for window in table.windows_between(start, stop, least=one.least):
                    yield stream, lane, epoch, window

    def slices(self, pieces: Sequence[StepPiece]) -> list[WindowSlice]:
        """Which rows of a step lie in the arena, and where, in rising order of rows. The others belong to no slice."""
        if not self.parts:
            return []
        found: list[WindowSlice] = []
        row = 0
        for stream, lane, epoch, start, stop in pieces:
            one = self._job.streams[stream]
            if one.arena is not None and lane in one.own:
                table = self._tables[stream, lane].read(epoch)
                for number in table.windows_between(start, stop, least=one.least):
                    low = int(table.starts[number])
                    first, last = max(start, low), min(stop, int(table.starts[number + 1]))
                    held = table.rows_at(number, first - low, last - low)
                    part = self._open[stream, lane, epoch, number].task.part
                    found.append(WindowSlice(part, held, row + first - start, row + last - start))
            row += stop - start
        return found

    def gather_decoded(self, target: dict[str, NDArray[Any]], slices: Sequence[WindowSlice]) -> None:
        """Copy the fixed fields that are delivered as they are from the arena into the rows of `slices`. `target`: by field."""
        copy_rows = kernels.gather_kernels().copy_rows
        for part, held, start, stop in slices:
            rows = self._rows[start:stop]
            for name, address, nbytes in self.parts[part].fixed:
                copy_rows(address, held, nbytes, nbytes, target[name].__array_interface__["data"][0], rows)

    def decode_stored(
        self, name: str, reader: RecordDecoder, records: NDArray[np.int64], out: NDArray[Any], slices: Sequence[WindowSlice]
    ) -> None:
        """Decode an encoded field, whose stored bytes are in the arena, into the rows of `slices`, which are of the reader's stream.

        `records` are the record numbers of the whole batch, `out` the field's array of the whole batch. Records whose block did not
        fit into the arena are read from their file.
        """
        for part, held, start, stop in slices:
            region, rows = self.parts[part].regions[name], np.arange(start, stop, dtype=np.int64)
            chosen, starts, lengths = records[start:stop], region.starts[held], region.lengths[held]
            here = starts >= 0
            if here.all():
                reader.decode(chosen, region.values, starts, lengths, out, rows)
                continue
            reader.decode(chosen[here], region.values, starts[here], lengths[here], out, rows[here])
            reader.gather(chosen[~here], out, rows[~here])

"""Windows that are being decoded into the arena, as one worker sees them: its share of their blocks, and what lies there already."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.errors import StreamloadError
from streamload.fault_points import reach
from streamload.fetch.job import ArenaLayout, Job
from streamload.fetch.ragged_collate import Region, WindowSlice, offsets_of
from streamload.fetch.reading_time import ReadingTime
from streamload.fetch.tasks import StepTask, WindowKey, WindowTask
from streamload.fetch.window_shares import spread
from streamload.fetch.window_tables import LaneTables
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.order import StepPiece, WindowTable, runs_of
from streamload.source import RaggedReader, Reader, RecordDecoder, forward_starts

ADVISED_BLOCKS = 32
"""Blocks of a share that readers are told of at a time, at least one such stretch ahead of decoding."""
TOGETHER_BLOCKS, TOGETHER_NBYTES, TOGETHER_NS = 64, 8 * 1024**2, 6_000_000
"""Blocks are decoded together up to so many, so many bytes, and so many nanoseconds at the pace of the last: a step that is ready
waits meanwhile, and so does a worker that must see its neighbour's share done."""
FIRST_NBYTES = 1024**2
"""As many bytes are decoded together as long as the pace is not known."""


def _ended(*_: object) -> Any:
    """What is asked of windows that were closed."""
    raise RuntimeError("windows are asked for after they were closed: a fault in streamload")


class OpenWindow:
    """A window that is being decoded: which blocks it has, and how far this worker's share of them is."""

    def __init__(self, task: WindowTask, table: WindowTable, shares: Sequence[NDArray[np.int64]], index: int) -> None:
        self.task = task
        self.table = table
        self.blocks = table.blocks_of(task.window).copy()  # Tables are written again two epochs later.
        self.rows = table.held_starts(task.window)
        self.shares = tuple(map(len, shares))
        """How many of the blocks each worker decodes."""
        self.share = shares[index]
        """Those that this one does, counted in the window."""
        self.held = [0, *np.cumsum(self.rows[self.share + 1] - self.rows[self.share]).tolist()]
        """How many records come before each of these, and in all of them."""
        self.done = 0
        self.told = 0
        """Of the share, the blocks that readers have been told of."""
        self.firsts: dict[str, NDArray[np.int64]] = {}
        """Of ragged fields: where the room of each block begins in the part of the arena, and their end."""


class ArenaPart:
    """One part of the arena, as arrays: room for one window of the stream that it belongs to."""

    def __init__(self, stream: int, layout: ArenaLayout, memory: NDArray[np.uint8], part: int, augmented: frozenset[str]) -> None:
        self.stream = stream
        self.arrays = layout.views(memory, part)
        self.regions = {name: Region(self.arrays[name], *place) for name, place in layout.places(memory, part).items()}
        """Of ragged fields, and of stored bytes of encoded ones."""
        fixed = [field for field in layout.fields if not field.ragged]
        self.fixed = [(field.name, self.arrays[field.name].ctypes.data, field.nbytes) for field in fixed if field.name not in augmented]
        """Of the other fields: name, address, and bytes of a record."""
        self.augmented = {field.name: (self.arrays[field.name].ctypes.data, field.nbytes) for field in fixed if field.name in augmented}
        """The same of fields that do not come out as they lie here, by name."""


def parts_of(job: Job, arena: SharedBlock | None) -> list[ArenaPart]:
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
    """The windows that are open, and the fields that are decoded into them."""

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
        """`reading` is entered while blocks are read; `verify` raises where files have changed."""
        self.fixed_fields: list[list[tuple[str, Reader]]] = [[] for _ in job.streams]
        """Of each stream, fixed fields that are decoded into the arena."""
        self._augmented = job.augmentation.fields if job.augmentation is not None else frozenset[str]()
        self.ragged_fields: list[list[tuple[str, RaggedReader]]] = [[] for _ in job.streams]
        """Of each stream, ragged fields, and stored bytes of encoded ones, that are decoded into the arena."""
        self.parts = parts_of(job, arena)
        self._job = job
        self._index = index
        self._progress = progress
        self._tables = tables
        self._reading = reading
        self._verify = verify
        self._open: dict[WindowKey, OpenWindow] = {}
        self._forward = [forward_starts(stream.columns) for stream in job.streams]
        self._record_nbytes = [sum(field.nbytes for field in one.arena.fields) if one.arena is not None else 0 for one in job.streams]
        """Of each stream, what a record of it takes in the arena."""
        self._most_records = [FIRST_NBYTES // max(1, nbytes) for nbytes in self._record_nbytes]
        """Of each stream, how many records may be decoded together."""
        self._rows = np.arange(job.layout.batch_size if job.layout else 0, dtype=np.int64)

    def close(self) -> None:
        """Let go of the arena, and of whoever made this: the two would otherwise keep each other, and the arena, alive."""
        self._open.clear()
        self.fixed_fields, self.ragged_fields, self.parts, self._tables = [], [], [], {}
        self._verify = _ended

    @property
    def plain(self) -> list[list[tuple[str, Reader]]]:
        """Of each stream, those of `fixed_fields` that go into batches as they are."""
        return [[one for one in decoded if one[0] not in self._augmented] for decoded in self.fixed_fields]

    @property
    def needed(self) -> bool:
        """Whether any field is decoded into windows."""
        return bool(self.parts)

    def regions_of(self, name: str) -> dict[int, Region]:
        """Where a ragged field, or the stored bytes of an encoded one, lies in each part of the arena that has it."""
        return {number: part.regions[name] for number, part in enumerate(self.parts) if name in part.regions}

    def open(self, task: WindowTask) -> None:
        """Take on this worker's share of a window."""
        table = self._tables[task.stream, task.lane].read(task.epoch)
        for key in [key for key, window in self._open.items() if window.task.part == task.part]:
            del self._open[key]
        opened = OpenWindow(task, table, self._shares(task, table), self._index)
        layout = self._job.streams[task.stream].arena
        if layout is not None:
            for field, rooms in zip(layout.fields, layout.rooms, strict=True):
                if rooms is not None:
                    opened.firsts[field.name] = offsets_of(table.pieces.of_blocks(rooms)[opened.blocks])
        opened.done = self._progress.blocks_done(self._index, task.part, task.serial)  # Not 0 where a worker died at it.
        opened.told = opened.done
        self._open[task.key] = opened
        self._progress.publish(self._index, task.part, task.serial, opened.done)
        self._reading.tell(self._tell)

    def _shares(self, task: WindowTask, table: WindowTable) -> list[NDArray[np.int64]]:
        """Which of a window's blocks each worker decodes: as many as the task says, spread over the window.

        Blocks of a file that is unpacked from its beginning are all one worker's, which goes on from where it was.
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
        """Leave every window that was opened."""
        self._open.clear()

    def decode_next(self) -> int:
        """Decode what comes next of this worker's share, in the order in which windows were opened: how many blocks; 0 if there is none.

        Small blocks are decoded some at a time, as asking a reader takes as long for one as for several.
        """
        for window in self._open.values():
            if window.done < len(window.share):
                began, some = time.perf_counter_ns(), self._next_blocks(window)
                self._decode(window, some)
                self._note_pace(window, len(some), time.perf_counter_ns() - began)
                window.done += len(some)
                self._progress.publish(self._index, window.task.part, window.task.serial, window.done)
                return len(some)
        return 0

    def _next_blocks(self, window: OpenWindow) -> NDArray[np.int64]:
        """The next block of a window, and others behind it while they are small together."""
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
        reach("mid_block_decode")
        with self._reading:
            for name, reader in self.fixed_fields[stream]:
                reader.gather(records, part.arrays[name], places)
            for name, reader in self.ragged_fields[stream]:
                first, end = window.firsts[name][some[0] : some[0] + 2].tolist()  # One block at a time, where there are any.
                part.regions[name].keep(reader, records, int(starts[0]), int(stops[0]), first, end - first)
        self._verify()

    def _tell(self) -> None:
        """Tell readers of the blocks that come next, in the order of decoding: one to two stretches of them."""
        ahead = sum(window.told - window.done for window in self._open.values())
        for window in self._open.values():
            while ahead <= ADVISED_BLOCKS and window.told < len(window.share):
                start, window.told = window.told, min(window.told + ADVISED_BLOCKS, len(window.share))
                self._advise_share(window, start, window.told)
                ahead += window.told - start

    def _advise_share(self, window: OpenWindow, start: int, stop: int) -> None:
        """Tell readers of the blocks [start, stop) of this worker's share, so that decoding need not wait for storage."""
        if start == stop:
            return
        records = window.table.records_of_blocks(window.blocks[window.share[start:stop]])
        for _, reader in (*self.fixed_fields[window.task.stream], *self.ragged_fields[window.task.stream]):
            try:
                # What is decoded is read by whoever decodes it: a reader may do more with that than with advice.
                reader.expect(records)
            except StreamloadError:
                pass  # Whatever is wrong, decoding these blocks will say it.

    def ready(self, task: StepTask) -> bool:
        """Whether every block that the step needs is in the arena."""
        if not self.parts:
            return True
        for key in self._keys(task.pieces):
            window = self._open.get(key)
            if window is None:
                return False
            for worker, wanted in enumerate(window.shares):
                if wanted and not self._progress.published(worker, window.task.part, window.task.serial, wanted):
                    return False
        return True

    def _keys(self, pieces: Sequence[StepPiece]) -> Iterator[WindowKey]:
        """The windows that pieces of a step lie in, where these are decoded."""
        for stream, lane, epoch, start, stop in pieces:
            one = self._job.streams[stream]
            if one.arena is not None and lane in one.own:
                table = self._tables[stream, lane].read(epoch)
                for window in table.windows_between(start, stop, least=one.least):
                    yield stream, lane, epoch, window

    def slices(self, pieces: Sequence[StepPiece]) -> list[WindowSlice]:
        """Where in the arena the records of a step lie, in the order of its rows; those that do not lie there are left out."""
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
        """Copy records of the fixed fields from the arena into rows of a batch."""
        copy_rows = kernels.gather_kernels().copy_rows
        for part, held, start, stop in slices:
            rows = self._rows[start:stop]
            for name, address, nbytes in self.parts[part].fixed:
                copy_rows(address, held, nbytes, nbytes, target[name].__array_interface__["data"][0], rows)

    def decode_stored(
        self, name: str, reader: RecordDecoder, records: NDArray[np.int64], out: NDArray[Any], slices: Sequence[WindowSlice]
    ) -> None:
        """Decode records of an encoded field straight from their stored bytes in the arena into rows of a batch.

        `records` are those of the whole batch; only rows of `slices` are decoded, which are of the reader's stream.
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

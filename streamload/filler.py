"""The work itself, the same in a worker and in the calling process: fill a step's slot, decode a window's blocks."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.board import Board
from streamload.errors import StreamloadError, WorkerError
from streamload.files import OpenFiles
from streamload.job import Job
from streamload.killpoints import reach
from streamload.order import WINDOWED, WindowedOrder, WindowTable
from streamload.ragged import Ragged
from streamload.schema import Schema
from streamload.shared import SharedBlock
from streamload.slots import SlotLayout, SlotViews
from streamload.source import Column, Meter, RaggedReader, Reader, read_records, stored_column
from streamload.tables import Tables
from streamload.transforms import Transforming
from streamload.uneven import Collated, Piece, Region, offsets_of
from streamload.wire import StepTask, WindowTask, cut

ADVISED_BLOCKS = 32
"""Blocks of a share that the kernel is told of at a time, one such stretch ahead of decoding."""
MOST_MAP_PAUSE = 256
"""Steps between two looks at whether the page cache holds enough of a file to map it."""


class OpenWindow:
    """A window that is being decoded: which blocks it has, and how far this worker's share of them is."""

    def __init__(self, task: WindowTask, table: WindowTable, share: range) -> None:
        self.task = task
        self.blocks = table.blocks_of(task.window)
        self.rows = table.held_starts(task.window)
        self.share = share
        self.done = 0
        self.firsts: dict[str, NDArray[np.int64]] = {}
        """Of ragged fields: where the room of each block begins in the part of the arena, and their end."""


class Filler:
    """Does tasks, one at a time, with readers of its own."""

    def __init__(
        self, job: Job, *, index: int, board: Board, slots: Sequence[SlotViews], arena: SharedBlock | None, tables: SharedBlock | None
    ) -> None:
        self.job = job
        self.index = index
        self.board = board
        self.meter = Meter()
        self.disk_ns = 0
        self.files = OpenFiles(job.fingerprints, direct=job.direct)
        self._slots = slots
        self._arena = arena
        self._tables = Tables(job.order, tables) if isinstance(job.order, WINDOWED) and tables is not None else None
        self.schema = Schema(tuple(column.field for column in job.columns))
        self._direct: list[tuple[str, Reader]] = []
        """Fixed fields that are read record by record."""
        self._decoded: list[tuple[str, Reader]] = []
        """Fixed fields that are decoded into the arena."""
        self._kept: list[tuple[str, RaggedReader]] = []
        """Ragged fields, and stored bytes of encoded ones, that are decoded into the arena."""
        self._collated: list[Collated] = []
        """Ragged fields of a batch."""
        self._encoded: list[tuple[str, Collated, Any]] = []
        """Fields that are decoded from stored bytes in the arena, and their readers."""
        self._parts: list[dict[str, NDArray[Any]]] = []
        self._regions: dict[str, list[Region]] = {}
        if job.arena is not None and arena is not None:
            self._parts = [job.arena.views(arena, part) for part in range(job.arena.parts)]
            places = [job.arena.places(arena, part) for part in range(job.arena.parts)]
            for name in places[0]:
                self._regions[name] = [Region(part[name], *place[name]) for part, place in zip(self._parts, places, strict=True)]
        self._readers: list[Any] = []
        for column in job.columns:
            self._sort_in(column)
        kept = [id(reader) for _, reader in (*self._decoded, *self._kept)]
        self._advised = [reader for reader in self._readers if id(reader) not in kept]
        self._in_arena = bool(self._decoded or self._kept)
        self._uneven = bool(self._collated or self._encoded)
        self.overflow: tuple[SharedBlock, tuple[int, ...]] | None = None
        """The batch that was filled last, and the elements that it has room for, where it did not fit its slot."""
        self._open: dict[tuple[int, int], OpenWindow] = {}
        self._unmapped = list(range(len(job.fingerprints))) if job.mapped else []
        self._map_pause, self._map_after = 1, 0
        self._transforming: Transforming | None = None
        if job.transform is not None and job.layout is not None:
            self._transforming = Transforming(job.transform, seed=job.seed, stored=self.schema, batch_size=job.layout.batch_size)
        self._rows = np.arange(job.layout.batch_size if job.layout else 0, dtype=np.int64)

    def _sort_in(self, column: Column) -> None:
        """Make a column's readers, and note which way its records go."""
        field, kept = column.field, stored_column(column)
        reader = column.reader(self.files, self.meter)
        self._readers.append(reader)
        in_arena = self.job.arena is not None and any(field.name == one.name for one in self.job.arena.fields)
        if not kept.field.ragged or (kept is not column and not in_arena):
            (self._decoded if in_arena else self._direct).append((field.name, reader))
            return
        stored_reader = reader
        if kept is not column:
            stored_reader = kept.reader(self.files, self.meter)
            self._readers.append(stored_reader)
        collated = Collated(kept.field, stored_reader, self._regions.get(field.name, []))
        if in_arena:
            self._kept.append((field.name, stored_reader))
        if kept is column:
            self._collated.append(collated)
        else:
            self._encoded.append((field.name, collated, reader))

    # Steps

    def fill(self, task: StepTask) -> int:
        """Fill the task's slot; returns how many records are in it. Raises a StreamloadError that names epoch and records."""
        views = self._slots[task.slot]
        count = task.stop - task.start
        records: NDArray[np.int64] | None = None
        self.board.begin(self.index, task.number)
        try:
            if self._unmapped:
                self._map_a_stretch()
            records = self._records(task.epoch, task.start, task.stop)
            reach("before_read")
            views.task[0] = -1
            if self._uneven or views.offsets:
                self._fill_uneven(task, records, views)
                views.task[0] = task.number
                return count
            views.records[:count] = records
            target = views.fields if self._transforming is None else self._transforming.stored_arrays
            for name, reader in self._direct:
                self._gather(reader, records, target[name], self._rows[:count])
                reach("mid_slot_write")
            if self._decoded:
                self._gather_decoded(task, target, self._pieces(task))
            self.files.verify()
            if self._transforming is not None:
                began = time.perf_counter_ns()
                try:
                    self._transforming.apply(task.epoch, task.start, records, views.fields)
                finally:
                    self.meter.decode_ns += time.perf_counter_ns() - began
            views.task[0] = task.number
            return count
        except StreamloadError as error:
            raise self._placed(error, task) from error.__cause__
        except Exception as error:
            self.files.verify()
            raise self._placed(unforeseen(error), task) from error

    def _gather(self, reader: Reader, records: NDArray[np.int64], out: NDArray[Any], rows: NDArray[np.int64]) -> None:
        """Gather, and count as the disk's the part of the reading time in which this process did not run."""
        if self.job.mapped and not self._unmapped:
            reader.gather(records, out, rows)
            return
        read, wall, ran = self.meter.read_ns, time.perf_counter_ns(), time.thread_time_ns()
        reader.gather(records, out, rows)
        blocked = time.perf_counter_ns() - wall - (time.thread_time_ns() - ran)
        self.disk_ns += max(0, min(blocked, self.meter.read_ns - read))

    def counters(self) -> tuple[int, int, int]:
        """What reading and decoding have cost so far: nanoseconds of disk and of decoding, and bytes read."""
        return self.disk_ns, self.meter.decode_ns, self.meter.read_nbytes

    def _placed(self, error: StreamloadError, task: StepTask) -> StreamloadError:
        """The error, with the step that met it."""
        size = self.job.layout.batch_size if self.job.layout else 1
        error.details.setdefault("epoch", task.epoch)
        error.details.setdefault("batch_index", task.start // size)
        error.details.setdefault("worker_id", self.index)
        return error

    def _records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        order = self.job.order
        if isinstance(order, WINDOWED):
            return self._table(epoch).records(start, stop)
        return order.records(epoch, start, stop)

    def advise(self, epoch: int, start: int, stop: int) -> None:
        """Tell the kernel which stored bytes these positions will need. Never an error."""
        if start >= stop or not self._advised or (self.job.mapped and not self._unmapped):
            return
        try:
            order = self.job.order
            if isinstance(order, WINDOWED):
                self._advise_blocks(order, epoch, start, stop)
                return
            records = self._records(epoch, start, stop)
            for reader in self._advised:
                reader.advise(records)
        except StreamloadError:
            pass  # Whatever is wrong, the step that reads these records will say it.

    def _advise_blocks(self, order: WindowedOrder, epoch: int, start: int, stop: int) -> None:
        """The share of their windows' blocks that the positions [start, stop) are of the windows' positions."""
        table = self._table(epoch)
        for window in range(table.window_of(start), table.window_of(stop - 1) + 1):
            low, high = int(table.starts[window]), int(table.starts[window + 1])
            blocks = table.blocks_of(window)
            first = len(blocks) * (max(start, low) - low) // (high - low)
            last = len(blocks) * (min(stop, high) - low) // (high - low)
            for block in blocks[first:last].tolist():
                records = order.block_records(block)
                for reader in self._advised:
                    reader.advise(records)

    def _map_a_stretch(self) -> None:
        """Map a little more of the files, as long as the page cache holds them: reading is then a plain copy."""
        if self._map_after > 0:
            self._map_after -= 1
            return
        while self._unmapped:
            mapping = self.files.map(self._unmapped[-1])
            if mapping.populated:
                self._unmapped.pop()
                continue
            if mapping.populate():
                self._map_pause = 1
            else:
                # Looking costs as much as a small step: after a refusal, look half as often, and at another file.
                self._unmapped.insert(0, self._unmapped.pop())
                self._map_pause = min(2 * self._map_pause, MOST_MAP_PAUSE)
                self._map_after = self._map_pause
            return

    # Windows

    def open_window(self, task: WindowTask) -> None:
        """Take on this worker's share of a window."""
        table = self._table(task.epoch)
        for key in [key for key, window in self._open.items() if window.task.part == task.part]:
            del self._open[key]
        count = len(table.blocks_of(task.window))
        opened = OpenWindow(task, table, range(self.index, count, self.job.workers))
        if self.job.arena is not None:
            for field, rooms in zip(self.job.arena.fields, self.job.arena.rooms, strict=True):
                if rooms is not None:
                    opened.firsts[field.name] = offsets_of(rooms[opened.blocks])
        opened.done = self.board.progress(self.index, task.part, task.serial)  # Not 0 where a worker died at it.
        self._open[task.epoch, task.window] = opened
        self.board.publish(self.index, task.part, task.serial, opened.done)
        self._advise_share(opened, opened.done, opened.done + ADVISED_BLOCKS)

    def forget_windows(self) -> None:
        """Leave every window that was opened."""
        self._open.clear()

    def decode_next(self) -> bool:
        """Decode the next block of this worker's share, in the order in which windows were opened. False if there is none."""
        for window in self._open.values():
            if window.done < len(window.share):
                self._decode(window, window.share[window.done])
                window.done += 1
                self.board.publish(self.index, window.task.part, window.task.serial, window.done)
                return True
        return False

    def _decode(self, window: OpenWindow, which: int) -> None:
        order = self.job.order
        assert isinstance(order, WINDOWED)
        if window.done % ADVISED_BLOCKS == 0:
            self._advise_share(window, window.done + ADVISED_BLOCKS, window.done + 2 * ADVISED_BLOCKS)
        records = order.block_records(int(window.blocks[which]))
        rows = np.arange(window.rows[which], window.rows[which + 1], dtype=np.int64)
        arrays = self._parts[window.task.part]
        reach("mid_block_decode")
        for name, reader in self._decoded:
            self._gather(reader, records, arrays[name], rows)
        for name, reader in self._kept:
            first, stop = window.firsts[name][which : which + 2].tolist()
            self._regions[name][window.task.part].keep(reader, records, int(rows[0]), int(rows[-1]) + 1, first, stop - first)
        self.files.verify()

    def _advise_share(self, window: OpenWindow, start: int, stop: int) -> None:
        """Tell the kernel of the blocks [start, stop) of this worker's share, so that decoding need not wait for storage."""
        order = self.job.order
        assert isinstance(order, WINDOWED)
        blocks = [order.block_records(int(window.blocks[which])) for which in window.share[start:stop]]
        if blocks:
            records = np.concatenate(blocks)
            for _, reader in (*self._decoded, *self._kept):
                reader.advise(records)

    def ready(self, task: StepTask) -> bool:
        """Whether every block that the step needs is in the arena."""
        if not self._in_arena:
            return True
        table = self._table(task.epoch)
        for number in range(table.window_of(task.start), table.window_of(task.stop - 1) + 1):
            window = self._open.get((task.epoch, number))
            if window is None:
                return False
            for worker in range(self.job.workers):
                wanted = len(range(worker, len(window.blocks), self.job.workers))
                if not self.board.published(worker, window.task.part, window.task.serial, wanted):
                    return False
        return True

    def _gather_decoded(self, task: StepTask, target: dict[str, NDArray[Any]], pieces: Sequence[Piece]) -> None:
        copy_rows = kernels.gather_kernels().copy_rows
        for piece in pieces:
            arrays = self._parts[piece.part]
            rows = self._rows[piece.start : piece.stop]
            for name, _ in self._decoded:
                nbytes = self.schema[name].nbytes
                copy_rows(arrays[name].ctypes.data, piece.rows * nbytes, nbytes, target[name].ctypes.data, rows)

    def _pieces(self, task: StepTask) -> list[Piece]:
        """The positions of a step, by the windows that hold them."""
        table, found = self._table(task.epoch), list[Piece]()
        for number in range(table.window_of(task.start), table.window_of(task.stop - 1) + 1):
            low, high = int(table.starts[number]), int(table.starts[number + 1])
            first, last = max(task.start, low), min(task.stop, high)
            held = table.deal(number, first - low, last - low)
            found.append(Piece(self._open[task.epoch, number].task.part, held, first - task.start, last - task.start))
        return found

    # Steps with records that differ in length

    def _fill_uneven(self, task: StepTask, records: NDArray[np.int64], views: SlotViews) -> None:
        """Fill a step of which some fields are ragged, or decoded from stored bytes; in memory of its own if the slot is too small."""
        count, transforming = len(records), self._transforming
        self.leave_overflow()
        pieces = self._pieces(task) if self._in_arena else []
        lengths = {one.field.name: one.measure(records, pieces) for one in self._collated}
        if transforming is None:
            views = self._fitting(views, {name: int(one.sum()) for name, one in lengths.items()})
        views.records[:count] = records
        target = views.fields if transforming is None else transforming.stored_arrays
        for name, reader in self._direct:
            self._gather(reader, records, target[name], self._rows[:count])
            reach("mid_slot_write")
        if self._decoded:
            self._gather_decoded(task, target, pieces)
        for name, collated, reader in self._encoded:
            self._decode_stored(name, collated, reader, records, target[name], pieces)
        for one in self._collated:
            name, field = one.field.name, one.field
            if transforming is None:
                offsets, values = offsets_of(lengths[name], views.offsets[name][: count + 1]), views.fields[name]
            else:
                offsets = offsets_of(lengths[name])
                values = np.empty((int(offsets[-1]), *field.shape), field.dtype)
                transforming.stored_ragged[name] = Ragged(values, offsets, field.ragged)
            one.collate(records, values, offsets)
            reach("mid_slot_write")
        self.files.verify()
        if transforming is not None:
            self._transform(transforming, task, records, views)

    def _decode_stored(
        self, name: str, collated: Collated, reader: Any, records: NDArray[np.int64], out: NDArray[Any], pieces: Sequence[Piece]
    ) -> None:
        """Decode records of an encoded field straight from their stored bytes in the arena."""
        for piece in pieces:
            region = self._regions[name][piece.part]
            chosen, rows, starts = records[piece.start : piece.stop], self._rows[piece.start : piece.stop], region.starts[piece.rows]
            here = starts >= 0
            if here.all():
                reader.decode(chosen, region.values, starts, region.lengths[piece.rows], out, rows)
                continue
            reader.decode(chosen[here], region.values, starts[here], region.lengths[piece.rows][here], out, rows[here])
            reader.gather(chosen[~here], out, rows[~here])

    def _transform(self, transforming: Transforming, task: StepTask, records: NDArray[np.int64], views: SlotViews) -> None:
        """Transform records that were collated, and put what comes out into the slot, or into memory of its own."""
        began = time.perf_counter_ns()
        try:
            fixed = {name: array for name, array in views.fields.items() if name not in views.offsets}
            assert self.job.layout is not None
            ragged = transforming.apply(task.epoch, task.start, records, fixed, self.job.layout.schema.ragged)
        finally:
            self.meter.decode_ns += time.perf_counter_ns() - began
        count, into = len(records), self._fitting(views, {name: sum(map(len, found)) for name, found in ragged.items()})
        if into is not views:
            into.records[:count] = records
            for name, array in views.fields.items():
                if name not in views.offsets:
                    into.fields[name][:count] = array[:count]
        for name, found in ragged.items():
            offsets = offsets_of(np.array([len(one) for one in found], np.int64), into.offsets[name][: count + 1])
            for one, start in zip(found, offsets[:-1].tolist(), strict=True):
                into.fields[name][start : start + len(one)] = one

    def _fitting(self, views: SlotViews, elements: dict[str, int]) -> SlotViews:
        """The slot, or memory of its own where ragged fields of so many elements do not fit into it."""
        layout = self.job.layout
        assert layout is not None
        if all(elements[f.name] <= room for f, room in zip(layout.schema, layout.capacities, strict=True) if f.ragged):
            return views
        rooms = tuple(elements[field.name] if field.ragged else 0 for field in layout.schema)
        larger = SlotLayout.of(layout.schema, layout.batch_size, rooms)
        self.overflow = SharedBlock.create(larger.nbytes, purpose="a batch that does not fit its slot"), rooms
        reach("overflow")
        return SlotViews(larger, self.overflow[0], 0)

    def leave_overflow(self) -> None:
        """Let go of memory that a batch was given of its own; whoever has its descriptor or an array of it keeps it."""
        if self.overflow is not None:
            self.overflow[0].close()
            self.overflow = None

    def _table(self, epoch: int) -> WindowTable:
        """The table of an epoch: in shared memory, one of two places by the parity of the epoch."""
        assert self._tables is not None
        return self._tables.read(epoch)

    def forget_tables(self) -> None:
        """The tables in shared memory may be of other epochs from now on."""
        if self._tables is not None:
            self._tables.forget()

    def close(self) -> None:
        """Let go of files, mappings and readers."""
        self.leave_overflow()
        for reader in self._readers:
            reader.close()
        self.files.close()


def unforeseen(error: BaseException) -> WorkerError:
    """An exception that nothing here expects, as text: it must not take its objects across a process border."""
    trace = "".join(traceback.format_exception(error))
    return WorkerError(
        f"a worker failed with {type(error).__name__}: {cut(str(error))}",
        hint="This is a fault in streamload or in a column of your own; the traceback is below.",
        traceback=cut(trace),
    )


def probe(job: Job) -> Schema:
    """The schema of what the job's transform makes of a record, found by trying it on the first."""
    meter, files = Meter(), OpenFiles(job.fingerprints)
    stored = Schema(tuple(column.field for column in job.columns))
    assert job.transform is not None
    try:
        transforming = Transforming(job.transform, seed=job.seed, stored=stored, batch_size=1)
        first = np.asarray(job.order.records(0, 0, 1), np.int64)
        for column in job.columns:
            reader, name = column.reader(files, meter), column.field.name
            found = read_records(column, reader, first)
            if column.field.ragged:
                transforming.stored_ragged[name] = found
            else:
                transforming.stored_arrays[name][:] = found
            reader.close()
        return transforming.schema(int(first[0]))
    finally:
        files.close()

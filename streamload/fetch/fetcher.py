"""The work itself, the same in a worker and in the calling process: fill a step's slot, decode a window's blocks."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError, WorkerError, shortened
from streamload.fault_points import reach
from streamload.fetch.bad_records import RAISE, BadRow, remap_slices, resolve
from streamload.fetch.job import Job
from streamload.fetch.ragged_collate import RaggedCollator, WindowSlice, offsets_of
from streamload.fetch.tasks import StepTask
from streamload.fetch.window_tables import Tables
from streamload.fetch.windows import WindowDecoder
from streamload.formats.columns.raw import InMemory
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotLayout, SlotViews
from streamload.order import WINDOWED, WindowedOrder, WindowTable
from streamload.ragged import Ragged
from streamload.schema import Schema
from streamload.source import Column, Reader, ReadStats, kept_column, read_records
from streamload.storage.files import OpenFiles
from streamload.transforms.record import RecordTransform

MOST_PROBED = 100
"""Records that a transform is tried on until one is good, where bad ones are not an error."""
MOST_MAP_PAUSE = 256
"""Steps between two looks at whether the page cache holds enough of a file to map it."""


class BatchFetcher:
    """Does tasks, one at a time, with readers of its own."""

    def __init__(
        self,
        job: Job,
        *,
        index: int,
        board: WorkerProgress,
        slots: Sequence[SlotViews],
        arena: SharedBlock | None,
        tables: SharedBlock | None,
    ) -> None:
        self.job = job
        self.index = index
        self.board = board
        self.meter = ReadStats()
        self.disk_ns = 0
        self.files = OpenFiles(job.fingerprints, direct=job.direct)
        self._slots = slots
        self._arena = arena
        self._tables = Tables(job.order, tables) if isinstance(job.order, WINDOWED) and tables is not None else None
        self.schema = Schema(tuple(column.field for column in job.columns))
        self.windows = WindowDecoder(
            job, index=index, board=board, arena=arena, table_of=self._table, gather=self._gather, verify=self.files.verify
        )
        self._direct: list[tuple[str, Reader]] = []
        """Fixed fields that are read record by record."""
        self._collated: list[RaggedCollator] = []
        """Ragged fields of a batch."""
        self._encoded: list[tuple[str, Any, bool]] = []
        """Fields that are decoded from stored bytes, their readers, and whether those bytes are in the arena."""
        self._readers: list[Any] = []
        self._decoders: list[Any] = []
        for column in job.columns:
            self._sort_in(column)
        kept = [id(reader) for _, reader in (*self.windows.decoded, *self.windows.kept)]
        self._advised = [reader for reader in self._readers if id(reader) not in kept]
        self._uneven = bool(self._collated or self._encoded)
        self.bad: list[BadRow] = []
        """Records of the step that was filled last that could not be delivered."""
        self.overflow: tuple[SharedBlock, tuple[int, ...]] | None = None
        """The batch that was filled last, and the elements that it has room for, where it did not fit its slot."""
        self._unmapped = list(range(len(job.fingerprints))) if job.mapped else []
        self._map_pause, self._map_after = 1, 0
        self._transforming: RecordTransform | None = None
        if job.transform is not None and job.layout is not None:
            self._transforming = RecordTransform(job.transform, seed=job.seed, stored=self.schema, batch_size=job.layout.batch_size)
        self._rows = np.arange(job.layout.batch_size if job.layout else 0, dtype=np.int64)

    def _sort_in(self, column: Column) -> None:
        """Make a column's readers, and note which way its records go."""
        field, kept = column.field, kept_column(column)
        reader = column.reader(self.files, self.meter)
        self._readers.append(reader)
        in_arena = self.job.arena is not None and any(field.name == one.name for one in self.job.arena.fields)
        if not kept.field.ragged:
            (self.windows.decoded if in_arena else self._direct).append((field.name, reader))
            return
        stored = reader
        if kept is not column:
            self._encoded.append((field.name, reader, in_arena))
            if not in_arena:
                return
            stored = kept.reader(self.files, self.meter)
            self._readers[-1:] = [stored]  # Advice is for whoever reads the stored bytes.
            self._decoders.append(reader)
        if in_arena:
            self.windows.kept.append((field.name, stored))
        if kept is column:
            self._collated.append(RaggedCollator(field, stored, self.windows.regions.get(field.name, [])))

    @property
    def pace(self) -> str:
        """What a step may wait for: where it is "transformed" a function of the user's, where "read" storage, where "copied" nothing."""
        if self._transforming is not None:
            return "transformed"
        direct = {name for name, _ in self._direct}
        held = all(isinstance(column, InMemory) for column in self.job.columns if column.field.name in direct)
        return "copied" if held and self.windows.needed and not self._uneven else "read"

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
                count = self._fill_uneven(task, records, views)
                views.task[0] = task.number
                return count
            views.records[:count] = records
            target = views.fields if self._transforming is None else self._transforming.begin()
            for name, reader in self._direct:
                self._gather(reader, records, target[name], self._rows[:count])
                reach("mid_slot_write")
            if self.windows.decoded:
                self.windows.gather_decoded(target, self.windows.pieces(task))
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
            raise self._placed(unexpected_error(error), task) from error

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

    # Steps with records that differ in length

    def _fill_uneven(self, task: StepTask, records: NDArray[np.int64], views: SlotViews) -> int:
        """Fill a step of which some fields are ragged, or decoded from stored bytes; in memory of its own if the slot is too small."""
        transforming = self._transforming
        self.leave_overflow()
        target = views.fields if transforming is None else transforming.begin()
        records, pieces = self._decode_images(records, target, self.windows.pieces(task))
        count = len(records)
        lengths = {one.field.name: one.measure(records, pieces) if count else records for one in self._collated}
        if transforming is None:
            into = self._fitting(views, {name: int(one.sum()) for name, one in lengths.items()})
            if into is not views:
                for name, _, _ in self._encoded:
                    into.fields[name][:count] = target[name][:count]
            views, target = into, into.fields
        views.records[:count] = records
        for name, reader in self._direct if count else ():
            self._gather(reader, records, target[name], self._rows[:count])
            reach("mid_slot_write")
        if self.windows.decoded:
            self.windows.gather_decoded(target, pieces)
        for one in self._collated:
            name, field = one.field.name, one.field
            if transforming is None:
                offsets, values = offsets_of(lengths[name], views.offsets[name][: count + 1]), views.fields[name]
            else:
                offsets = offsets_of(lengths[name])
                values = np.empty((int(offsets[-1]), *field.shape), field.dtype)
                transforming.stored_ragged[name] = Ragged(values, offsets, field.ragged)
            if count:
                one.collate(records, values, offsets)
            reach("mid_slot_write")
        self.files.verify()
        if transforming is not None:
            self._transform(transforming, task, records, views)
        return count

    def _decode_images(
        self, records: NDArray[np.int64], target: dict[str, NDArray[Any]], pieces: list[WindowSlice]
    ) -> tuple[NDArray[np.int64], list[WindowSlice]]:
        """Decode the encoded fields; the records that the step consists of now that some may be bad, and their pieces."""
        self.bad = []
        faults: list[Any] = []
        for name, reader, in_arena in self._encoded:
            reader.faults = None if self.job.on_bad == RAISE else faults
            if in_arena:
                self.windows.decode_stored(name, reader, records, target[name], pieces)
            else:
                self._gather(reader, records, target[name], self._rows[: len(records)])
            reach("mid_slot_write")
        if not faults:
            return records, pieces
        self.files.verify()
        sources, self.bad = resolve(records, faults, self.job.on_bad)
        for name, _, _ in self._encoded:
            target[name][: len(sources)] = target[name][sources]
        return records[sources], remap_slices(pieces, sources)

    def _transform(self, transforming: RecordTransform, task: StepTask, records: NDArray[np.int64], views: SlotViews) -> None:
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
        for reader in (*self._readers, *self._decoders):
            reader.close()
        self.files.close()
        self.windows.close()


def unexpected_error(error: BaseException) -> WorkerError:
    """An exception that nothing here expects, as text: it must not take its objects across a process border."""
    trace = "".join(traceback.format_exception(error))
    return WorkerError(
        f"a worker failed with {type(error).__name__}: {shortened(str(error))}",
        hint="This is a fault in streamload or in a column of your own; the traceback is below.",
        traceback=shortened(trace),
    )


def probe(job: Job) -> Schema:
    """The schema of what the job's transform makes of a record, found by trying it on the first, or on the first good one."""
    meter, files = ReadStats(), OpenFiles(job.fingerprints)
    stored = Schema(tuple(column.field for column in job.columns))
    assert job.transform is not None
    transforming = RecordTransform(job.transform, seed=job.seed, stored=stored, batch_size=1)
    tries = 1 if job.on_bad == RAISE else min(MOST_PROBED, job.order.n)
    faults: list[Any] = []
    arrays = transforming.begin()
    try:
        for position in range(tries):
            record = np.asarray(job.order.records(0, position, position + 1), np.int64)
            before = len(faults)
            for column in job.columns:
                reader, name = column.reader(files, meter), column.field.name
                if kept_column(column) is not column and tries > 1:
                    reader.faults = faults
                found = read_records(column, reader, record)
                if column.field.ragged:
                    transforming.stored_ragged[name] = found
                else:
                    arrays[name][:] = found
                reader.close()
            if len(faults) == before:
                return transforming.schema(int(record[0]))
        raise faults[0].error
    finally:
        files.close()

"""Fills steps and decodes windows: what a worker does for each task, and the calling process without workers."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np

from streamload.errors import StreamloadError, WorkerError, shortened
from streamload.fetch.arrange_ragged import ArrangeRagged
from streamload.fetch.augment_fields import AugmentFields, stage_of
from streamload.fetch.augment_images import AugmentImages
from streamload.fetch.draft import BatchDraft, FilledStep, SlotDestination
from streamload.fetch.job import Job, Stream
from streamload.fetch.load import CollateFields, DecodeFields, EncodedField, ReadFields
from streamload.fetch.ragged_collate import RaggedCollator
from streamload.fetch.stages import Pass, Stage
from streamload.fetch.streams import OpenStreams
from streamload.fetch.tasks import StepTask
from streamload.fetch.transform_batch import TransformBatch
from streamload.fetch.transform_records import TransformRecords, Workspace
from streamload.fetch.window_tables import tables_in
from streamload.fetch.windows import WindowDecoder
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import NOT_FILLED, SlotViews, flawed
from streamload.order import StepPiece
from streamload.processes.fault_points import fault_point
from streamload.source import Column, RaggedReader, Reader, ReadStats, stored_column
from streamload.transforms.batch import BatchTransform
from streamload.transforms.record import RecordTransform
from streamload.transforms.stage import AugmentStage


class BatchFetcher:
    """Does tasks, one at a time, with open files, readers and memory of its own."""

    def __init__(
        self,
        job: Job,
        *,
        index: int,
        progress: WorkerProgress,
        slots: Sequence[SlotViews],
        arena: SharedBlock | None,
        tables: SharedBlock | None,
    ) -> None:
        """`index`: the number of this worker. `slots`: the memory of batches. `arena` and `tables`: memory of decoded windows and of window
        tables; None if no order has windows."""
        assert job.layout is not None
        self.job = job
        self.index = index
        self.progress = progress
        self.meter = ReadStats()
        self._slots = slots
        self._tables = tables_in(tables, job.streams)
        self._streams = streams = OpenStreams(job, self._tables, self.meter)
        self.windows = WindowDecoder(
            job, index=index, progress=progress, arena=arena, tables=self._tables, reading=streams.reading, verify=streams.verify
        )
        self._readers = readers = StreamReaders(job, streams, self.windows, self.meter)
        rows = np.arange(job.layout.batch_size, dtype=np.int64)
        load: list[Stage] = []
        stage, images = (None, None) if job.augmentation is None else self._augmenting(job)
        if any(readers.encoded.values()) or images is not None:
            load.append(
                DecodeFields(readers.encoded, streams=streams, windows=self.windows, on_bad=job.on_bad, rows=rows, augmented=images)
            )
        load.append(ReadFields(readers.fixed, windows=self.windows, rows=rows))
        if readers.ragged:
            load.append(CollateFields(readers.collated(self.windows)))
        if stage is not None:
            load.append(AugmentFields(job, stage, images, readers.augmented, windows=self.windows, meter=self.meter, rows=rows))
        self._load, *self._later = self._passes(job, load, SlotDestination(slots, job.layout))

    def _passes(self, job: Job, load: list[Stage], slot: SlotDestination) -> list[Pass]:
        """The passes that a step goes through: `load`, then one for each function of the user's and for collation. Every pass but
        the last writes to a `Workspace`, which the next one reads; the last one writes to the slot."""
        assert job.layout is not None
        size = job.layout.batch_size
        stages: list[list[Stage]] = [load]
        between: list[Workspace] = []
        if job.transform is not None:
            between.append(Workspace(job.augmented, size))
            transforming = RecordTransform(job.transform, stored=job.augmented, stored_arrays=between[-1].fields)
            stages.append([TransformRecords(job, transforming, self.meter)])
        if job.batch_transform is not None:
            between.append(Workspace(job.transformed, size))
            stages.append([TransformBatch(job, BatchTransform(job.batch_transform), self.meter)])
        if job.collation is not None:
            between.append(Workspace(job.collation.given, size))
            stages.append([ArrangeRagged(job, job.collation, self.meter)])
        return [Pass(some, to) for some, to in zip(stages, [*between, slot], strict=True)]

    def _augmenting(self, job: Job) -> tuple[AugmentStage, AugmentImages | None]:
        """What augments, with its kernels loaded; and what decodes for it, None if no augmented field is encoded."""
        stage = stage_of(job)
        images = AugmentImages(job, stage, self._readers.augmented_images, windows=self.windows, meter=self.meter)
        return stage, images if images.names else None

    @property
    def pace(self) -> str:
        """What may make a step slow: "transformed" by a function of the user's, "read" from storage, or only "copied"."""
        if self._later:
            return "transformed"
        return "copied" if self.windows.needed and self._readers.held and self.job.augmentation is None else "read"

    def fill(self, task: StepTask) -> FilledStep:
        """Fill the task's slot, or memory of the batch's own. Raises a StreamloadError that names epoch and records."""
        views = self._slots[task.slot]
        draft: BatchDraft | None = None
        self.progress.begin(self.index, task.number)
        try:
            if self._streams.unmapped:
                self._streams.map_a_stretch()
            records = self._streams.records(task.pieces)
            fault_point("before_read")
            views.task[0] = NOT_FILLED
            draft = BatchDraft(task, records, self.windows.slices(task.pieces) if self.windows.parts else [], views)
            if self._streams.reading.is_timed:
                with self._streams.reading:
                    self._load.run(draft)
            else:
                self._load.run(draft)
            self._streams.verify()
            for later in self._later:
                later.run(draft)
            filled = draft.outcome()
            fault_point("after_write_before_publish")
            self.progress.finish(self.index)
            self.progress.fence()  # Whoever sees the head of the slot sees all that was written into it.
            views.task[0] = task.number if filled.whole else flawed(task.number)
            return filled
        except BaseException as error:
            if draft is not None:
                draft.drop()
            if isinstance(error, StreamloadError):
                raise self._placed(error, task) from error.__cause__
            if not isinstance(error, Exception):
                raise
            self._streams.verify()
            raise self._placed(unexpected_error(error), task) from error

    def counters(self) -> tuple[int, int, int]:
        """What all steps so far have cost: (nanoseconds of waiting for storage, nanoseconds of decoding, bytes read)."""
        self._streams.reading.look_for_faults()
        return self._streams.reading.disk_ns, self.meter.decode_ns, self.meter.read_nbytes

    def _placed(self, error: StreamloadError, task: StepTask) -> StreamloadError:
        """The error, with the epoch and the step that it was met in."""
        error.details.setdefault("epoch", task.epoch)
        error.details.setdefault("batch_index", task.step)
        error.details.setdefault("worker_id", self.index)
        return error

    def advise(self, pieces: Sequence[StepPiece]) -> None:
        """Advise the operating system of the stored bytes that these positions will need. Raises nothing: their steps will."""
        self._streams.reading.tell(lambda: self._streams.advise(pieces))

    def forget_tables(self) -> None:
        """Read the tables in shared memory anew when they are next needed: they may be of other epochs by then."""
        for tables in self._tables.values():
            tables.forget()

    def close(self) -> None:
        """Close files, mappings and readers."""
        self._readers.close()
        self._streams.close()
        self.windows.close()


class StreamReaders:
    """The readers of every stream's fields, sorted by the stages that use them."""

    def __init__(self, job: Job, streams: OpenStreams, windows: WindowDecoder, meter: ReadStats) -> None:
        self.fixed: dict[int, list[tuple[str, Reader]]] = {number: [] for number in range(len(job.streams))}
        """By stream, fixed fields that are read record by record into the batch."""
        self.augmented: dict[int, dict[str, Reader]] = {number: {} for number in range(len(job.streams))}
        """By stream, fixed fields that are read record by record and augmented."""
        self.encoded: dict[int, list[EncodedField]] = {number: [] for number in range(len(job.streams))}
        """By stream, fields that are decoded from stored bytes into the batch."""
        self.augmented_images: dict[int, dict[str, EncodedField]] = {number: {} for number in range(len(job.streams))}
        """By stream, fields that are decoded from stored bytes and augmented."""
        self.ragged: dict[str, list[RaggedReader]] = {}
        """By ragged field, its readers, one for each stream."""
        self.held = True
        """Whether every field is in the arena or held in memory, so that a step needs nothing but copying."""
        self._job = job
        self._all: list[Any] = []
        for number, stream in enumerate(job.streams):
            for column in stream.columns:
                self._sort_in(number, stream, column, streams, windows, meter)

    def _sort_in(self, number: int, stream: Stream, column: Column, streams: OpenStreams, windows: WindowDecoder, meter: ReadStats) -> None:
        """Make the readers of a column, and add them to the lists of the stages that use them."""
        field, stored = column.field, stored_column(column)
        reader = column.reader(streams.files[number], meter)
        self._all.append(reader)
        in_arena = stream.arena is not None and any(field.name == one.name for one in stream.arena.fields)
        if not stored.field.ragged:
            self.held = self.held and (in_arena or column.held is not None)
            if in_arena:
                windows.fixed_fields[number].append((field.name, reader))
                return
            streams.advised[number].append(reader)
            if self._job.augmentation is not None and field.name in self._job.augmentation.fields:
                self.augmented[number][field.name] = reader
            else:
                self.fixed[number].append((field.name, reader))
            return
        self.held = False
        if stored is not column and self._job.augmentation is not None and field.name in self._job.augmentation.fields:
            self.augmented_images[number][field.name] = EncodedField(field.name, reader, in_arena)
        elif stored is not column:
            self.encoded[number].append(EncodedField(field.name, reader, in_arena))
        else:
            self.ragged.setdefault(field.name, []).append(reader)
        if not in_arena:
            streams.advised[number].append(reader)
            return
        if stored is not column:
            # The arena gets stored bytes. The other reader decodes from there, and reads records whose block did not fit.
            reader = stored.reader(streams.files[number], meter)
            self._all.append(reader)
        windows.ragged_fields[number].append((field.name, reader))

    def collated(self, windows: WindowDecoder) -> list[RaggedCollator]:
        """The ragged fields of a batch."""
        fields = self._job.schema
        return [RaggedCollator(fields[name], readers, windows.regions_of(name)) for name, readers in self.ragged.items()]

    def close(self) -> None:
        """Close every reader."""
        for reader in self._all:
            reader.close()


def unexpected_error(error: BaseException) -> WorkerError:
    """A WorkerError for an exception of another kind, with its traceback as text: its objects must not be sent to another process."""
    trace = "".join(traceback.format_exception(error))
    return WorkerError(
        f"a worker failed with {type(error).__name__}: {shortened(str(error))}",
        hint="This is a fault in streamload or in a column of your own; the traceback is below.",
        traceback=shortened(trace),
    )

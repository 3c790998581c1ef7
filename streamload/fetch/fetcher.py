"""The work itself, the same in a worker and in the calling process: fill a step's slot, decode a window's blocks."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np

from streamload.errors import StreamloadError, WorkerError, shortened
from streamload.fault_points import reach
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
from streamload.memory.slots import SlotViews
from streamload.order import StepPiece
from streamload.source import Column, RaggedReader, Reader, ReadStats, stored_column
from streamload.transforms.batch import BatchTransform
from streamload.transforms.record import RecordTransform
from streamload.transforms.stage import AugmentStage


class BatchFetcher:
    """Does tasks, one at a time, with readers of its own."""

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
        """The stages of loading, then those of functions of the user's, each of which works on what is between it and the last."""
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
        """What augments, its kernels loaded; and what decodes for it, where images are encoded."""
        stage = stage_of(job)
        images = AugmentImages(job, stage, self._readers.augmented_images, windows=self.windows, meter=self.meter)
        return stage, images if images.names else None

    @property
    def pace(self) -> str:
        """What a step may wait for: where it is "transformed" a function of the user's, where "read" storage, where "copied" nothing."""
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
            reach("before_read")
            views.task[0] = -1
            draft = BatchDraft(task, records, self.windows.slices(task.pieces) if self.windows.parts else [], views)
            if self._streams.reading.is_timed:
                with self._streams.reading:
                    self._load.run(draft)
            else:
                self._load.run(draft)
            self._streams.verify()
            for later in self._later:
                later.run(draft)
            views.task[0] = task.number
            return draft.outcome()
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
        """What reading and decoding have cost so far: nanoseconds of disk and of decoding, and bytes read."""
        self._streams.reading.look_for_faults()
        return self._streams.reading.disk_ns, self.meter.decode_ns, self.meter.read_nbytes

    def _placed(self, error: StreamloadError, task: StepTask) -> StreamloadError:
        """The error, with the step that met it."""
        error.details.setdefault("epoch", task.epoch)
        error.details.setdefault("batch_index", task.step)
        error.details.setdefault("worker_id", self.index)
        return error

    def advise(self, pieces: Sequence[StepPiece]) -> None:
        """Tell the kernel which stored bytes these positions will need. Never an error."""
        self._streams.reading.tell(lambda: self._streams.advise(pieces))

    def forget_tables(self) -> None:
        """The tables in shared memory may be of other epochs from now on."""
        for tables in self._tables.values():
            tables.forget()

    def close(self) -> None:
        """Let go of files, mappings and readers."""
        self._readers.close()
        self._streams.close()
        self.windows.close()


class StreamReaders:
    """The readers of every stream's fields, by the way that their records go."""

    def __init__(self, job: Job, streams: OpenStreams, windows: WindowDecoder, meter: ReadStats) -> None:
        self.fixed: dict[int, list[tuple[str, Reader]]] = {number: [] for number in range(len(job.streams))}
        """Of each stream, fixed fields that are read record by record."""
        self.augmented: dict[int, dict[str, Reader]] = {number: {} for number in range(len(job.streams))}
        """Of each stream, those of them that do not come out as they are read."""
        self.encoded: dict[int, list[EncodedField]] = {number: [] for number in range(len(job.streams))}
        """Of each stream, fields that are decoded from stored bytes."""
        self.augmented_images: dict[int, dict[str, EncodedField]] = {number: {} for number in range(len(job.streams))}
        """Of each stream, encoded fields that are augmented."""
        self.ragged: dict[str, list[RaggedReader]] = {}
        """Of each ragged field, its readers, one a stream."""
        self.held = True
        """Whether nothing but copying is to be done for what is not in the arena."""
        self._job = job
        self._all: list[Any] = []
        for number, stream in enumerate(job.streams):
            for column in stream.columns:
                self._sort_in(number, stream, column, streams, windows, meter)

    def _sort_in(self, number: int, stream: Stream, column: Column, streams: OpenStreams, windows: WindowDecoder, meter: ReadStats) -> None:
        """Make a column's readers, and note which way its records go."""
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
            # Whoever decodes blocks reads stored bytes; what decodes images reads those whose block did not fit.
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
    """An exception that nothing here expects, as text: it must not take its objects across a process border."""
    trace = "".join(traceback.format_exception(error))
    return WorkerError(
        f"a worker failed with {type(error).__name__}: {shortened(str(error))}",
        hint="This is a fault in streamload or in a column of your own; the traceback is below.",
        traceback=shortened(trace),
    )

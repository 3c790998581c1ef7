"""The stage that augments (`augment=`): images and masks, from where they are stored into their rows of the batch, and the boxes, key
points and labels that change with them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.fetch.augment_images import AugmentImages
from streamload.fetch.draft import BatchDraft
from streamload.fetch.job import Job
from streamload.fetch.windows import WindowDecoder
from streamload.memory.limits import last_cache_nbytes
from streamload.processes.fault_points import fault_point
from streamload.ragged import Ragged
from streamload.reuse.scratch import Scratch
from streamload.schema import Field, Schema
from streamload.source import Reader, ReadStats
from streamload.transforms.augmentation import Augmentation
from streamload.transforms.stage import AugmentStage, DrawnStep

PIECE_NBYTES, DIRECT_PIECE_NBYTES = 1024**2, 16 * 1024**2
"""Bytes of stored images that are read at a time, if they are not mapped: few enough to be still in the processor's cache when they are
augmented; more if they are read past the page cache, so that the device has several requests at once."""


class AugmentFields:
    """Augments the fields that `job.augmentation` names. It reads those of them that are fixed itself, and no other stage does.

    It is the last stage of its pass: ragged boxes and key points are changed in the batch, where other stages have written them.
    """

    def __init__(
        self,
        job: Job,
        stage: AugmentStage,
        images: AugmentImages | None,
        readers: Mapping[int, Mapping[str, Reader]],
        *,
        windows: WindowDecoder,
        meter: ReadStats,
        rows: NDArray[np.int64],
    ) -> None:
        """`images`: decodes and writes the encoded images, before this stage writes. `readers`: by stream and name, of the
        fixed augmented fields that are read from files. `rows`: as for `ReadFields`.
        """
        assert job.augmentation is not None
        augmentation, self._windows, self._meter, self._rows = job.augmentation, windows, meter, rows
        self._readers = readers
        self._seeds = [stream.seed for stream in job.streams]
        self._lanes = [len(stream.lanes) for stream in job.streams]
        self._stage, self._encoded = stage, images
        decoded = images.names if images is not None else []
        self._all_decoded = len(decoded) == len(stage.image_fields) and not any(
            plan.augment.boxes or plan.augment.keypoints for plan in stage.plans
        )
        self._labels = augmentation.labels
        stored = job.schema
        self._schema = stored
        fixed = [stored[name] for name in sorted(augmentation.fields) if not stored[name].ragged]
        self._images = [field for field in fixed if field.name in stage.image_fields and field.name not in decoded]
        self._small = [field for field in fixed if field.name not in stage.image_fields]
        """Fixed boxes, key points and labels."""
        self._ragged = [stored[name] for name in sorted(augmentation.fields) if stored[name].ragged]
        most = DIRECT_PIECE_NBYTES if job.direct else PIECE_NBYTES
        self._piece = {field.name: max(1, most // max(1, field.nbytes)) for field in self._images}
        """By image field, records that are read at a time."""
        self._scratch: dict[str, Scratch] = {field.name: Scratch() for field in fixed}
        """By field, memory for records as they are stored: images that are read at a time, the others of a whole batch."""

    def measure(self, draft: BatchDraft) -> None:
        """Nothing: augmentation changes neither the number of records nor that of elements."""

    def write(self, draft: BatchDraft) -> None:
        """Augment each piece of the step by the draws of its stream and epoch; then mix the records of the batch, if that is asked for."""
        began, read = time.perf_counter_ns(), self._meter.read_ns
        if draft.count:
            small = {field.name: self._room(field, draft.count) for field in self._small}
            for name, array in small.items():
                self._gather(draft, name, array)
            for stream, epoch, _, start, stop in () if self._all_decoded else draft.pieces:
                sizes = self._encoded.sizes(start, stop) if self._encoded is not None else None
                drawn = self._stage.draw(draft.records[start:stop], seed=self._seeds[stream], epoch=epoch, sizes=sizes)
                for field in self._images:
                    self._write_images(draft, drawn, stream, field.name, start, stop)
                    fault_point("mid_slot_write")
                self._move(draft, drawn, small, start, stop)
            self._mix(draft, small)
        self._meter.decode_ns += time.perf_counter_ns() - began - (self._meter.read_ns - read)

    def _gather(self, draft: BatchDraft, name: str, out: NDArray[Any]) -> None:
        """Read the stored records of the whole batch into `out`, from the arena or from files."""
        for stream, start, stop in draft.streams:
            reader, rows = self._readers[stream].get(name), self._rows[start:stop]
            if reader is None:
                reader, rows = self._reader_of(stream, name), draft.missing(start, stop)
            if len(rows):
                reader.gather(draft.records[rows], out, rows)
        for address, nbytes, held, start, stop in self._in_arena(draft, name, 0, draft.count):
            kernels.gather_kernels().copy_rows(address, held, nbytes, nbytes, out.ctypes.data, self._rows[start:stop])

    def _reader_of(self, stream: int, name: str) -> Reader:
        """The reader of a field that is decoded into the arena, for records that are not in it."""
        return dict(self._windows.fixed_fields[stream])[name]

    def _in_arena(self, draft: BatchDraft, name: str, start: int, stop: int) -> Iterator[tuple[int, int, NDArray[np.int64], int, int]]:
        """Those of rows [start, stop) whose records lie in the arena: (address of the part's field, bytes of a record, rows of the part,
        first row of the batch, last row + 1)."""
        for part, held, first, last in draft.slices:
            place = self._windows.parts[part].augmented.get(name)
            low, high = max(first, start), min(last, stop)
            if place is not None and low < high:
                yield *place, held[low - first : high - first], low, high

    def _write_images(self, draft: BatchDraft, drawn: DrawnStep, stream: int, name: str, start: int, stop: int) -> None:
        out, reader = draft.target.fields[name], self._readers[stream].get(name)
        if reader is None:
            for address, nbytes, held, first, last in self._in_arena(draft, name, start, stop):
                places = address + held * nbytes
                self._stage.write(drawn, name, places, out, self._rows[first:last], start=first - start, stop=last - start)
            missing = draft.missing(start, stop)
            for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1) if len(missing) else ():
                self._write_read(draft, drawn, stream, name, self._reader_of(stream, name), start, int(run[0]), int(run[-1]) + 1)
            return
        records = draft.records[start:stop]
        places = reader.addresses(records)
        if places is not None:
            self._stage.write(drawn, name, places, out, self._rows[start:stop])
            return
        self._write_read(draft, drawn, stream, name, reader, start, start, stop)

    def _write_read(
        self, draft: BatchDraft, drawn: DrawnStep, stream: int, name: str, reader: Reader, start: int, low: int, high: int
    ) -> None:
        """Read rows [low, high) from files, a few records at a time, and augment them. `drawn` begins at row `start`."""
        out, piece = draft.target.fields[name], self._piece[name]
        scratch = self._room(self._schema[name], min(piece, high - low))
        for first in range(low, high, piece):
            last = min(first + piece, high)
            reader.gather(draft.records[first:last], scratch, self._rows[: last - first])
            places = scratch.ctypes.data + self._rows[: last - first] * scratch.strides[0]
            self._stage.write(drawn, name, places, out, self._rows[first:last], start=first - start, stop=last - start)

    def _room(self, field: Field, records: int) -> NDArray[Any]:
        """Memory for so many stored records of a field, shape (records, *field.shape); until the next call for this field."""
        memory = self._scratch[field.name].room(records * field.nbytes)
        return memory.view(field.dtype).reshape(records, *field.shape)

    def _move(self, draft: BatchDraft, drawn: DrawnStep, small: Mapping[str, NDArray[Any]], start: int, stop: int) -> None:
        """Change the boxes and key points of rows [start, stop) as their images were changed."""
        stored: dict[str, Any] = {name: array[start:stop] for name, array in small.items() if name not in self._labels}
        out: dict[str, Any] = dict(draft.target.fields)
        for field in self._ragged:
            offsets = draft.target.offsets[field.name][start : stop + 1]
            values = draft.target.fields[field.name][int(offsets[0]) : int(offsets[-1])]
            stored[field.name] = out[field.name] = Ragged(values, offsets - offsets[0], field.ragged)
        self._stage.move(drawn, stored, out, self._rows[start:stop])

    def _mix(self, draft: BatchDraft, small: Mapping[str, NDArray[Any]]) -> None:
        first, count = draft.task.pieces[0], draft.count
        fixed = {name: array[:count] for name, array in draft.target.fields.items() if name not in draft.target.offsets}
        labels = {name: small[name][:count] for name in self._labels}
        # Positions of two lanes may be the same number, and their batches are to be mixed by draws of their own.
        position = first.start * self._lanes[first.stream] + first.lane
        self._stage.mix(fixed, labels, seed=self._seeds[first.stream], epoch=first.epoch, position=position)


def stage_of(job: Job) -> AugmentStage:
    """What augments the batches of a job, with its kernels loaded. Batches larger than the processor's caches are written past them,
    unless `transform` reads them next."""
    assert job.augmentation is not None
    assert job.layout is not None
    largest = max((field.nbytes for field in job.augmentation.schema if not field.ragged), default=0)
    past_caches = job.transform is None and largest * job.layout.batch_size > last_cache_nbytes()
    stage = AugmentStage(job.augmentation, past_caches=past_caches)
    stage.load()
    return stage


def scratch_nbytes(augmentation: Augmentation, stored: Schema, batch_size: int) -> int:
    """Bytes that a process needs for augmentation: intermediate images, stored images that are read at a time, boxes and labels."""
    images = {image.name for plan in augmentation.plans for image in (*plan.images, *plan.masks)}
    fixed = [stored[name] for name in augmentation.fields if not stored[name].ragged]
    pieces = sum(max(PIECE_NBYTES, field.nbytes) for field in fixed if field.name in images)
    return augmentation.planes_nbytes + pieces + batch_size * sum(field.nbytes for field in fixed if field.name not in images)

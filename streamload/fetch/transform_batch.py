"""The pass of `batch_transform=`: the stage that calls the user's function of a whole batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from streamload.errors import TransformError, without_frames
from streamload.fetch.bad_records import RAISE
from streamload.fetch.draft import Arrays, BatchDraft
from streamload.fetch.job import Job
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.source import Fault, ReadStats
from streamload.transforms.batch import BatchTransform
from streamload.transforms.record import is_of_data


class TransformBatch:
    """The stage that calls the user's function once for each batch, with all fields of the pass before."""

    def __init__(self, job: Job, transforming: BatchTransform, meter: ReadStats) -> None:
        assert job.layout is not None
        self._transforming = transforming
        self._streams = job.streams
        self._given, self._schema = job.transformed, job.batched
        self._meter = meter
        self._on_bad = job.on_bad
        self._result: dict[str, Any] | None = None
        """What the function returned for the present batch; None for a batch without records, or whose records are all bad."""

    def measure(self, draft: BatchDraft) -> None:
        """Call the function, and write the fixed fields that it returns. If it fails, all records of the batch are bad."""
        began = time.perf_counter_ns()
        self._result = None
        try:
            if draft.count:
                self._result = self._called(draft)
        except TransformError as error:
            if self._on_bad == RAISE or not is_of_data(error):
                raise
            kept = cast(TransformError, without_frames(error))
            draft.settle([Fault(row, record, kept) for row, record in enumerate(draft.records.tolist())], self._on_bad)
        finally:
            self._meter.decode_ns += time.perf_counter_ns() - began
        draft.elements = {field.name: _elements(self._result, field) for field in self._schema.ragged}
        for field in self._schema:
            if not field.ragged:
                filled = np.zeros((), field.dtype) if self._result is None else self._result[field.name]
                draft.target.fields[field.name][: draft.count] = filled

    def _called(self, draft: BatchDraft) -> dict[str, Any]:
        first = draft.task.pieces[0]
        given = batch_of(draft.source, self._given, draft.count)
        stream = self._streams[first.stream]
        position = first.start * len(stream.lanes) + first.lane
        result = self._transforming.call(given, draft.records, seed=stream.seed, epoch=first.epoch, position=position)
        self._transforming.check(result, draft.count, self._schema)
        return result

    def write(self, draft: BatchDraft) -> None:
        """Write the ragged fields that the function returned."""
        for field in self._schema.ragged:
            offsets = draft.target.offsets[field.name]
            offsets[: draft.count + 1] = 0
            if self._result is not None:
                ragged: Ragged = self._result[field.name]
                first, last = int(ragged.offsets[0]), int(ragged.offsets[-1])
                np.subtract(ragged.offsets, first, out=offsets[: draft.count + 1])
                draft.target.fields[field.name][: last - first] = ragged.values[first:last]
        self._result = None


def _elements(result: Mapping[str, Any] | None, field: Field) -> int:
    """How many elements a ragged field has in the whole batch; 0 without a result."""
    return 0 if result is None else int(result[field.name].offsets[-1] - result[field.name].offsets[0])


def batch_of(arrays: Arrays, schema: Schema, count: int) -> dict[str, Any]:
    """The first `count` records as the user's function is given them: by field, an array of shape (count, *field.shape) or a `Ragged`.
    They share the memory of `arrays`."""
    batch: dict[str, Any] = {}
    for field in schema:
        values = arrays.fields[field.name]
        batch[field.name] = Ragged(values, arrays.offsets[field.name][: count + 1], field.ragged) if field.ragged else values[:count]
    return batch

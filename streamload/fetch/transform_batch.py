"""The pass of the user's function of a whole batch: fields of a `Workspace` in, fields of the batch out."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from streamload.fetch.draft import Arrays, BatchDraft
from streamload.fetch.job import Job
from streamload.ragged import Ragged
from streamload.schema import Schema
from streamload.source import ReadStats
from streamload.transforms.batch import BatchTransform


class TransformBatch:
    """Calls the user's function once for each batch, when all of it is there."""

    def __init__(self, job: Job, transforming: BatchTransform, meter: ReadStats) -> None:
        assert job.layout is not None
        self._transforming = transforming
        self._streams = job.streams
        self._given, self._schema = job.transformed, job.layout.schema
        self._meter = meter
        self._result: dict[str, Any] = {}

    def measure(self, draft: BatchDraft) -> None:
        """Call it, and put fixed fields into the batch."""
        began = time.perf_counter_ns()
        count, first = draft.count, draft.task.pieces[0]
        self._result = {}
        try:
            if count:
                given = batch_of(draft.source, self._given, count)
                stream = self._streams[first.stream]
                position = first.start * len(stream.lanes) + first.lane
                self._result = self._transforming.call(given, draft.records, seed=stream.seed, epoch=first.epoch, position=position)
                self._transforming.check(self._result, count, self._schema)
                for field in self._schema:
                    if not field.ragged:
                        draft.target.fields[field.name][:count] = self._result[field.name]
        finally:
            self._meter.decode_ns += time.perf_counter_ns() - began
        draft.elements = {
            field.name: int(self._result[field.name].offsets[-1] - self._result[field.name].offsets[0]) if count else 0
            for field in self._schema.ragged
        }

    def write(self, draft: BatchDraft) -> None:
        """Put ragged fields into the batch."""
        for field in self._schema.ragged:
            offsets = draft.target.offsets[field.name]
            offsets[0] = 0
            if draft.count:
                ragged: Ragged = self._result[field.name]
                first, last = int(ragged.offsets[0]), int(ragged.offsets[-1])
                np.subtract(ragged.offsets, first, out=offsets[: draft.count + 1])
                draft.target.fields[field.name][: last - first] = ragged.values[first:last]
        self._result = {}


def batch_of(arrays: Arrays, schema: Schema, count: int) -> dict[str, Any]:
    """The first `count` records of arrays, as the user's function is given them."""
    found: dict[str, Any] = {}
    for field in schema:
        values = arrays.fields[field.name]
        found[field.name] = Ragged(values, arrays.offsets[field.name][: count + 1], field.ragged) if field.ragged else values[:count]
    return found

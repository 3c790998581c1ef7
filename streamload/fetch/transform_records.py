"""The pass of `transform=`: memory for the fields that the user's function is given, and the stage that calls it for each record."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.fetch.bad_records import RAISE
from streamload.fetch.draft import Arrays, BatchDraft
from streamload.fetch.job import Job
from streamload.fetch.ragged_collate import offsets_of
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.source import Fault, ReadStats
from streamload.transforms.record import RecordTransform


class Workspace:
    """Memory of this process for the fields of one batch, which one pass writes and the next one reads."""

    def __init__(self, schema: Schema, batch_size: int) -> None:
        self._ragged = schema.ragged
        self._fixed = [field for field in schema if not field.ragged]
        self._batch_size = batch_size
        self.fields: dict[str, NDArray[Any]] = {}
        """As in `Arrays`; arrays of ragged fields are new for each batch."""
        self._unheld: dict[str, int] = {}
        """By fixed field, the number of references to its array when no function of the user's keeps one."""
        self._renew(self._fixed)
        self.offsets: dict[str, NDArray[np.int64]] = {field.name: np.zeros(batch_size + 1, np.int64) for field in self._ragged}

    def _renew(self, fields: Sequence[Field]) -> None:
        for field in fields:
            self.fields[field.name] = np.empty((self._batch_size, *field.shape), field.dtype)
            self._unheld[field.name] = sys.getrefcount(self.fields[field.name])

    def begin(self, draft: BatchDraft) -> Arrays:
        """The memory of the batch before; new memory for fields of which the user's function has kept something."""
        self._renew([field for field in self._fixed if sys.getrefcount(self.fields[field.name]) > self._unheld[field.name]])
        return self

    def fit(self, draft: BatchDraft) -> Arrays:
        """The same, with new arrays for ragged fields: results of the batch before may be views of the old ones."""
        for field in self._ragged:
            self.fields[field.name] = np.empty((draft.elements[field.name], *field.shape), field.dtype)
        return self


class TransformRecords:
    """The stage that calls the user's function for each record."""

    def __init__(self, job: Job, transforming: RecordTransform, meter: ReadStats) -> None:
        assert job.layout is not None
        self._transforming = transforming
        self._seeds = [stream.seed for stream in job.streams]
        self._stored = job.augmented.ragged
        self._ragged = job.transformed.ragged
        self._on_bad = job.on_bad
        self._meter = meter
        self._results: dict[str, list[NDArray[Any]]] = {}

    def measure(self, draft: BatchDraft) -> None:
        """Call the function for each row, write the fixed fields that it returns, and settle what becomes of records that it fails on."""
        began = time.perf_counter_ns()
        faults: list[Fault] = []
        source, target = draft.source, draft.target
        for field in self._stored:
            offsets = source.offsets[field.name][: draft.count + 1]
            self._transforming.stored_ragged[field.name] = Ragged(source.fields[field.name], offsets, field.ragged)
        fixed = {name: array for name, array in target.fields.items() if name not in target.offsets}
        self._results = {field.name: [] for field in self._ragged}
        try:
            for stream, epoch, position, start, stop in draft.pieces:
                records, seed = draft.records[start:stop], self._seeds[stream]
                found = self._transforming.apply(
                    records,
                    fixed,
                    seed=seed,
                    epoch=epoch,
                    start=position,
                    first_row=start,
                    ragged=self._ragged,
                    faults=None if self._on_bad == RAISE else faults,
                )
                for name, arrays in found.items():
                    self._results[name] += arrays
        finally:
            self._meter.decode_ns += time.perf_counter_ns() - began
        if faults:
            self._settle(draft, fixed, draft.settle(faults, self._on_bad))
        draft.elements = {name: sum(map(len, arrays)) for name, arrays in self._results.items()}

    def _settle(self, draft: BatchDraft, fixed: Mapping[str, NDArray[Any]], sources: NDArray[np.int64]) -> None:
        """Change the rows: the new row k is what was row `sources[k]`; zeros, and no elements, if that is negative."""
        for array in fixed.values():
            array[: len(sources)] = array[sources]
            array[: len(sources)][sources < 0] = np.zeros((), array.dtype)
        for field in self._ragged:
            found, none = self._results[field.name], np.empty((0, *field.shape), field.dtype)
            self._results[field.name] = [found[row] if row >= 0 else none for row in sources.tolist()]

    def write(self, draft: BatchDraft) -> None:
        """Write the ragged fields that the function returned."""
        for name, arrays in self._results.items():
            _collate(arrays, draft.target.fields[name], draft.target.offsets[name][: draft.count + 1])
        self._results = {}


def _collate(arrays: Sequence[NDArray[Any]], values: NDArray[Any], offsets: NDArray[np.int64]) -> None:
    """Write arrays one after the other into `values`, and where each begins into `offsets`."""
    offsets_of(np.array([len(one) for one in arrays], np.int64), offsets)
    for one, start in zip(arrays, offsets[:-1].tolist(), strict=True):
        values[start : start + len(one)] = one

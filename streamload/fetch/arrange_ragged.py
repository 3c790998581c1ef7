"""The last pass (`collate=`): pads or packs ragged fields, from a `Workspace` into the batch. Each element is copied once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.errors import SchemaMismatchError
from streamload.fetch.bad_records import RAISE
from streamload.fetch.draft import BatchDraft
from streamload.fetch.job import Job
from streamload.schema import PADDED, ROWS, Field
from streamload.source import Fault, ReadStats
from streamload.transforms.collation import Collation
from streamload.transforms.operations.ragged import RaggedArrangement, RaggedOperation, fill_of

FILL_NBYTES = 4096
"""Bytes of the fill value, repeated, from which gaps are filled."""


class ArrangeRagged:
    """The stage that pads and packs ragged fields, and copies the others."""

    def __init__(self, job: Job, collation: Collation, meter: ReadStats) -> None:
        self._collation = collation
        self._on_bad = job.on_bad
        self._meter = meter
        self._fills: dict[str, NDArray[Any]] = {}
        for operation in collation.operations:
            for name in operation.fields:
                field = collation.given[name]
                self._fills[name] = np.repeat(fill_of(operation, field), max(1, FILL_NBYTES // max(field.nbytes, 1)), axis=0)
        self._chosen: NDArray[np.int64] = np.empty(0, np.int64)
        """By row of the batch, the row of the pass before that it is made of; -1 for a row that does not count and has no record."""
        self._found: list[RaggedArrangement] = []

    def measure(self, draft: BatchDraft) -> None:
        """Compute where each record goes, and settle what becomes of records that are too long."""
        began = time.perf_counter_ns()
        operations = self._collation.operations
        lengths = [self._lengths(operation, draft) for operation in operations]
        faults = [fault for operation, some in zip(operations, lengths, strict=True) for fault in _faults(operation, some, draft)]
        if faults and self._on_bad == RAISE:
            raise faults[0].error
        self._chosen = draft.settle(faults, self._on_bad) if faults else np.arange(draft.count)
        counting = _counting(draft)
        self._found = []
        for operation, some in zip(operations, lengths, strict=True):
            kept = np.where(self._chosen < 0, 0, some[self._chosen]) if len(some) else some
            self._found.append(operation.arranged(kept, counting))
        for field in self._collation.schema.ragged:
            operation = self._collation.operation_of(field.name)
            if operation is None:
                offsets = draft.source.offsets[field.name]
                draft.elements[field.name] = int(np.where(self._chosen < 0, 0, np.diff(offsets)[self._chosen]).sum())
            else:
                found = self._found[operations.index(operation)]
                draft.elements[field.name] = found.rows * (found.width if field.ragged == PADDED else 1)
        self._meter.decode_ns += time.perf_counter_ns() - began

    def write(self, draft: BatchDraft) -> None:
        """Write every field of the batch."""
        for operation, found in zip(self._collation.operations, self._found, strict=True):
            marks = operation.marked(found)
            for name in operation.fields:
                self._lay_out(draft, name, found)
            for field in operation.made:
                out = draft.target.fields[field.name]
                out.reshape(-1)[: marks[field.name].size] = marks[field.name]
        for field in self._collation.schema:
            if field.ragged:
                self._write_offsets(draft, field)
            elif self._collation.operation_of(field.name) is None:
                _copy_rows(draft, field, self._chosen)
        self._found = []

    def _lengths(self, operation: RaggedOperation, draft: BatchDraft) -> NDArray[np.int64]:
        """Elements of each record in the fields of an operation, shape (draft.count,). Raises SchemaMismatchError where they differ."""
        offsets = {name: draft.source.offsets[name][: draft.count + 1] for name in operation.fields}
        first, *others = operation.fields
        lengths = np.diff(offsets[first])
        for name in others:
            differing = np.flatnonzero(np.diff(offsets[name]) != lengths)
            if len(differing):
                row = int(differing[0])
                record, here, there = int(draft.records[row]), int(lengths[row]), int(np.diff(offsets[name])[row])
                kind = type(operation).__name__
                raise SchemaMismatchError(
                    f"fields of one {kind} are of the same lengths: "
                    f"'{first}' of record {record:,} has {here:,} elements, '{name}' {there:,}.",
                    hint=f"Give each of them a {kind} of its own: collate=[sl.{kind}(...), sl.{kind}(...)].",
                    dataset=name,
                    records=(record, record + 1),
                )
        return lengths

    def _lay_out(self, draft: BatchDraft, name: str, found: RaggedArrangement) -> None:
        """Copy the elements of one field to their places in the batch, and fill the gaps between them."""
        field, fill, target = self._collation.given[name], self._fills[name], draft.target.fields[name]
        if not field.nbytes:
            return
        values, offsets = draft.source.fields[name], draft.source.offsets[name]
        starts = (offsets[self._chosen[found.owners]] + found.sources) * field.nbytes
        kernels.collate_kernels().lay_out(
            values.__array_interface__["data"][0],
            starts,
            found.counts * field.nbytes,
            target.__array_interface__["data"][0],
            found.targets * field.nbytes,
            found.rows * found.width * field.nbytes,
            fill.__array_interface__["data"][0],
            fill.nbytes,
        )

    def _write_offsets(self, draft: BatchDraft, field: Field) -> None:
        """Write the offsets of a ragged field of the batch, and its elements too if no operation has the field."""
        offsets, count = draft.target.offsets[field.name][: draft.count + 1], draft.count
        if field.ragged == ROWS:
            offsets[:] = 0
            offsets[count] = draft.elements[field.name] if count else 0
        elif field.ragged == PADDED:
            offsets[:] = np.arange(count + 1) * (draft.elements[field.name] // max(count, 1))
        else:
            stored, values = draft.source.offsets[field.name], draft.source.fields[field.name]
            lengths = np.where(self._chosen < 0, 0, np.diff(stored)[self._chosen])
            offsets[0] = 0
            np.cumsum(lengths, out=offsets[1:])
            places = np.repeat(stored[self._chosen] - offsets[:-1], lengths) + np.arange(int(offsets[-1]))
            draft.target.fields[field.name][: len(places)] = values[places]


def _faults(operation: RaggedOperation, lengths: NDArray[np.int64], draft: BatchDraft) -> list[Fault]:
    """The errors of records that are longer than an operation allows."""
    faults: list[Fault] = []
    name, kind = operation.fields[0], type(operation).__name__
    choices = '"cut"' if kind == "PadRagged" else '"cut" or "split"'
    for row in operation.too_long(lengths).tolist():
        record = int(draft.records[row])
        error = SchemaMismatchError(
            f"'{name}' of record {record:,} has {int(lengths[row]):,} elements, and {kind} has room for {operation.length:,}.",
            hint=f"Raise length, or give longer={choices}.",
            dataset=name,
            records=(record, record + 1),
        )
        faults.append(Fault(row, record, error))
    return faults


def _counting(draft: BatchDraft) -> NDArray[np.bool_]:
    """Which rows count, shape (draft.count,): all but those that were added to fill a batch up."""
    counting = np.ones(draft.count, bool)
    valid = draft.valid or tuple(segment.valid for segment in draft.task.segments)
    for (_, start, stop), some in zip(draft.streams, valid, strict=False):
        counting[start + some : stop] = False
    return counting


def _copy_rows(draft: BatchDraft, field: Field, chosen: NDArray[np.int64]) -> None:
    """Copy a fixed field: row k of the batch is row `chosen[k]` of the pass before, or zeros if that is -1."""
    target: Mapping[str, NDArray[Any]] = draft.target.fields
    target[field.name][: len(chosen)] = draft.source.fields[field.name][chosen]
    target[field.name][: len(chosen)][chosen < 0] = np.zeros((), field.dtype)

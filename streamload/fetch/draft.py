"""A step while it is filled: which records it consists of, where they come from, and where they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.fault_points import reach
from streamload.fetch.bad_records import SKIP, BadRow, remap_slices, resolve
from streamload.fetch.ragged_collate import StreamRows, WindowSlice
from streamload.fetch.tasks import SegmentRows, StepTask
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotLayout, SlotViews
from streamload.source import Fault

_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""


class Arrays(Protocol):
    """Where the fields of a batch are written: a slot, or memory between two passes."""

    fields: dict[str, NDArray[Any]]
    """By name: of a fixed field, an array of shape (batch size, *field.shape); of a ragged one, room for elements, of shape
    (elements, *field.shape)."""
    offsets: dict[str, NDArray[np.int64]]
    """Of ragged fields: where each record begins in the field, and their end; shape (batch size + 1,) at least."""


class Overflow(NamedTuple):
    """Memory of its own for a batch whose ragged fields do not fit its slot. Whoever takes it closes the block."""

    block: SharedBlock
    capacities: tuple[int, ...]
    """Elements that it has room for, by field: it is laid out as a slot with these."""


class FilledStep(NamedTuple):
    """What came of filling a step."""

    count: int  # pyright: ignore[reportIncompatibleMethodOverride]  (a tuple counts values; nobody counts those of this one)
    """Records that are in it; with some left out, fewer than its task asked for."""
    bad: tuple[BadRow, ...]
    """Records that could not be delivered."""
    overflow: Overflow | None
    """Where the batch lies if it did not fit its slot."""
    valid: tuple[int, ...]
    """Rows of each of the task's segments that count, where some were left out; else none."""


class PieceRows(NamedTuple):
    """Neighbouring rows of a batch that came of one piece of its step."""

    stream: int
    epoch: int
    position: int
    """The first position of the piece, in that epoch of its lane."""
    start: int
    """First row of the batch."""
    stop: int


class BatchDraft:
    """One step on its way through the stages."""

    valid: tuple[int, ...] = ()
    """As in `FilledStep`."""
    overflow: Overflow | None = None
    _pieces: list[PieceRows] | None = None
    """The same as `pieces`, once it was asked for."""
    _left_out: tuple[BadRow, ...] = ()
    _replaced: Mapping[int, BadRow] = MappingProxyType({})
    """By row, the record that should have stood there, and the one that does."""

    def __init__(self, task: StepTask, records: NDArray[np.int64], slices: list[WindowSlice], target: Arrays) -> None:
        """`records` and `slices` are of the task's pieces; rows that do not count are added here."""
        self.task = task
        self.records = records
        """The record number of each row, counted within its stream; rows are those that are delivered: shape (count,)."""
        self.slices = slices
        """Where in the arena rows lie, rising; rows that are read from files are in none."""
        pieces = task.pieces
        self.streams = [_made(StreamRows, (pieces[0][0], 0, len(records)))] if len(pieces) == 1 else _by_stream(self.pieces)
        """The rows by the streams that their records are of: together all of them, rising."""
        if task.segments and any(one.valid < one.rows for one in task.segments):
            self._rearrange(_filled_up(self.streams, task.segments))
        self.elements: dict[str, int] = {}
        """Of each ragged field, as measured in the present pass: its elements in the whole batch."""
        self.source: Arrays = target
        """Where the pass before this one put its fields (in the first pass, nothing)."""
        self.target: Arrays = target
        """Where the present pass puts its fields: fixed ones at any time, ragged ones only when it writes."""

    @property
    def pieces(self) -> list[PieceRows]:
        """The rows by the pieces of the step: together all of them, rising."""
        if self._pieces is None:
            self._pieces = []
            row = 0
            for stream, _, epoch, start, stop in self.task.pieces:
                self._pieces.append(PieceRows(stream, epoch, start, row, row := row + stop - start))
        return self._pieces

    @property
    def count(self) -> int:
        """Rows of the batch."""
        return len(self.records)

    @property
    def bad(self) -> tuple[BadRow, ...]:
        """Records that could not be delivered: those that were left out, then those that were replaced, each by row."""
        return (*self._left_out, *(self._replaced[row] for row in sorted(self._replaced)))

    def settle(self, faults: Sequence[Fault], policy: str) -> NDArray[np.int64]:
        """Decide what stands in place of records that cannot be delivered; returns, for each row of the batch from now on, the
        row whose record now stands there: shape (count,); -1 where none is good that could stand there, and nothing shall.

        A record that stands in is of the same stream. Raises the error of `resolve` where none can. Where rows are filled up
        there are as many as before: those of records that are left out repeat the last good one, and do not count. May be called
        once a pass: a record that stood in for another may be one that the next function fails on.
        """
        sources: list[NDArray[np.int64]] = []
        valid: list[int] = []
        segments = self.task.segments
        counts = self.valid or tuple(segment.valid for segment in segments)
        for number, (_, start, stop) in enumerate(self.streams):
            counted = counts[number] if segments else stop - start
            ours = [fault for fault in faults if start <= fault.row < start + max(counted, 1)]
            chosen, rows = resolve(self.records[start : start + max(counted, 1)], ours, policy if counted else SKIP, start)
            if counted:
                self._note(sorted({fault.row for fault in ours}), rows)
            if segments:
                valid.append(min(len(chosen), counted))
                more = stop - start - len(chosen)
                chosen = np.append(chosen, np.full(more, chosen[-1] if len(chosen) else -1 - start))
            sources.append(chosen + start)
        now = np.concatenate(sources)
        if valid != [segment.valid for segment in segments]:
            self.valid = tuple(valid)
        self._rearrange(np.where(now < 0, np.arange(len(now)), now) if segments else now)
        return now

    def _note(self, rows: Sequence[int], bad: Sequence[BadRow]) -> None:
        """Take in records that cannot be delivered, and the rows of the batch in which they stood."""
        self._left_out += tuple(one for one in bad if one.by < 0)
        replaced = dict(self._replaced)
        for row, one in zip(rows, bad, strict=True):
            if one.by >= 0:
                before = replaced.get(row)
                replaced[row] = one if before is None else before._replace(by=one.by)
        self._replaced = replaced

    def _rearrange(self, now: NDArray[np.int64]) -> None:
        """Have row k be what was row `now[k]`."""
        self.records = self.records[now]
        self.slices = [WindowSlice(one.part, one.held[held], start, stop) for one, held, start, stop in remap_slices(self.slices, now)]
        self._pieces = [one._replace(start=start, stop=stop) for one, _, start, stop in remap_slices(self.pieces, now)]
        self.streams = _by_stream(self.pieces)

    def missing(self, start: int, stop: int) -> NDArray[np.int64]:
        """Which of the rows [start, stop) do not lie in the arena."""
        outside = np.ones(stop - start, np.bool_)
        for _, _, first, last in self.slices:
            outside[max(first - start, 0) : max(last - start, 0)] = False
        return np.flatnonzero(outside) + start

    def drop(self) -> None:
        """Let go of what a step that failed had been given."""
        if self.overflow is not None:
            self.overflow.block.close()
            self.overflow = None

    def outcome(self) -> FilledStep:
        """What came of it."""
        bad = self.bad if self._left_out or self._replaced else ()
        return _made(FilledStep, (len(self.records), bad, self.overflow, self.valid))


def _filled_up(streams: Sequence[StreamRows], segments: Sequence[SegmentRows]) -> NDArray[np.int64]:
    """For each row of a batch, the row that is read for it: the last of its stream's, where it does not count."""
    found: list[NDArray[np.int64]] = []
    for (_, start, stop), segment in zip(streams, segments, strict=True):
        found += [np.arange(start, stop), np.full(segment.rows - (stop - start), stop - 1)]
    return np.concatenate(found)


def _by_stream(pieces: Sequence[PieceRows]) -> list[StreamRows]:
    """Neighbouring pieces of one stream put together."""
    if len(pieces) == 1:
        return [StreamRows(pieces[0].stream, pieces[0].start, pieces[0].stop)]
    found: list[StreamRows] = []
    for stream, _, _, start, stop in pieces:
        if found and found[-1].stream == stream:
            found[-1] = found[-1]._replace(stop=stop)
        else:
            found.append(StreamRows(stream, start, stop))
    return found


class Destination(Protocol):
    """Where the stages of one pass write to."""

    def begin(self, draft: BatchDraft) -> Arrays:
        """Room for fixed fields, for as many records as the step's task asks for."""
        ...

    def fit(self, draft: BatchDraft) -> Arrays:
        """Room for all fields, ragged ones with as many elements as `draft.elements` says; fixed fields that were written stay."""
        ...


class SlotDestination:
    """The slot that the step's task names; a batch that does not fit it is given memory of its own."""

    def __init__(self, slots: Sequence[SlotViews], layout: SlotLayout) -> None:
        self._slots = slots
        self._layout = layout
        self._ragged = [(field.name, room) for field, room in zip(layout.schema, layout.capacities, strict=True) if field.ragged]

    def begin(self, draft: BatchDraft) -> SlotViews:
        """The slot."""
        return self._slots[draft.task.slot]

    def fit(self, draft: BatchDraft) -> SlotViews:
        """The slot, or memory of the batch's own; the record numbers are written in either."""
        views, records = self._slots[draft.task.slot], draft.records
        count = len(records)
        for name, room in self._ragged:
            if draft.elements[name] > room:
                larger = self._larger(draft)
                for field, array in views.fields.items():
                    if field not in views.offsets:
                        larger.fields[field][:count] = array[:count]
                views = larger
                break
        views.records[:count] = records
        return views

    def _larger(self, draft: BatchDraft) -> SlotViews:
        layout = self._layout
        rooms = tuple(draft.elements[field.name] if field.ragged else 0 for field in layout.schema)
        larger = SlotLayout.of(layout.schema, layout.batch_size, rooms)
        draft.overflow = Overflow(SharedBlock.create(larger.nbytes, purpose="a batch that does not fit its slot"), rooms)
        reach("overflow")
        return SlotViews(larger, draft.overflow.block, 0)

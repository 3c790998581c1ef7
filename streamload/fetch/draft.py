"""A step while it is being filled: which records it has, where they come from, and where their fields are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.fetch.bad_records import SKIP, BadRow, remap_slices, resolve
from streamload.fetch.ragged_collate import StreamRows, WindowSlice
from streamload.fetch.tasks import SegmentRows, StepTask
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import SlotLayout, SlotViews
from streamload.processes.fault_points import fault_point
from streamload.source import Fault

_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""


class Arrays(Protocol):
    """Memory for the fields of a batch: a slot, or memory of this process between two passes."""

    fields: dict[str, NDArray[Any]]
    """By name. A fixed field is of shape (batch size, *field.shape); a ragged one has room for elements, of shape
    (elements, *field.shape)."""
    offsets: dict[str, NDArray[np.int64]]
    """By name, of the ragged fields: record k has the elements [offsets[k], offsets[k + 1]). Shape (batch size + 1,) at least."""


class Overflow(NamedTuple):
    """Memory of its own for a batch whose ragged fields do not fit its slot."""

    block: SharedBlock
    """Closed by whoever `FilledStep` is given to."""
    capacities: tuple[int, ...]
    """By field, the elements that it has room for: it is laid out as a slot with these capacities."""


class FilledStep(NamedTuple):
    """The outcome of filling a step."""

    count: int  # pyright: ignore[reportIncompatibleMethodOverride]  (hides the method `tuple.count`, which is not used)
    """Rows of the batch: fewer than the task asked for, if records were left out."""
    bad: tuple[BadRow, ...]
    """Records that could not be delivered."""
    overflow: Overflow | None
    """The memory of the batch, if it did not fit its slot."""
    valid: tuple[int, ...]
    """By segment of the step, the rows that count, if records were left out; otherwise empty."""

    @property
    def whole(self) -> bool:
        """Whether the step is in its slot just as it was asked for."""
        return not (self.bad or self.valid) and self.overflow is None


class PieceRows(NamedTuple):
    """Rows [start, stop) of a batch, which are of one piece of its step."""

    stream: int
    epoch: int
    position: int
    """The first position of the piece, in that epoch of its lane."""
    start: int
    stop: int


class BatchDraft:
    """One step on its way through the stages."""

    valid: tuple[int, ...] = ()
    """As in `FilledStep`."""
    overflow: Overflow | None = None
    _pieces: list[PieceRows] | None = None
    """What `pieces` returns; None until it is first called."""
    _left_out: tuple[BadRow, ...] = ()
    _replaced: Mapping[int, BadRow] = MappingProxyType({})
    """By row, the record that should have been there and the one that replaces it."""

    def __init__(self, task: StepTask, records: NDArray[np.int64], slices: list[WindowSlice], target: Arrays) -> None:
        """`records`: the record numbers of the task's pieces; `slices`: which of them lie in the arena. Rows that do not count are
        added here."""
        self.task = task
        self.records = records
        """The record number of each row that the batch has now, counted within its stream: shape (count,)."""
        self.slices = slices
        """Rows whose records lie in the arena, in rising order; the rows of no slice are read from files."""
        pieces = task.pieces
        self.streams = [_made(StreamRows, (pieces[0][0], 0, len(records)))] if len(pieces) == 1 else _by_stream(self.pieces)
        """The rows of each stream, in rising order; together they are all rows."""
        if task.segments and any(one.valid < one.rows for one in task.segments):
            self._rearrange(_filled_up(self.streams, task.segments))
        self.elements: dict[str, int] = {}
        """By ragged field, its elements in the whole batch, as measured in the present pass."""
        self.source: Arrays = target
        """The fields of the pass before this one; without meaning in the first pass."""
        self.target: Arrays = target
        """Where the present pass writes its fields: fixed ones at any time, ragged ones only after all stages have measured."""

    @property
    def pieces(self) -> list[PieceRows]:
        """The rows of each piece of the step, in rising order; together they are all rows."""
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
        """Records that could not be delivered: first those that were left out, then those that were replaced, both in row order."""
        return (*self._left_out, *(self._replaced[row] for row in sorted(self._replaced)))

    def settle(self, faults: Sequence[Fault], policy: str) -> NDArray[np.int64]:
        """Replace or leave out records that cannot be delivered, and change the rows of the batch accordingly.

        Returns `sources` of shape (new count,): the new row k is what was row `sources[k]`; -1 for a row that does not count and
        for which its stream has no good record. A record is replaced by one of the same stream; raises the error of `resolve` if
        there is none. If the task has segments, the number of rows stays: in place of records that are left out, rows at the end
        repeat the last good record and do not count.

        May be called once in each pass, since a later function may fail on a record that had replaced another.
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
        """Add records that cannot be delivered to `bad`; `rows` are those that they had."""
        self._left_out += tuple(one for one in bad if one.by < 0)
        replaced = dict(self._replaced)
        for row, one in zip(rows, bad, strict=True):
            if one.by >= 0:
                before = replaced.get(row)
                replaced[row] = one if before is None else before._replace(by=one.by)
        self._replaced = replaced

    def _rearrange(self, now: NDArray[np.int64]) -> None:
        """Change the rows: the new row k is what was row `now[k]`."""
        self.records = self.records[now]
        self.slices = [WindowSlice(one.part, one.held[held], start, stop) for one, held, start, stop in remap_slices(self.slices, now)]
        self._pieces = [one._replace(start=start, stop=stop) for one, _, start, stop in remap_slices(self.pieces, now)]
        self.streams = _by_stream(self.pieces)

    def missing(self, start: int, stop: int) -> NDArray[np.int64]:
        """Those of the rows [start, stop) whose records do not lie in the arena, in rising order."""
        if len(self.slices) == 1 and self.slices[0].start <= start and stop <= self.slices[0].stop:
            return np.empty(0, np.int64)  # Most steps lie in one window.
        outside = np.ones(stop - start, np.bool_)
        for _, _, first, last in self.slices:
            outside[max(first - start, 0) : max(last - start, 0)] = False
        return np.flatnonzero(outside) + start

    def drop(self) -> None:
        """Free the memory that a step which failed had been given."""
        if self.overflow is not None:
            self.overflow.block.close()
            self.overflow = None

    def outcome(self) -> FilledStep:
        """The outcome, once all passes are through."""
        bad = self.bad if self._left_out or self._replaced else ()
        valid = self.valid if self.task.segments or not self._left_out else self._rows_by_segment()
        return _made(FilledStep, (len(self.records), bad, self.overflow, valid))

    def _rows_by_segment(self) -> tuple[int, ...]:
        """The rows of each stream of the step, where those of records that were left out are gone."""
        asked = dict.fromkeys(piece.stream for piece in self.task.pieces)
        left = {one.stream: one.stop - one.start for one in self.streams}
        return tuple(left.get(stream, 0) for stream in asked)


def _filled_up(streams: Sequence[StreamRows], segments: Sequence[SegmentRows]) -> NDArray[np.int64]:
    """For each row of a batch, the row that is read for it: for those that do not count, the last row of their stream."""
    found: list[NDArray[np.int64]] = []
    for (_, start, stop), segment in zip(streams, segments, strict=True):
        found += [np.arange(start, stop), np.full(segment.rows - (stop - start), stop - 1)]
    return np.concatenate(found)


def _by_stream(pieces: Sequence[PieceRows]) -> list[StreamRows]:
    """The rows of each stream: pieces that follow each other in one stream are put together."""
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
    """Memory that the stages of one pass write to, made ready for each step."""

    def begin(self, draft: BatchDraft) -> Arrays:
        """Memory with room for the fixed fields of as many rows as the step's task asks for."""
        ...

    def fit(self, draft: BatchDraft) -> Arrays:
        """Memory with room for all fields: ragged ones have room for `draft.elements`. It holds the fixed fields that were written to
        what `begin` returned, and may be another object."""
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
        """The slot if the batch fits it, otherwise new memory. The record numbers are written to it too."""
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
        fault_point("overflow")
        return SlotViews(larger, draft.overflow.block, 0)

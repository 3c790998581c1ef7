"""SharedSteps: what each batch of a rank holds, worked out from where a run stands, and where it stands then. No state but that.

Rules:

1. A run stands at an epoch and a position of each part; position counts records over all ranks. What comes next is a function
   of that, of the numbers of records, and of batch size and ranks: the latter two may change between any two steps.
2. Every rank has the same number of steps, and in each as many records. One that has fewer left repeats a record, which does not count.
3. A mixture's epoch ends with the step in which its lead reaches the end of its own epoch: of all parts, the one that needs most
   steps for that when the epoch begins. The others give their full count in every step, and go on into epochs of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamload.order.laned import LanedOrder
from streamload.order.shares import StepPiece, Stretch, cut_out, part_of


class Place(NamedTuple):
    """Where one part of a run stands: how many positions of which of its epochs have been given, over all ranks."""

    epoch: int
    position: int


class Standing(NamedTuple):
    """Where a run stands: between two steps."""

    epoch: int
    step: int
    """SharedSteps of this epoch that are done."""
    total_step: int
    """SharedSteps of all epochs that are done."""
    lead: int
    """The part with which the epoch ends; 0 where there is one."""
    places: tuple[Place, ...]
    """Of each part."""


class Segment(NamedTuple):
    """The rows of a batch that one part fills, one after the other."""

    stream: int
    pieces: tuple[StepPiece, ...]
    """What is read for them, in order: `valid` records, or one where nothing is valid."""
    valid: int
    """Rows that count; those behind them repeat the last record that is read."""
    rows: int


class PlannedStep(NamedTuple):
    """A step of one rank."""

    begin: Standing
    end: Standing
    segments: tuple[Segment, ...]

    @property
    def pieces(self) -> tuple[StepPiece, ...]:
        """What is read for the step, in the order of its rows."""
        return self.segments[0].pieces if len(self.segments) == 1 else tuple(piece for one in self.segments for piece in one.pieces)

    @property
    def short(self) -> bool:
        """Whether some of its rows do not count."""
        segments = self.segments
        if len(segments) == 1:
            return segments[0].valid < segments[0].rows
        return any(segment.valid < segment.rows for segment in segments)

    @property
    def rows(self) -> int:
        """Records of the batch, those that do not count among them."""
        segments = self.segments
        return segments[0].rows if len(segments) == 1 else sum(segment.rows for segment in segments)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSize:
    """One source of a run."""

    n: int
    """Positions of its epoch: records, or draws."""
    lanes: int
    count: int
    """Records of it in a rank's batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedSteps:
    """How a run is cut into steps, as one rank sees it."""

    parts: tuple[PartSize, ...]
    rank: int
    ranks: int
    drop_last: bool
    """Whether a step is left out that would be short."""
    pad_last: bool
    """Whether such a step is filled up to the batch size."""
    _length: int = field(init=False, repr=False, compare=False)
    _plain: PartSize | None = field(init=False, repr=False, compare=False)
    """The one source, where there is one, in one lane: no time is to be lost then, since a step is a stretch."""

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "_length", max((self._steps_of(part, part.n) for part in self.parts if part.count), default=0))
        set_field(self, "_plain", self.parts[0] if len(self.parts) == 1 and self.parts[0].lanes == 1 else None)

    @property
    def batch_size(self) -> int:
        """Records of a rank's batch."""
        return sum(part.count for part in self.parts)

    def __len__(self) -> int:
        """SharedSteps of a whole epoch."""
        return self._length

    def _steps_of(self, part: PartSize, left: int) -> int:
        size = part.count * self.ranks
        return left // size if self.drop_last else -(-left // size)

    def left(self, at: Standing) -> int:
        """SharedSteps that are left of the epoch."""
        lead = self.parts[at.lead]
        return self._steps_of(lead, lead.n - at.places[at.lead].position)

    def is_over(self, at: Standing) -> bool:
        """Whether no step is left of the epoch."""
        lead = self.parts[at.lead]
        left = lead.n - at.places[at.lead].position
        return left <= 0 or (self.drop_last and left < lead.count * self.ranks)

    def begin(self, epoch: int = 0, step: int = 0) -> Standing:
        """Where a run stands after `step` steps of an epoch, if it has had these counts and ranks from the beginning."""
        length = len(self)
        lead = self.lead_of([Place(0, 0)] * len(self.parts))
        total = epoch * length + step
        places = [Place(*divmod(total * part.count * self.ranks, part.n)) if part.n else Place(0, 0) for part in self.parts]
        first = self.parts[lead]
        places[lead] = Place(epoch, min(step * first.count * self.ranks, first.n))
        return Standing(epoch, step, total, lead, tuple(places))

    def lead_of(self, places: Sequence[Place]) -> int:
        """The part that needs most steps to reach the end of its epoch; the first of those that need as many."""
        best, most = 0, (-1, 1)
        for number, (part, place) in enumerate(zip(self.parts, places, strict=True)):
            left = part.n - place.position
            if part.count and left * most[1] > most[0] * part.count:
                best, most = number, (left, part.count)
        return best

    def next_epoch(self, at: Standing) -> Standing:
        """Where the run stands at the begin of the epoch after this one, as far as it may have come."""
        places = list(at.places)
        places[at.lead] = Place(places[at.lead].epoch + 1, 0)
        return Standing(at.epoch + 1, 0, at.total_step, self.lead_of(places), tuple(places))

    def step(self, at: Standing) -> PlannedStep | None:
        """The next step of the epoch; None at its end."""
        if self._plain is not None:
            return self._plain_step(at, self._plain)
        if self.is_over(at):
            return None
        segments: list[Segment] = []
        places: list[Place] = []
        for number, (part, place) in enumerate(zip(self.parts, at.places, strict=True)):
            stretches, reached = _stretches(part.n, place, part.count * self.ranks, leads=number == at.lead)
            places.append(reached)
            if part.count:
                segments.append(self._segment(number, part, stretches))
        end = Standing(at.epoch, at.step + 1, at.total_step + 1, at.lead, tuple(places))
        return PlannedStep(at, end, tuple(segments))

    def _plain_step(self, at: Standing, part: PartSize) -> PlannedStep | None:
        """The same of one source in one lane."""
        count, ranks = part.count, self.ranks
        ((epoch, start),) = at.places
        whole = count * ranks
        size = min(whole, part.n - start)
        if size < whole:
            if size <= 0 or self.drop_last:
                return None
            rows = count if self.pad_last else -(-size // ranks)
            low = self.rank * rows
            valid = rows if low + rows <= size else max(0, size - low)
        else:
            rows = valid = count
            low = self.rank * count
        first, last = (start + low, start + low + valid) if valid else (start, start + 1)
        # As the classes would be called, in half the time: this is done for every step.
        made = tuple.__new__
        piece = made(StepPiece, (0, 0, epoch, first, last))
        end = made(Standing, (at[0], at[1] + 1, at[2] + 1, 0, (made(Place, (epoch, start + size)),)))
        return made(PlannedStep, (at, end, (made(Segment, (0, (piece,), valid, rows)),)))

    def _segment(self, number: int, part: PartSize, stretches: Sequence[Stretch]) -> Segment:
        """This rank's rows of the stretches that all ranks take together."""
        size = sum(stop - start for _, start, stop in stretches)
        rows = part.count if self.pad_last else part_of(size, self.ranks)
        low, high = self.rank * rows, min((self.rank + 1) * rows, size)
        valid = max(0, high - low)
        pieces = cut_out(number, stretches, n=part.n, lanes=part.lanes, low=low if valid else 0, high=high if valid else 1)
        return Segment(number, tuple(pieces), valid, rows)


def _stretches(n: int, place: Place, need: int, *, leads: bool) -> tuple[list[Stretch], Place]:
    """The next `need` positions of a part, through as many epochs as it takes, or to the end of this one for the lead; what is reached."""
    epoch, position = place
    found: list[Stretch] = []
    while need:
        stop = min(position + need, n)
        found.append(Stretch(epoch, position, stop))
        need -= stop - position
        position = stop
        if leads:
            break
        if position == n:
            epoch, position = epoch + 1, 0
    return found, Place(epoch, position)


def step_records(streams: Sequence[LanedOrder], step: PlannedStep) -> NDArray[np.int64]:
    """The record numbers of a step's rows, those that do not count among them; each counts within its own source."""
    found: list[NDArray[np.int64]] = []
    for segment in step.segments:
        records = [streams[one.stream].records(one.lane, one.epoch, one.start, one.stop) for one in segment.pieces]
        found += records
        if (more := segment.rows - sum(map(len, records))) > 0:
            found.append(np.repeat(records[-1][-1:], more))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def valid_rows(step: PlannedStep, counted: Sequence[int] = ()) -> NDArray[np.bool_]:
    """Which rows of a step count, shape (rows,): as planned, or as many of each segment as `counted` says."""
    valid = np.ones(step.rows, np.bool_)
    at = 0
    for segment, count in zip(step.segments, counted or [segment.valid for segment in step.segments], strict=True):
        valid[at + count : at + segment.rows] = False
        at += segment.rows
    return valid


def source_rows(step: PlannedStep) -> NDArray[np.int8]:
    """Which part each row of a step is from, shape (rows,)."""
    return np.repeat(np.array([s.stream for s in step.segments], np.int8), [s.rows for s in step.segments])

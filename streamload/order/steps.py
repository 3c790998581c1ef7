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

_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time."""


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
    pieces: tuple[StepPiece, ...]
    """What is read for the step, in the order of its rows."""
    rows: int
    """Records of the batch, those that do not count among them."""
    short: bool
    """Whether some of its rows do not count."""
    split: tuple[Segment, ...]
    """The rows by the part that fills them; none where one part fills all, and all count, as in most steps of one source."""

    @classmethod
    def of(cls, begin: Standing, end: Standing, segments: tuple[Segment, ...]) -> PlannedStep:
        """The step of these segments."""
        pieces = tuple(piece for one in segments for piece in one.pieces)
        return cls(begin, end, pieces, sum(one.rows for one in segments), any(one.valid < one.rows for one in segments), segments)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The rows by the part that fills them, in order."""
        return self.split or (Segment(self.pieces[0].stream, self.pieces, self.rows, self.rows),)


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
    _plain: tuple[int, int, int, int] | None = field(init=False, repr=False, compare=False)
    """Of the one source, where there is one, in one lane, its positions, the rows of a batch, those of all ranks, and the first of this
    one among them: no time is to be lost then, since a step is a stretch."""

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "_length", max((self._steps_of(part, part.n) for part in self.parts if part.count), default=0))
        plain = None
        if len(self.parts) == 1 and self.parts[0].lanes == 1:
            n, count = self.parts[0].n, self.parts[0].count
            plain = n, count, count * self.ranks, count * self.rank
        set_field(self, "_plain", plain)

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
        if self._plain is not None:
            left = self._plain[0] - at[4][0][1]
            return left <= 0 or (self.drop_last and left < self._plain[2])
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
        plain = self._plain
        if plain is None:
            return self._mixed_step(at)
        n, count, whole, low = plain
        ((epoch, start),) = at[4]
        reached = start + whole
        if reached > n:
            return self._last_step(at, self.parts[0])
        low += start
        # As the classes would be called, in half the time: this is done for every step.
        pieces = (_made(StepPiece, (0, 0, epoch, low, low + count)),)
        end = _made(Standing, (at[0], at[1] + 1, at[2] + 1, 0, (_made(Place, (epoch, reached)),)))
        return _made(PlannedStep, (at, end, pieces, count, False, ()))

    def _mixed_step(self, at: Standing) -> PlannedStep | None:
        """The same of several sources, or of several lanes."""
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
        return PlannedStep.of(at, end, tuple(segments))

    def _last_step(self, at: Standing, part: PartSize) -> PlannedStep | None:
        """The same of one source in one lane, where what is left of it is no whole step."""
        ((epoch, start),) = at.places
        size = part.n - start
        if size <= 0 or self.drop_last:
            return None
        rows = part.count if self.pad_last else part_of(size, self.ranks)
        low = self.rank * rows
        valid = rows if low + rows <= size else max(0, size - low)
        first, last = (start + low, start + low + valid) if valid else (start, start + 1)
        end = Standing(at.epoch, at.step + 1, at.total_step + 1, 0, (Place(epoch, start + size),))
        return PlannedStep.of(at, end, (Segment(0, (StepPiece(0, 0, epoch, first, last),), valid, rows),))

    @property
    def side_by_side(self) -> bool:
        """Whether what a rank reads in a step lies where what it read in the step before ended."""
        return self._plain is not None and self.ranks == 1

    def stretch(self, at: Standing, rows: int) -> PlannedStep | None:
        """The next steps of the epoch as if they were one, of about `rows` rows together, where they lie side by side: one step of
        another kind; None at the end."""
        if not self.side_by_side:
            return self.step(at)
        part = self.parts[0]
        ((epoch, start),) = at.places
        steps = min(rows, part.n - start) // part.count
        if steps < 2:
            return self.step(at)
        stop = start + steps * part.count
        end = Standing(at.epoch, at.step + steps, at.total_step + steps, 0, (Place(epoch, stop),))
        return PlannedStep(at, end, (StepPiece(0, 0, epoch, start, stop),), stop - start, short=False, split=())

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

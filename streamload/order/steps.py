"""How a run is cut into steps: which positions each batch of a rank takes, computed from the run's position alone.

A *run* reads one source, or the sources of a mixture; each of them is a *part*, with an order and epochs of its own. Work that
is sent to workers numbers the parts, and calls what is read of one a *stream*.

Rules:

1. The position of a run is an epoch and a position in each part, counted in records over all ranks. The next step is a function
   of that, of the numbers of records, of the batch size and of the number of ranks; the last two may change between any two steps.
2. Every rank has the same number of steps, and in each step as many rows. A rank with fewer records left repeats a record in the
   rows that are over, and these rows do not count.
3. Of a mixture, the part that needs most steps to the end of its own epoch, when the epoch of the mixture begins, is the *lead*. The
   epoch of the mixture ends with the step in which the lead reaches its end. The other parts give their full count of records in
   every step, and go on into their own next epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamload.order.laned import LanedOrder
from streamload.order.shares import StepPiece, Stretch, pieces_between, share_rows

_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""


class PartPosition(NamedTuple):
    """The position in one part of a run, between two steps."""

    epoch: int
    """The epoch of the part, which in a mixture is not that of the run."""
    position: int
    """Positions of that epoch that all ranks together have passed."""


class RunPosition(NamedTuple):
    """The position of a run, between two steps."""

    epoch: int
    step: int
    """Steps of this epoch that are done."""
    total_step: int
    """Steps of all epochs that are done."""
    lead: int
    """The number of the part with whose end the epoch ends; 0 of a single source."""
    positions: tuple[PartPosition, ...]
    """One of each part."""


class Segment(NamedTuple):
    """The rows of a batch that one part fills; the segments of a batch follow each other in the order of the parts."""

    stream: int
    """The number of the part."""
    pieces: tuple[StepPiece, ...]
    """What is read for these rows, in order: `valid` records; one record where `valid` is 0."""
    valid: int
    """Rows that count. They come first; the others repeat the last record that is read."""
    rows: int
    """All rows of the segment."""


class PlannedStep(NamedTuple):
    """A step of one rank."""

    begin: RunPosition
    """Where the run stands before the step."""
    end: RunPosition
    """Where the run stands after it."""
    pieces: tuple[StepPiece, ...]
    """What is read for the step, in the order of its rows."""
    rows: int
    """Rows of the batch, including those that do not count."""
    short: bool
    """Whether some of its rows do not count."""
    split: tuple[Segment, ...]
    """The segments of the batch; empty in the usual case, where one part fills all rows and all of them count. `segments` has them
    in every case."""

    @classmethod
    def of(cls, begin: RunPosition, end: RunPosition, segments: tuple[Segment, ...]) -> PlannedStep:
        """The step that consists of these segments."""
        pieces = tuple(piece for one in segments for piece in one.pieces)
        return cls(begin, end, pieces, sum(one.rows for one in segments), any(one.valid < one.rows for one in segments), segments)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments of the batch, in order."""
        return self.split or (Segment(self.pieces[0].stream, self.pieces, self.rows, self.rows),)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartSize:
    """How large one part of a run is."""

    n: int
    """Positions of one of its epochs: its records, or with weights its draws."""
    lanes: int
    """Lanes of its order; 1 of an order without lanes."""
    count: int
    """Records of it in each batch of a rank."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedSteps:
    """How a run is cut into steps, as one rank sees it."""

    parts: tuple[PartSize, ...]
    rank: int
    ranks: int
    drop_last: bool
    """Whether the last step of an epoch is left out if there are too few records for it."""
    pad_last: bool
    """Whether that step is filled up to the batch size with rows that do not count."""
    _length: int = field(init=False, repr=False, compare=False)
    _plain: tuple[int, int, int, int] | None = field(init=False, repr=False, compare=False)
    """For a single source in one lane: (its positions, rows of a rank's batch, rows of all ranks together, first row of this rank
    among those). Such a step is one stretch of positions, and is computed without the general case. None for all others."""

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
        """Steps of a whole epoch."""
        return self._length

    def _steps_of(self, part: PartSize, left: int) -> int:
        size = part.count * self.ranks
        return left // size if self.drop_last else -(-left // size)

    def left(self, at: RunPosition) -> int:
        """How many steps of the epoch follow this position."""
        lead = self.parts[at.lead]
        return self._steps_of(lead, lead.n - at.positions[at.lead].position)

    def is_over(self, at: RunPosition) -> bool:
        """Whether no step is left of the epoch."""
        if self._plain is not None:
            left = self._plain[0] - at[4][0][1]
            return left <= 0 or (self.drop_last and left < self._plain[2])
        lead = self.parts[at.lead]
        left = lead.n - at.positions[at.lead].position
        return left <= 0 or (self.drop_last and left < lead.count * self.ranks)

    def begin(self, epoch: int = 0, step: int = 0) -> RunPosition:
        """The position after `step` steps of an epoch, of a run that had these counts and ranks from its first step on."""
        length = len(self)
        lead = self.lead_of([PartPosition(0, 0)] * len(self.parts))
        total = epoch * length + step
        places = [PartPosition(*divmod(total * part.count * self.ranks, part.n)) if part.n else PartPosition(0, 0) for part in self.parts]
        first = self.parts[lead]
        places[lead] = PartPosition(epoch, min(step * first.count * self.ranks, first.n))
        return RunPosition(epoch, step, total, lead, tuple(places))

    def lead_of(self, places: Sequence[PartPosition]) -> int:
        """The number of the part that needs most steps to the end of its epoch; the lowest one where several need as many."""
        best, most = 0, (-1, 1)
        for number, (part, place) in enumerate(zip(self.parts, places, strict=True)):
            left = part.n - place.position
            if part.count and left * most[1] > most[0] * part.count:
                best, most = number, (left, part.count)
        return best

    def next_epoch(self, at: RunPosition) -> RunPosition:
        """The position at the beginning of the epoch after this one, whether or not this one has come to its end."""
        places = list(at.positions)
        places[at.lead] = PartPosition(places[at.lead].epoch + 1, 0)
        return RunPosition(at.epoch + 1, 0, at.total_step, self.lead_of(places), tuple(places))

    def step(self, at: RunPosition) -> PlannedStep | None:
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
        end = _made(RunPosition, (at[0], at[1] + 1, at[2] + 1, 0, (_made(PartPosition, (epoch, reached)),)))
        return _made(PlannedStep, (at, end, pieces, count, False, ()))

    def _mixed_step(self, at: RunPosition) -> PlannedStep | None:
        """The next step of a mixture, or of a source in several lanes; None at the end of the epoch."""
        if self.is_over(at):
            return None
        segments: list[Segment] = []
        places: list[PartPosition] = []
        for number, (part, place) in enumerate(zip(self.parts, at.positions, strict=True)):
            stretches, reached = _stretches(part.n, place, part.count * self.ranks, leads=number == at.lead)
            places.append(reached)
            if part.count:
                segments.append(self._segment(number, part, stretches))
        end = RunPosition(at.epoch, at.step + 1, at.total_step + 1, at.lead, tuple(places))
        return PlannedStep.of(at, end, tuple(segments))

    def _last_step(self, at: RunPosition, part: PartSize) -> PlannedStep | None:
        """The last step of an epoch of one source in one lane, when fewer records are left than a step takes; None if it is left out."""
        ((epoch, start),) = at.positions
        size = part.n - start
        if size <= 0 or self.drop_last:
            return None
        rows = part.count if self.pad_last else share_rows(size, self.ranks)
        low = self.rank * rows
        valid = rows if low + rows <= size else max(0, size - low)
        first, last = (start + low, start + low + valid) if valid else (start, start + 1)
        end = RunPosition(at.epoch, at.step + 1, at.total_step + 1, 0, (PartPosition(epoch, start + size),))
        return PlannedStep.of(at, end, (Segment(0, (StepPiece(0, 0, epoch, first, last),), valid, rows),))

    @property
    def side_by_side(self) -> bool:
        """Whether each step of this rank begins at the position at which its step before ended, in one lane of one source."""
        return self._plain is not None and self.ranks == 1

    def stretch(self, at: RunPosition, rows: int) -> PlannedStep | None:
        """The next steps of the epoch put together as one, of at most `rows` rows but at least one step, if `side_by_side`; the next
        step otherwise. None at the end of the epoch."""
        if not self.side_by_side:
            return self.step(at)
        part = self.parts[0]
        ((epoch, start),) = at.positions
        steps = min(rows, part.n - start) // part.count
        if steps < 2:
            return self.step(at)
        stop = start + steps * part.count
        end = RunPosition(at.epoch, at.step + steps, at.total_step + steps, 0, (PartPosition(epoch, stop),))
        return PlannedStep(at, end, (StepPiece(0, 0, epoch, start, stop),), stop - start, short=False, split=())

    def _segment(self, number: int, part: PartSize, stretches: Sequence[Stretch]) -> Segment:
        """The rows that this rank has of one part, whose `stretches` all ranks take together in this step."""
        size = sum(stop - start for _, start, stop in stretches)
        rows = part.count if self.pad_last else share_rows(size, self.ranks)
        low, high = self.rank * rows, min((self.rank + 1) * rows, size)
        valid = max(0, high - low)
        pieces = pieces_between(number, stretches, n=part.n, lanes=part.lanes, low=low if valid else 0, high=high if valid else 1)
        return Segment(number, tuple(pieces), valid, rows)


def _stretches(n: int, place: PartPosition, need: int, *, leads: bool) -> tuple[list[Stretch], PartPosition]:
    """The next `need` positions of a part, through as many of its epochs as that takes, and the position after them. For the lead
    (`leads`) they end with its present epoch."""
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
    return found, PartPosition(epoch, position)


def step_records(streams: Sequence[LanedOrder], step: PlannedStep) -> NDArray[np.int64]:
    """The record number of each row of a step, counted in the source of the row's part: shape (step.rows,).

    Rows that do not count have the number of the record that they repeat.
    """
    found: list[NDArray[np.int64]] = []
    for segment in step.segments:
        records = [streams[one.stream].records(one.lane, one.epoch, one.start, one.stop) for one in segment.pieces]
        found += records
        if (more := segment.rows - sum(map(len, records))) > 0:
            found.append(np.repeat(records[-1][-1:], more))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def valid_rows(step: PlannedStep, counted: Sequence[int] = ()) -> NDArray[np.bool_]:
    """Which rows of a step count: shape (step.rows,). `counted`, if given, is the number of such rows in each segment, where records
    that could not be delivered were left out."""
    valid = np.ones(step.rows, np.bool_)
    at = 0
    for segment, count in zip(step.segments, counted or [segment.valid for segment in step.segments], strict=True):
        valid[at + count : at + segment.rows] = False
        at += segment.rows
    return valid


def source_rows(step: PlannedStep, left: Sequence[int] = ()) -> NDArray[np.int8]:
    """The number of the part that each row of a step is from: shape (step.rows,). `left`, if given, is the number of rows that each
    segment has where rows were taken out of the step: shape (sum(left),) then."""
    return np.repeat(np.array([s.stream for s in step.segments], np.int8), left or [s.rows for s in step.segments])

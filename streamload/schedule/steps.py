"""Where steps begin and what they consist of, as a pure function of epoch and position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streamload.fetch.tasks import LaneKey, StepPiece


class PlannedStep(NamedTuple):
    """One step of an epoch."""

    epoch: int
    step: int
    """Its number in the epoch, as the user counts."""
    start: int
    """Its first position in the epoch."""
    stop: int
    pieces: tuple[StepPiece, ...]
    """What this loader takes of it: never empty."""


class Steps(Protocol):
    """The steps of a loader. An epoch is the user's, and so is a position: of all records that a step hands out, on all ranks.

    A lane counts epochs and positions of its own (`StepPiece`).
    """

    @property
    def end(self) -> int:
        """Positions of an epoch that are handed out; 0 where no step fits."""
        ...

    def at(self, epoch: int, start: int) -> PlannedStep:
        """The step that begins at a position, which is less than `end`."""
        ...

    def pieces(self, epoch: int, start: int, stop: int) -> tuple[StepPiece, ...]:
        """What this loader takes of the positions [start, stop), of however many steps: pieces of lanes, none of them empty."""
        ...

    def standing(self, epoch: int, position: int) -> dict[LaneKey, tuple[int, int]]:
        """The epoch and the position that each lane has come to when `position` positions of an epoch have been handed out."""
        ...

    def place(self, lane: LaneKey, epoch: int, position: int) -> tuple[int, int]:
        """The inverse of `standing`: the user's epoch and position at which a position of a lane is handed out."""
        ...

    def taken(self, lane: LaneKey, epoch: int, start: int, stop: int) -> int:
        """How many of the positions [start, stop) of a lane's epoch this loader's steps take in all."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainSteps:
    """The steps of a loader that takes everything of one order: position p of the user is position p of lane 0 of stream 0."""

    batch_size: int
    end: int

    def at(self, epoch: int, start: int) -> PlannedStep:
        """The step that begins at a position."""
        stop = min(start + self.batch_size, self.end)
        return PlannedStep(epoch, start // self.batch_size, start, stop, (StepPiece(0, 0, epoch, start, stop),))

    def pieces(self, epoch: int, start: int, stop: int) -> tuple[StepPiece, ...]:
        """The same positions as one piece."""
        return (StepPiece(0, 0, epoch, start, stop),)

    def standing(self, epoch: int, position: int) -> dict[LaneKey, tuple[int, int]]:
        """The same epoch and position."""
        return {(0, 0): (epoch, position)}

    def place(self, lane: LaneKey, epoch: int, position: int) -> tuple[int, int]:
        """The same epoch and position."""
        return epoch, position

    def taken(self, lane: LaneKey, epoch: int, start: int, stop: int) -> int:
        """All of them that are handed out."""
        return max(0, min(stop, self.end) - start)


def after(step: PlannedStep, end: int) -> tuple[int, int]:
    """The epoch and the position at which the step after this one begins."""
    return (step.epoch, step.stop) if step.stop < end else (step.epoch + 1, 0)

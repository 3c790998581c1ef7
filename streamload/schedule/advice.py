"""Read-ahead: which positions the operating system is advised of (`posix_fadvise`, `madvise`), before the steps that read them.

Every position is advised of once, in the order of steps, a given number of records ahead of its step. The advice travels with a
step that is sent to a worker, which passes it on before it fills that step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from streamload.order import PlannedStep, RunPosition, SharedSteps, StepPiece

MOST_PIECES = 1024
"""Pieces from which on no further step is advised of with the same one, unless that has half as many itself: they travel with it."""
MOST_STEPS = 256
"""Steps that are advised of with one: where each is computed by itself, of several lanes or ranks, the first batch would wait for all of
them, tens of thousands of small ones."""
MOST_LAG = 4096
"""Records by which advice may fall behind `ahead`, so that small steps are advised of several at once, which costs less for each."""


class Advice:
    """How far ahead of the run the operating system has been advised."""

    def __init__(self, steps: SharedSteps, *, ahead: int, most: int) -> None:
        """`ahead`: how many records ahead of the step that is sent whole steps are advised of; 0 for no advice at all. `most`: about how
        many records are advised of with one step, which is filled only after its advice was given."""
        self._steps = steps
        self._ahead = ahead
        self._most = most
        self._lag = min(ahead // 8, most // 2, MOST_LAG)
        self._at: RunPosition | None = None
        """The position up to which steps have been advised of."""
        self._planned = deque[PlannedStep]()
        """Steps that were advised of and not yet sent, in order, so that they need not be computed again."""
        self.remembers = not steps.side_by_side
        """Whether steps are advised of one by one and remembered. Where they lie side by side, many are advised of as one stretch, and
        computing a single step again takes no time."""
        self._missed: list[StepPiece] = []
        """Positions before that of the run which are to be advised of first."""
        self._beyond = 0
        """Records that were advised of and whose steps have not been sent."""

    def begin(self, at: RunPosition, missed: Sequence[StepPiece] = ()) -> None:
        """Start again at this position, with nothing advised of. `missed` are earlier positions to advise of before it."""
        self._at, self._beyond = at, 0
        self._planned.clear()
        self._missed = list(missed) if self._ahead else []

    def planned(self, at: RunPosition) -> PlannedStep | None:
        """Take out the remembered step that begins here; None if there is none. Remembered steps before it are forgotten."""
        planned = self._planned
        while planned:
            begin = planned[0].begin
            if begin is at or begin == at:
                return planned.popleft()
            if begin.total_step >= at.total_step and begin.epoch >= at.epoch:
                break
            planned.popleft()
        return None

    def put_back(self, step: PlannedStep) -> None:
        """Remember a step that could not be sent after all: it is the next one still."""
        if self.remembers:
            self._planned.appendleft(step)

    def due(self, step: PlannedStep, until: int, may_use: Callable[[Sequence[StepPiece]], bool]) -> tuple[StepPiece, ...]:
        """The pieces to advise of with this step, which is being sent. Called once for every step, in order.

        Nothing of epoch `until` or later is advised of, and no step for whose pieces `may_use` is false: both stay for later calls.
        """
        if not self._ahead:
            return ()
        self._beyond -= step.rows
        if not self._missed and self._beyond > self._ahead - self._lag:
            return ()
        told: list[StepPiece] = []
        most, most_pieces = self._most, max(MOST_PIECES, 2 * len(step.pieces))
        while self._missed and most > 0 and len(told) < most_pieces:
            piece = self._missed.pop(0)
            if piece.stop - piece.start > most:
                self._missed.insert(0, piece._replace(start=piece.start + most))
                piece = piece._replace(stop=piece.start + most)
            most -= piece.stop - piece.start
            told.append(piece)
        most_steps = MOST_STEPS
        while not self._missed and most > 0 and most_steps and self._beyond < self._ahead:
            following = self._following(step, until, min(most, self._ahead - self._beyond))
            if following is None or not may_use(following.pieces):
                break
            told += following.pieces
            if len(told) >= most_pieces and len(told := _joined(told)) >= most_pieces:
                most = 0
            if self.remembers:
                self._planned.append(following)
            most, most_steps = most - following.rows, most_steps - 1
            self._beyond += following.rows
            self._at = following.end
        return tuple(told) if len(told) < 2 else tuple(_joined(told))

    def _following(self, step: PlannedStep, until: int, rows: int) -> PlannedStep | None:
        """The next step that was not advised of, or a stretch of several, of about `rows` rows; None if there is none in the epoch of
        `step`, nor in the one after it if that is before `until`."""
        at = self._at
        assert at is not None
        if at.epoch < step.begin.epoch:
            at, self._beyond = step.begin, -step.rows
        following = self._steps.stretch(at, rows)
        if following is None and at.epoch + 1 < until and at.epoch == step.begin.epoch:
            following = self._steps.stretch(self._steps.next_epoch(at), rows)
        return following


def _joined(pieces: Sequence[StepPiece]) -> list[StepPiece]:
    """The same positions in fewer pieces: those that follow each other in one lane are put together."""
    ranges: dict[tuple[int, int, int], list[list[int]]] = {}
    for stream, lane, epoch, start, stop in pieces:
        of_lane = ranges.setdefault((stream, lane, epoch), [])
        if of_lane and of_lane[-1][1] == start:
            of_lane[-1][1] = stop
        else:
            of_lane.append([start, stop])
    return [StepPiece(*key, start, stop) for key, of_lane in ranges.items() for start, stop in of_lane]

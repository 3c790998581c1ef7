"""What the kernel is told ahead of the steps that will need it: every position once, in order, far enough ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from streamload.order import PlannedStep, SharedSteps, Standing, StepPiece

MOST_UNTOLD = 4096
"""Records by which telling may stay behind `ahead`: small steps are told of several at once, which costs each of them less."""


class Advice:
    """How far the kernel has been told of what will be read.

    With a step that is asked for, it is told of whole steps up to `ahead` records behind that one; of at most about `most`
    records at once, since a step waits for its own advice.
    """

    def __init__(self, steps: SharedSteps, *, ahead: int, most: int) -> None:
        self._steps = steps
        self._ahead = ahead
        self._most = most
        self._untold = min(ahead // 8, most // 2, MOST_UNTOLD)
        self._at: Standing | None = None
        """Where the steps begin of which nothing has been told."""
        self._planned = deque[PlannedStep]()
        """Steps that were told of, in order: they are asked for later, and need not be worked out again."""
        self.remembers = not steps.side_by_side
        """Whether steps are told of one by one, and remembered: elsewhere many are as one, and each is quickly worked out."""
        self._missed: list[StepPiece] = []
        self._beyond = 0
        """Records that were told of, and not asked for."""

    def begin(self, at: Standing, missed: Sequence[StepPiece] = ()) -> None:
        """Tell everything from here on, and `missed` before it."""
        self._at, self._beyond = at, 0
        self._planned.clear()
        self._missed = list(missed) if self._ahead else []

    def planned(self, at: Standing) -> PlannedStep | None:
        """The step that begins here, where it was told of; steps before it are forgotten, and those after it are still to come."""
        planned = self._planned
        while planned:  # Where nothing was told of in steps, this is all.
            begin = planned[0].begin
            if begin is at or begin == at:
                return planned.popleft()
            if begin.total_step >= at.total_step and begin.epoch >= at.epoch:
                break
            planned.popleft()
        return None

    def put_back(self, step: PlannedStep) -> None:
        """This step is asked for another time."""
        self._planned.appendleft(step)

    def due(self, step: PlannedStep, until: int, may_use: Callable[[Sequence[StepPiece]], bool]) -> tuple[StepPiece, ...]:
        """What the kernel should hear of with this step; nothing of epoch `until` or a later one, nor what `may_use` refuses."""
        if not self._ahead:
            return ()
        self._beyond -= step.rows
        if not self._missed and self._beyond > self._ahead - self._untold:
            return ()
        told: list[StepPiece] = []
        most = self._most
        while self._missed and most > 0:
            piece = self._missed.pop(0)
            if piece.stop - piece.start > most:
                self._missed.insert(0, piece._replace(start=piece.start + most))
                piece = piece._replace(stop=piece.start + most)
            most -= piece.stop - piece.start
            told.append(piece)
        while not self._missed and most > 0 and self._beyond < self._ahead:
            following = self._following(step, until, min(most, self._ahead - self._beyond))
            if following is None or not may_use(following.pieces):
                break
            told += following.pieces
            if self.remembers:
                self._planned.append(following)
            most -= following.rows
            self._beyond += following.rows
            self._at = following.end
        return tuple(told) if len(told) < 2 else tuple(_joined(told))

    def _following(self, step: PlannedStep, until: int, rows: int) -> PlannedStep | None:
        """The next steps that nothing was told of, of about `rows` rows, through epochs: that of the step which is asked for, and
        the one after it."""
        at = self._at
        assert at is not None
        if at.epoch < step.begin.epoch:
            at, self._beyond = step.begin, -step.rows
        following = self._steps.stretch(at, rows)
        if following is None and at.epoch + 1 < until and at.epoch == step.begin.epoch:
            following = self._steps.stretch(self._steps.next_epoch(at), rows)
        return following


def _joined(pieces: Sequence[StepPiece]) -> list[StepPiece]:
    """The same positions in fewer pieces: neighbours of a lane are put together."""
    found: dict[tuple[int, int, int], list[list[int]]] = {}
    for stream, lane, epoch, start, stop in pieces:
        ours = found.setdefault((stream, lane, epoch), [])
        if ours and ours[-1][1] == start:
            ours[-1][1] = stop
        else:
            ours.append([start, stop])
    return [StepPiece(*key, start, stop) for key, ours in found.items() for start, stop in ours]

"""What the kernel is told ahead of the steps that will need it: every position once, in order, far enough ahead."""

from __future__ import annotations

from streamload.fetch.tasks import StepPiece
from streamload.schedule.steps import PlannedStep, Steps


class Advice:
    """How far the kernel has been told of what will be read.

    With every step that is asked for, it is told of positions up to `ahead` positions behind that step; of at most `most` of
    them at once, since a step waits for its own advice.
    """

    def __init__(self, steps: Steps, *, ahead: int, most: int) -> None:
        self._steps = steps
        self._ahead = ahead
        self._most = most
        self._told = (0, 0)
        """The epoch and the position from which on nothing has been told."""

    def begin(self, epoch: int, position: int) -> None:
        """Tell everything from here on."""
        self._told = epoch, position

    def due(self, step: PlannedStep, until: int) -> tuple[StepPiece, ...]:
        """What the kernel should hear of with this step; nothing of epoch `until` or a later one."""
        epoch, start = self._told
        end = self._steps.end
        if start >= end:
            epoch, start = epoch + 1, 0
        if not self._ahead or epoch >= until or epoch not in (step.epoch, step.epoch + 1):
            return ()
        limit = step.stop + self._ahead - (end if epoch > step.epoch else 0)
        stop = min(limit, start + self._most, end)
        if stop <= start:
            return ()
        self._told = epoch, stop
        return self._steps.pieces(epoch, start, stop)

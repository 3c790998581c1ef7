"""Where a loader stands, and where its next pass begins."""

from __future__ import annotations

from dataclasses import dataclass

from streamload.errors import ConfigError
from streamload.loader.options import MOST_EPOCHS, whole_number
from streamload.order import RunPosition, SharedSteps


@dataclass(slots=True)
class Progress:
    """Where a loader stands, and where its next pass over the records begins.

    Rules:

    1. `at` is changed by a pass that begins, by a step that is handed out, and by a move (a loaded state, a seek): by nothing else.
    2. After a move, passes begin there until a step of one has been handed out, or one has found nothing left; otherwise a
       pass over a part of an epoch is followed by the next epoch.
    3. An epoch that was asked for is the next pass, and that alone; after a move it counts only if it is a later one.
    """

    steps: SharedSteps
    at: RunPosition
    """What was handed out, over all ranks."""
    moved: bool = False
    """Whether it was moved, and no pass has begun since."""
    waiting: bool = False
    """Whether what comes after `at` is still to be handed out by whichever pass is next (rule 2)."""
    asked: int | None = None
    """The epoch that the next pass is to be, where somebody has asked for one."""
    whole: bool = False
    """Whether the pass that began last began at the start of its epoch."""
    handed: int = 0
    """Steps that it has handed out."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left of the epoch."""
        return self.steps.is_over(self.at)

    def begin(self, at: RunPosition) -> None:
        """A pass begins here."""
        self.at, self.moved, self.asked = at, False, None
        self.whole, self.handed = at.step == 0, 0

    def reach(self, at: RunPosition, *, handed: bool) -> None:
        """A step up to here was handed out, or had nothing left to hand out."""
        self.at = at
        self.handed += handed
        self.waiting = False

    def finish(self) -> None:
        """The pass has nothing more to hand out."""
        self.waiting = False

    def move(self, at: RunPosition) -> None:
        """Passes begin here from now on."""
        self.at, self.moved, self.waiting, self.asked = at, True, True, None

    def following(self, at: RunPosition) -> RunPosition:
        """The begin of the epoch after the one that this is in; steps that are left of that one count as done."""
        return self.steps.next_epoch(at._replace(total_step=at.total_step + max(0, self.steps.left(at))))

    def next_pass(self) -> RunPosition:
        """Where an iterator over the loader begins."""
        at = self.at
        if self.asked is not None and (self.asked > at.epoch or not self.waiting):
            return self.following(at) if self.asked == at.epoch + 1 else self.steps.begin(self.asked)
        return self.following(at) if begun(at) and not self.waiting else at

    def onward(self) -> RunPosition:
        """Where the loops over epochs and over steps begin: as `next_pass`, but what a pass has left is still to come."""
        return self.next_pass() if self.asked is not None or (self.finished and begun(self.at)) else self.at


def begun(at: RunPosition) -> bool:
    """Whether anything of its epoch has been handed out."""
    return at.step > 0 or at.positions[at.lead].position > 0


def place_of(steps: SharedSteps, *, epoch: object, step: object, total_step: object) -> RunPosition:
    """Where a step begins, or a step counted through epochs. Raises ConfigError for what is no place."""
    length = len(steps)
    if total_step is not None:
        for name, value in (("epoch", epoch), ("step", step)):
            if value is not None:
                raise ConfigError(f"seek() was told two places: {name}={value!r} and total_step={total_step!r}.", hint="Give one of them.")
        total = whole_number(total_step, "total_step", least=0, most=MOST_EPOCHS * length)
        at, place = divmod(total, length) if length else (0, 0)
    elif epoch is not None:
        at = whole_number(epoch, "epoch", least=0, most=MOST_EPOCHS)
        place = 0 if step is None else whole_number(step, "step", least=0, most=length)
    else:
        raise ConfigError("seek() was not told where.", hint="Give an epoch, or total_step.")
    return steps.begin(at, place)

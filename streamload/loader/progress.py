"""The position of a loader, and the position at which its next pass begins."""

from __future__ import annotations

from dataclasses import dataclass

from streamload.errors import ConfigError
from streamload.loader.options import MOST_EPOCHS, whole_number
from streamload.order import RunPosition, SharedSteps


@dataclass(slots=True)
class Progress:
    """The position of a loader, and the position at which its next pass over the records begins.

    Rules:

    1. `at` changes when a pass begins, when a step is handed out, by a move (`load_state_dict`, `seek`), and by rule 4; never otherwise.
    2. After a move, every pass begins at that position, until a pass has handed out a step or has found that nothing is left. In all
       other cases a pass begins with the next epoch, even if the one before it did not come to its end.
    3. An epoch that was asked for (`set_epoch`) is the next pass, and only that one. After a move, an epoch that is not later than
       that of the position is ignored.
    4. A pass over an epoch without steps counts as well: at its end the position is the beginning of the next epoch.
    """

    steps: SharedSteps
    at: RunPosition
    """The position after the last step that was handed out, or to which the loader was moved."""
    moved: bool = False
    """Whether the loader was moved, and no pass has begun since."""
    waiting: bool = False
    """Whether the next pass begins at `at`, after a move (rule 2)."""
    asked: int | None = None
    """The epoch that `set_epoch` has asked for; None if there is none."""
    whole: bool = False
    """Whether the last pass began at the beginning of its epoch."""
    handed: int = 0
    """Steps that the last pass has handed out."""

    @property
    def finished(self) -> bool:
        """Whether no step is left of the epoch."""
        return self.steps.is_over(self.at)

    def begin(self, at: RunPosition) -> None:
        """Note that a pass begins at this position."""
        self.at, self.moved, self.asked = at, False, None
        self.whole, self.handed = at.step == 0, 0

    def reach(self, at: RunPosition, *, handed: bool) -> None:
        """Note that a step which ends here was handed out; `handed` is False for one of which every record was left out."""
        self.at = at
        self.handed += handed
        self.waiting = False

    def finish(self, epoch: int) -> None:
        """Note that the pass over this epoch has come to its end."""
        self.waiting = False
        if self.at.epoch == epoch and not begun(self.at):
            self.at = self.following(self.at)

    def move(self, at: RunPosition) -> None:
        """Move to this position."""
        self.at, self.moved, self.waiting, self.asked = at, True, True, None

    def following(self, at: RunPosition) -> RunPosition:
        """The beginning of the epoch after that of a position. Steps that are left of the earlier epoch count as done."""
        return self.steps.next_epoch(at._replace(total_step=at.total_step + max(0, self.steps.left(at))))

    def next_pass(self) -> RunPosition:
        """The position at which `for batch in loader` begins."""
        at = self.at
        if self.asked is not None and (self.asked > at.epoch or not self.waiting) and (self.asked != at.epoch or begun(at)):
            return self.following(at) if self.asked == at.epoch + 1 else self.steps.begin(self.asked)
        return self.following(at) if begun(at) and not self.waiting else at

    def onward(self) -> RunPosition:
        """The position at which `loader.epochs` and `loader.steps` begin: that of `next_pass`, but the rest of an epoch that was left in
        the middle is not passed over."""
        return self.next_pass() if self.asked is not None or (self.finished and begun(self.at)) else self.at


def begun(at: RunPosition) -> bool:
    """Whether a position is behind the beginning of its epoch."""
    return at.step > 0 or at.positions[at.lead].position > 0


def place_of(steps: SharedSteps, *, epoch: object, step: object, total_step: object) -> RunPosition:
    """The position before step `step` of an epoch, or before step `total_step`, counted through epochs. Raises ConfigError for
    arguments that name no step."""
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
    found = steps.begin(at, place)
    if max(one.epoch for one in found.positions) > MOST_EPOCHS:
        raise ConfigError(
            f"seek() was told epoch={at:,}, in which a part of the mixture is in an epoch beyond {MOST_EPOCHS:,}.",
            hint="Give an earlier one.",
        )
    return found

"""Where a loader stands: what it writes down of that, what it reads back, and where its next pass begins.

Everything that depends on the format of a state is in `identity_of`, `state_of` and `read_state`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from streamload.errors import ConfigError, StateError
from streamload.loader.options import MOST_EPOCHS, shown, whole_number
from streamload.loader.planning import Plan
from streamload.order import ORDER_VERSION
from streamload.schema import Schema
from streamload.sizes import index_of

STATE_VERSION = 1
_FIELDS = {
    "version": (int, "version of the state"),
    "order_version": (int, "version of the record order"),
    "mode": (str, "kind of order"),
    "order": (str, "order (cuts, windows, subset)"),
    "seed": (int, "seed"),
    "records": (int, "number of records"),
    "schema": (str, "fields of a record"),
    "batch_size": (int, "batch size"),
}


def state_of(identity: Mapping[str, Any], epoch: int, position: int) -> dict[str, Any]:
    """The state after `position` positions of `epoch` were handed out, in plain JSON; `identity` is the loader's."""
    return {**identity, "epoch": epoch, "position": position}


def identity_of(plan: Plan) -> dict[str, Any]:
    """What a state says of the loader that it belongs to, wherever it stands."""
    return {
        "version": STATE_VERSION,
        "order_version": ORDER_VERSION,
        "mode": plan.order.mode,
        "order": plan.order.fingerprint,
        "seed": plan.seed,
        "records": len(plan.data),
        "schema": _digest(plan.data.schema_in_states),
        "batch_size": plan.batch_size,
    }


def _digest(schema: Schema) -> str:
    return hashlib.blake2b(str(schema).encode(), digest_size=8).hexdigest()


def read_state(state: object, plan: Plan) -> tuple[int, int]:
    """Epoch and position of a state that belongs to this plan. Raises StateError that names what differs.

    Numbers may be integers of any kind, or arrays and tensors that hold one: checkpoints of frameworks give such back.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"a state is a dict, not {type(state).__name__}.", hint="Give what state_dict() returned.")
    given = cast("Mapping[Any, Any]", state)
    ours = identity_of(plan)
    missing = [name for name in (*_FIELDS, "epoch", "position") if name not in given]
    if missing:
        raise StateError(f"the state lacks {', '.join(missing)}.", hint="Give what state_dict() returned, whole.")
    unknown = sorted(shown(name) for name in given if name not in _FIELDS and name not in ("epoch", "position"))
    if unknown:
        raise StateError(
            f"the state has entries that are not known here: {', '.join(unknown[:5])}.", hint="It may come from a newer streamload."
        )
    for name, (kind, meaning) in _FIELDS.items():
        value = index_of(given[name]) if kind is int else given[name]
        if not isinstance(value, kind) or value != ours[name]:
            raise StateError(
                f"the state belongs to other data or another loader: its {meaning} is {shown(given[name])}, and here it is {ours[name]}.",
                hint=_cure(name),
                difference=name,
            )
    epoch, position = (_number(given, name, most) for name, most in (("epoch", MOST_EPOCHS), ("position", plan.order.n)))
    if position % plan.batch_size and position != plan.order.n:
        raise StateError(f"the state's position {position:,} is not at the end of a batch of {plan.batch_size:,}.", hint="It is damaged.")
    return epoch, min(position, plan.end)


def _number(given: Mapping[Any, Any], name: str, most: int) -> int:
    number = index_of(given[name])
    if number is None or not 0 <= number <= most:
        raise StateError(
            f"the state's {name} is {shown(given[name])}, which is not a whole number from 0 to {most:,}.", hint="It is damaged."
        )
    return number


def _cure(name: str) -> str:
    return {
        "version": "It was written by another version of streamload.",
        "order_version": "Finish the epoch with the version that wrote it, or begin anew.",
        "batch_size": "Resume with the same batch_size; it may change at the end of an epoch with a new loader.",
        "seed": "Resume with the same seed.",
        "mode": "Resume with the same shuffle=.",
        "order": "Resume with the same data, shuffle=, window and indices=.",
    }.get(name, "Resume with the data that it was written for.")


@dataclass(slots=True)
class Standing:
    """Where a loader stands, and where its next pass over the records begins.

    Rules:

    1. `at` is changed by a pass that begins, by a step that is handed out, and by a move (a loaded state, a seek): by nothing else.
    2. After a move, passes begin there until a step of one has been handed out, or one has found nothing left; otherwise a
       pass over a part of an epoch is followed by the next epoch.
    3. An epoch that was asked for is the next pass, and that alone; after a move it counts only if it is a later one.
    """

    at: tuple[int, int]
    """Epoch, and positions of it that were handed out."""
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

    def begin(self, at: tuple[int, int]) -> None:
        """A pass begins here."""
        self.at, self.moved, self.asked = at, False, None
        self.whole, self.handed = at[1] == 0, 0

    def reach(self, position: int, *, handed: bool) -> None:
        """A step up to here was handed out, or had nothing left to hand out."""
        self.at = (self.at[0], position)
        self.handed += handed
        self.waiting = False

    def finish(self) -> None:
        """The pass has nothing more to hand out."""
        self.waiting = False

    def move(self, at: tuple[int, int]) -> None:
        """Passes begin here from now on."""
        self.at, self.moved, self.waiting, self.asked = at, True, True, None

    def next_pass(self) -> tuple[int, int]:
        """Where an iterator over the loader begins: epoch and position."""
        epoch, position = self.at
        if self.asked is not None and (self.asked > epoch or not self.waiting):
            return self.asked, 0
        return (epoch + 1, 0) if position and not self.waiting else self.at

    def onward(self, end: int) -> tuple[int, int]:
        """Where the loops over epochs and over steps begin: as `next_pass`, but what a pass has left is still to come."""
        return self.next_pass() if self.asked is not None or self.at[1] >= end > 0 else self.at


def place_of(plan: Plan, *, epoch: object, step: object, total_step: object) -> tuple[int, int]:
    """Epoch and position of a step, or of a step counted through epochs. Raises ConfigError for what is no place."""
    if total_step is not None:
        for name, value in (("epoch", epoch), ("step", step)):
            if value is not None:
                raise ConfigError(f"seek() was told two places: {name}={value!r} and total_step={total_step!r}.", hint="Give one of them.")
        total = whole_number(total_step, "total_step", least=0, most=MOST_EPOCHS * plan.steps)
        at, place = divmod(total, plan.steps) if plan.steps else (0, 0)
    elif epoch is not None:
        at = whole_number(epoch, "epoch", least=0, most=MOST_EPOCHS)
        place = 0 if step is None else whole_number(step, "step", least=0, most=plan.steps)
    else:
        raise ConfigError("seek() was not told where.", hint="Give an epoch, or total_step.")
    return at, min(place * plan.batch_size, plan.end)

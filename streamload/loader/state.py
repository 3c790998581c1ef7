"""Where a loader stands, as a handful of integers, and whether they belong to this loader."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from streamload.errors import StateError
from streamload.loader.planning import Plan
from streamload.order import ORDER_VERSION
from streamload.schema import Schema

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


def state_of(plan: Plan, epoch: int, position: int) -> dict[str, Any]:
    """The state after `position` positions of `epoch` were handed out. Plain JSON."""
    return {**_identity(plan), "epoch": epoch, "position": position}


def _identity(plan: Plan) -> dict[str, Any]:
    return {
        "version": STATE_VERSION,
        "order_version": ORDER_VERSION,
        "mode": plan.order.mode,
        "order": plan.order.fingerprint,
        "seed": plan.seed,
        "records": len(plan.data),
        "schema": _digest(plan.data.schema),
        "batch_size": plan.batch_size,
    }


def _digest(schema: Schema) -> str:
    return hashlib.blake2b(str(schema).encode(), digest_size=8).hexdigest()


def read_state(state: object, plan: Plan) -> tuple[int, int]:
    """Epoch and position of a state that belongs to this plan. Raises StateError that names what differs."""
    if not isinstance(state, dict):
        raise StateError(f"a state is a dict, not {type(state).__name__}.", hint="Give what state_dict() returned.")
    given = cast("dict[Any, Any]", state)
    ours = _identity(plan)
    missing = [name for name in (*_FIELDS, "epoch", "position") if name not in given]
    if missing:
        raise StateError(f"the state lacks {', '.join(missing)}.", hint="Give what state_dict() returned, whole.")
    unknown = sorted(_shown(name) for name in given if name not in _FIELDS and name not in ("epoch", "position"))
    if unknown:
        raise StateError(
            f"the state has entries that are not known here: {', '.join(unknown[:5])}.", hint="It may come from a newer streamload."
        )
    for name, (kind, meaning) in _FIELDS.items():
        value = given[name]
        if type(value) is not kind or value != ours[name]:
            raise StateError(
                f"the state belongs to other data or another loader: its {meaning} is {_shown(value)}, and here it is {ours[name]}.",
                hint=_cure(name),
                difference=name,
            )
    epoch, position = given["epoch"], given["position"]
    for name, value, most in (("epoch", epoch, 2**62), ("position", position, plan.order.n)):
        if type(value) is not int or not 0 <= value <= most:
            raise StateError(
                f"the state's {name} is {_shown(value)}, which is not a whole number from 0 to {most:,}.", hint="It is damaged."
            )
    if position % plan.batch_size and position != plan.order.n:
        raise StateError(f"the state's position {position:,} is not at the end of a batch of {plan.batch_size:,}.", hint="It is damaged.")
    return epoch, min(position, plan.end)


def _shown(value: object) -> str:
    """A value as text for an error, whatever it is: Python refuses to write out very long integers."""
    try:
        text = str(value)[:60]
        return text if text.isprintable() else repr(text)
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"


def _cure(name: str) -> str:
    return {
        "version": "It was written by another version of streamload.",
        "order_version": "Finish the epoch with the version that wrote it, or begin anew.",
        "batch_size": "Resume with the same batch_size; it may change at the end of an epoch with a new loader.",
        "seed": "Resume with the same seed.",
        "mode": "Resume with the same shuffle=.",
        "order": "Resume with the same data, shuffle=, window and indices=.",
    }.get(name, "Resume with the data that it was written for.")

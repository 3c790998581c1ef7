"""What a loader's plan is, as saved states tell one run from another."""

from __future__ import annotations

import hashlib
from typing import Any

from streamload.loader.contents import contents_digest
from streamload.loader.parts import Part
from streamload.loader.planning import Plan
from streamload.order import PartIdentity, RunIdentity, RunPosition, state_of
from streamload.schema import Schema


class PlanStates:
    """The states of a loader for as long as it goes by one plan. A batch keeps those of the plan that it was made by: its loader may go
    by another one since, with other weights or lanes."""

    def __init__(self, plan: Plan, built: tuple[int, ...], identity: RunIdentity | None = None) -> None:
        """`built` as in `identity_of`; `identity`, where it is known."""
        self._plan = plan
        self._built = built
        self._identity = identity
        self.source_names = tuple(part.name for part in plan.parts) if len(plan.parts) > 1 else ()
        """The names of the parts of a mixture; empty for a single source."""

    @property
    def identity(self) -> RunIdentity:
        """What tells this run from others. The first call reads a few records for their digest."""
        if self._identity is None:
            self._identity = identity_of(self._plan, self._built)
        return self._identity

    def state_at(self, at: RunPosition) -> dict[str, Any]:
        """The state where the run stands at this position."""
        return state_of(self.identity, self._plan.shares, at)

    def of(self, plan: Plan) -> PlanStates:
        """The states of another plan of the same records, which are not read again."""
        same = [_order(part) for part in plan.parts] == [_order(part) for part in self._plan.parts]
        return PlanStates(plan, self._built, self._identity if same else None)


def _order(part: Part) -> tuple[str, str | None]:
    weights = part.order.weights
    return part.order.fingerprint, weights.digest if weights is not None else None


def identity_of(plan: Plan, built: tuple[int, ...]) -> RunIdentity:
    """What a state says of the loader that it belongs to, wherever it stands. A few records of each source are read for it.

    `built` are the records of each source in a batch as the loader was made.
    """
    parts = [
        PartIdentity(
            name=part.name,
            mode=part.order.mode,
            order=part.order.fingerprint,
            lanes=len(part.order.lanes),
            records=len(part.data),
            schema=_digest(part.data.schema_in_states),
            contents=contents_digest(part.data),
            weights=part.order.weights.digest if part.order.weights is not None else None,
        )
        for part in plan.parts
    ]
    return RunIdentity(seed=plan.seed, parts=tuple(parts), counts=built)


def _digest(schema: Schema) -> str:
    return hashlib.blake2b(str(schema).encode(), digest_size=8).hexdigest()

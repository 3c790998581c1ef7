"""What a loader's plan is, as saved states tell one run from another."""

from __future__ import annotations

import hashlib

from streamload.loader.contents import contents_digest
from streamload.loader.planning import Plan
from streamload.order import PartIdentity, RunIdentity
from streamload.schema import Schema


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

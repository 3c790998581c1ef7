"""The records of a source as a conversion took them: without those that it left out, in the order in which it wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.conditions import Condition
from streamload.tools.console import counted
from streamload.tools.convert.chosen_records import sound_numbers
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.label_fields import SmallFields, stretches
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.shuffle import WrittenOrder, WrittenOrderIndex

MOST_NUMBERS = 10_000
"""Records that were left out are named in a manifest, if they are no more than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordSelection:
    """What of a source to compare with what was made of it."""

    numbers: NDArray[np.int64] | None
    """The records to compare, in order; None for all as they are."""
    in_order: bool
    notes: tuple[str, ...]
    """What was considered, for people."""


def as_converted(origin: RecordSource, request: OpenRequest, made: Mapping[str, Any]) -> RecordSelection:
    """How to compare an origin with what a conversion made, `made` being the provenance that its manifest says.

    An origin that is not the one that it was made from is compared as it is.
    """
    source = made.get("source")
    if not isinstance(source, dict) or origin.facts["files"] != source.get("files"):
        return RecordSelection(numbers=None, in_order=True, notes=())
    numbers, notes = _kept(origin, request, made)
    if not made.get("shuffle") and len(made.get("shares") or [1.0]) == 1:
        return RecordSelection(numbers=numbers, in_order=True, notes=notes)
    if not made.get("shuffle") or made.get("stratify") or made.get("group") or not origin.addressable:
        how = f"in any order, since it was {'shuffled' if made.get('shuffle') else 'split'}"
        return RecordSelection(numbers=numbers, in_order=False, notes=(*notes, how))
    count = len(origin) if numbers is None else len(numbers)
    places = WrittenOrderIndex(WrittenOrder(ends=(count,), shuffle="whole", seed=int(made.get("seed") or 0))).at(0, count)
    shuffled = places if numbers is None else numbers[places]
    return RecordSelection(numbers=shuffled, in_order=True, notes=(*notes, "in the order into which it was shuffled"))


def _kept(origin: RecordSource, request: OpenRequest, made: Mapping[str, Any]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The records that a conversion took, ascending, or None for all; and why not the others."""
    numbers: NDArray[np.int64] | None = None
    notes: list[str] = []
    if made.get("left_out"):
        named = made.get("left_out_records")
        numbers = np.setdiff1d(np.arange(len(origin)), named) if isinstance(named, list) else sound_numbers(origin)
        notes.append(f"{counted(len(origin) - len(numbers), 'record')} of it left out, which could not be read")
    if made.get("where"):
        before = len(origin) if numbers is None else len(numbers)
        numbers = _where(origin, request, str(made["where"]), numbers)
        notes.append(f"{counted(before - len(numbers), 'record')} of it left out by --where {made['where']!r}")
    return numbers, tuple(notes)


def _where(origin: RecordSource, request: OpenRequest, text: str, among: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Those of some records, or of all, for which a condition holds."""
    condition = Condition(text, said="--where")
    left_out = np.zeros(0, np.int64) if among is None else np.setdiff1d(np.arange(len(origin)), among)
    small = SmallFields(origin, request, dict.fromkeys(condition.names, "--where"))
    try:
        parts = [one[condition.holds(taken, small.classes)] for one, taken in small.passes(stretches(len(origin), left_out)) if len(one)]
    finally:
        small.close()
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)

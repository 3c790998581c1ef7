"""Two datasets held against each other, record by record or as sets, and what is found in doing so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.ragged import Ragged
from streamload.tools.console import clean, counted
from streamload.tools.convert.chosen_records import sound_records
from streamload.tools.convert.record_hashes import record_hashes
from streamload.tools.convert.record_source import RecordSource, batch_records
from streamload.tools.progress import bar

MOST_SHOWN = 20
"""Findings of one kind that are listed; all are counted."""


@dataclass(kw_only=True, slots=True)
class Findings:
    """What is wrong, counted by kind, and the first few of each in words."""

    counts: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    nans: Counter[str] = field(default_factory=Counter)
    """By field, records that hold NaN, where that is not wrong."""

    def add(self, kind: str, text: str, *, count: int = 1) -> None:
        """Something that is wrong."""
        if self.counts[kind] < MOST_SHOWN:
            self.texts.append(text)
        self.counts[kind] += count


def batches(origin: RecordSource, title: str) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """All records, a few at a time, under a bar."""
    batch = batch_records(origin)
    with bar(title, total=len(origin)) as shown:
        for start in range(0, len(origin), batch):
            taken = origin.take(np.arange(start, min(start + batch, len(origin)), dtype=np.int64))
            yield start, taken
            shown.show(min(start + batch, len(origin)), counted(min(start + batch, len(origin)), "record"))


def compare_in_order(ours: RecordSource, theirs: RecordSource, title: str, findings: Findings) -> None:
    """Find records that differ from those at the same places of another dataset, which is called `title`."""
    both = min(len(ours), len(theirs))
    batch = min(batch_records(ours), batch_records(theirs))
    with bar("comparing", total=both) as shown:
        for start in range(0, both, batch):
            numbers = np.arange(start, min(start + batch, both), dtype=np.int64)
            sound, there = _readable(theirs, numbers, title, findings)
            here = ours.take(sound)
            if len(here) == len(there) == 1:
                there = dict(zip(here, there.values(), strict=True))
            for at, names in differing(here, there, 0) if len(sound) else ():
                findings.add("record", f"record {sound[at]:,} differs from {title} in {', '.join(map(clean, names))}")
            shown.show(int(numbers[-1]) + 1, counted(int(numbers[-1]) + 1, "record"))


def _readable(theirs: RecordSource, numbers: NDArray[np.int64], title: str, findings: Findings) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Those of the records that can be read, and what they hold; the others are findings."""
    sound, taken, bad = sound_records(theirs, numbers, alike=False)
    for _, why in bad:
        findings.add("unreadable record", f"a record of {title} cannot be read: {clean(why)}")
    return sound, taken or {}


def differing(here: Mapping[str, Any], there: Mapping[str, Any], first: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Numbers of records that differ in any bit, and the fields that do."""
    wrong: dict[int, list[str]] = {}
    for name, values in here.items():
        if isinstance(values, Ragged):
            unlike = [at for at in range(len(values)) if _record_bytes(values, at) != _record_bytes(there[name], at)]
        else:
            mine, other = (np.ascontiguousarray(one).reshape(len(values), -1).view(np.uint8) for one in (values, there[name]))
            unlike = np.flatnonzero((mine != other).any(axis=1)).tolist()
        for at in unlike:
            wrong.setdefault(first + at, []).append(name)
    return iter(sorted(wrong.items()))


def _record_bytes(values: Ragged, at: int) -> bytes:
    """What a ragged record holds, to the byte: lists of numbers, one NaN or the other zero among them, and text of any bytes alike."""
    return values.values[int(values.offsets[at]) : int(values.offsets[at + 1])].tobytes()


def compare_sets(ours: RecordSource, theirs: RecordSource, title: str, findings: Findings) -> None:
    """Find records that are not in another dataset, or not as often, and those of it that are not here; 16 bytes a record are held."""
    held: Counter[bytes] = Counter()
    batch = batch_records(theirs)
    with bar("reading SRC", total=len(theirs)) as shown:
        for start in range(0, len(theirs), batch):
            sound, taken = _readable(theirs, np.arange(start, min(start + batch, len(theirs)), dtype=np.int64), title, findings)
            held.update(record_hashes(taken) if len(sound) else ())
            shown.show(start + len(sound), counted(start + len(sound), "record"))
    for first, taken in batches(ours, "comparing"):
        for number, one in enumerate(record_hashes(taken), start=first):
            held[one] -= 1
            if held[one] < 0:
                findings.add("extra record", f"record {number:,} is not in {title}, or not as often")
    missing = sum(count for count in held.values() if count > 0)
    if missing:
        findings.add("missing record", f"{missing:,} records of {title} are not here", count=missing)

"""Records that cannot be delivered: what stands in their place, as a function of the batch alone, and the list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError
from streamload.fetch.ragged_collate import WindowSlice

RAISE, SUBSTITUTE, SKIP = "raise", "substitute", "skip"
POLICIES = (RAISE, SUBSTITUTE, SKIP)
MOST_LISTED = 1_000
"""Records that a loader lists; beyond that it only counts."""
MOST_CHARACTERS = 240
"""Of the reason for one."""


class Fault(Protocol):
    """A record that a reader could not decode."""

    @property
    def row(self) -> int:
        """Of the batch."""
        ...

    @property
    def error(self) -> SourceError:
        """Why."""
        ...


class BadRow(NamedTuple):
    """A bad record of a step, as it travels."""

    record: int
    by: int
    """The record that stands in its place; -1 where it is left out."""
    why: str


class BadRecord(NamedTuple):
    """A record that was left out or replaced in a batch that was handed out."""

    epoch: int
    record: int
    what: str
    """"skipped", or "replaced by record 17"."""
    why: str

    @classmethod
    def of(cls, epoch: int, row: BadRow) -> BadRecord:
        """As it is listed."""
        return cls(epoch, row.record, "skipped" if row.by < 0 else f"replaced by record {row.by:,}", row.why)


class BadRecordLog:
    """The bad records of a loader: the first of them, and how many there were."""

    def __init__(self) -> None:
        self.first: list[BadRecord] = []
        self.count = 0

    def note(self, epoch: int, rows: Sequence[BadRow]) -> None:
        """Take in those of a batch that is handed out."""
        self.count += len(rows)
        self.first.extend(BadRecord.of(epoch, row) for row in rows[: MOST_LISTED - len(self.first)])


def resolve(records: NDArray[np.int64], faults: Sequence[Fault], policy: str) -> tuple[NDArray[np.int64], list[BadRow]]:
    """For each row that a batch still has, the row whose record goes there; and the bad records, in order.

    "substitute": the next good record of the batch, after the last the first; "skip": bad rows are left out, all of them if
    need be. Raises the first fault's error where no record is good that could stand in.
    """
    first: dict[int, SourceError] = {}
    for fault in faults:
        first.setdefault(fault.row, fault.error)
    bad = np.zeros(len(records), bool)
    bad[list(first)] = True
    good = np.flatnonzero(~bad)
    if policy == SKIP:
        return good, [BadRow(int(records[row]), -1, _why(first[row])) for row in sorted(first)]
    if not len(good):
        error = first[min(first)]
        kind = type(error)
        raise kind(
            f"None of the {len(records):,} records of a batch can be decoded, so none can stand in. The first: {error.message}",
            hint='Check the files; on_bad_record="skip" goes on without such batches.',
            **error.details,
        )
    sources = np.arange(len(records))
    after = np.searchsorted(good, np.flatnonzero(bad))
    sources[bad] = good[after % len(good)]
    return sources, [BadRow(int(records[row]), int(records[sources[row]]), _why(first[row])) for row in sorted(first)]


def _why(error: SourceError) -> str:
    text = error.message
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def remap_slices(pieces: Sequence[WindowSlice], sources: NDArray[np.int64]) -> list[WindowSlice]:
    """Pieces of a step whose row k now holds what was to go to row `sources[k]`."""
    if not pieces:
        return []
    ends = np.array([piece.stop for piece in pieces])
    which = np.searchsorted(ends, sources, side="right")
    borders = np.flatnonzero(np.diff(which)) + 1
    found: list[WindowSlice] = []
    for start, stop in zip([0, *borders.tolist()], [*borders.tolist(), len(sources)], strict=True):
        if start < stop:
            piece = pieces[int(which[start])]
            found.append(WindowSlice(piece.part, piece.rows[sources[start:stop] - piece.start], start, stop))
    return found

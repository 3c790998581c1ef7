"""Records that cannot be delivered: what stands in their place, as a function of the batch alone, and the list of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, StreamloadError
from streamload.source import Fault

RAISE, SUBSTITUTE, SKIP = "raise", "substitute", "skip"
POLICIES = (RAISE, SUBSTITUTE, SKIP)
MOST_LISTED = 1_000
"""Records that a loader lists; beyond that it only counts."""
MOST_CHARACTERS = 240
"""Of the reason for one."""


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


def none_left(positions: int, epoch: int, row: tuple[int, int, str]) -> CorruptDataError:
    """The error for an epoch of which every record was left out; `row` is the last of them, as `BadRow`."""
    record, _, why = row
    return CorruptDataError(
        f"All {positions:,} records of epoch {epoch:,} were left out, since none can be delivered, so there is nothing to train on. "
        f"The last of them: {why}",
        hint="Check the files, decode= and transform=; loader.bad_records says what was wrong with each, "
        'on_bad_record="raise" stops at the first.',
        records=(record, record + 1),
        epoch=epoch,
    )


def resolve(records: NDArray[np.int64], faults: Sequence[Fault], policy: str, first_row: int = 0) -> tuple[NDArray[np.int64], list[BadRow]]:
    """For each row that a batch still has, the row whose record goes there; and the bad records, in order.

    `records` stand in the rows from `first_row` on, from which the rows that are returned are counted.

    "substitute": the next good record of the batch, after the last the first; "skip": bad rows are left out, all of them if
    need be. Raises the first fault's error where no record is good that could stand in.
    """
    first: dict[int, StreamloadError] = {}
    for fault in faults:
        first.setdefault(fault.row - first_row, fault.error)
    bad = np.zeros(len(records), bool)
    bad[list(first)] = True
    good = np.flatnonzero(~bad)
    if policy == SKIP:
        return good, [BadRow(int(records[row]), -1, _why(first[row])) for row in sorted(first)]
    if not len(good):
        error = first[min(first)]
        kind = type(error)
        raise kind(
            f"None of the {len(records):,} records of a batch can be delivered, so none can stand in. The first: {error.message}",
            hint='Check the files and transform=; on_bad_record="skip" goes on without such batches.',
            **error.details,
        )
    sources = np.arange(len(records))
    after = np.searchsorted(good, np.flatnonzero(bad))
    sources[bad] = good[after % len(good)]
    return sources, [BadRow(int(records[row]), int(records[sources[row]]), _why(first[row])) for row in sorted(first)]


def _why(error: StreamloadError) -> str:
    text = error.message
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


class Slice(Protocol):
    """Neighbouring rows of a batch that have something in common."""

    @property
    def start(self) -> int:
        """The first of them."""
        ...

    @property
    def stop(self) -> int:
        """One after the last."""
        ...


S = TypeVar("S", bound=Slice)


def remap_slices(slices: Sequence[S], sources: NDArray[np.int64]) -> Iterator[tuple[S, NDArray[np.int64], int, int]]:
    """Where the rows of slices stand in a batch whose row k now holds what was to go to row `sources[k]`.

    `slices` rise and do not overlap. Yields, in the order of the new rows: a slice, which of its own rows (counted from its
    start) now stand in neighbouring rows of the batch, and the first and one after the last of these. A slice may come
    several times, or not at all.
    """
    if not slices:
        return
    which = np.searchsorted(np.array([one.stop for one in slices]), sources, side="right")
    starts = np.array([one.start for one in slices] + [len(sources) and int(sources.max()) + 1])
    which[sources < starts[which]] = -1
    borders = np.flatnonzero(np.diff(which)) + 1
    for start, stop in zip([0, *borders.tolist()], [*borders.tolist(), len(sources)], strict=True):
        if start < stop and which[start] >= 0:
            one = slices[int(which[start])]
            yield one, sources[start:stop] - one.start, start, stop

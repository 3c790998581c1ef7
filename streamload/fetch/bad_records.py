"""Records that cannot be delivered (`on_bad_record=`): what stands in their place, which depends on the batch alone, and the list of
them that a loader keeps."""

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
"""Records that a loader lists; further ones are only counted."""
MOST_CHARACTERS = 240
"""Characters of the reason that is given for one record."""


class BadRow(NamedTuple):
    """A record of a step that could not be delivered, as a worker reports it."""

    record: int
    by: int
    """The record that is delivered in its place; -1 if it is left out."""
    why: str


class BadRecord(NamedTuple):
    """A record that was left out or replaced in a batch which the user was given (`Loader.bad_records`)."""

    epoch: int
    record: int
    what: str
    """"skipped", or "replaced by record 17"."""
    why: str

    @classmethod
    def of(cls, epoch: int, row: BadRow) -> BadRecord:
        """The entry of the list for a record that a worker reported."""
        return cls(epoch, row.record, "skipped" if row.by < 0 else f"replaced by record {row.by:,}", row.why)


class BadRecordLog:
    """The bad records of a loader: the first `MOST_LISTED` of them, and how many there were."""

    def __init__(self) -> None:
        self.first: list[BadRecord] = []
        self.count = 0

    def note(self, epoch: int, rows: Sequence[BadRow]) -> None:
        """Add those of a batch that the user is being given."""
        self.count += len(rows)
        self.first.extend(BadRecord.of(epoch, row) for row in rows[: MOST_LISTED - len(self.first)])


def none_left(positions: int, epoch: int, row: tuple[int, int, str]) -> CorruptDataError:
    """The error for an epoch of which every record was left out. `row` is the last of them, with the entries of a `BadRow`."""
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
    """Decide what stands in the rows of a batch whose records cannot be delivered. Returns (sources, bad).

    `sources`, of shape (new count,): the new row k takes what is in row `sources[k]`. With "substitute", a bad row takes the next good
    one, and the last good row is followed by the first; with "skip", bad rows are left out, even if no row remains. `bad` are the
    bad records in the order of rows.

    `records` are those of the rows from `first_row` on; `sources` counts rows from there, the faults count them from 0. Raises an
    error of the class of the first fault if no record is good that could be substituted.
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
    """Rows [start, stop) of a batch that have something in common."""

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
    """Where the rows of slices are, after the rows of a batch were changed so that new row k is what was row `sources[k]`.

    `slices` rise and do not overlap. Yields (slice, rows, start, stop) in the order of the new rows: new rows [start, stop) are the
    rows `rows` of that slice, counted from its start. A slice may come several times, or not at all.
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

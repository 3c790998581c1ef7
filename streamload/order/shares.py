"""The share of a step that each rank takes: arithmetic on positions alone, so that ranks need not communicate.

Positions of an epoch of `n` records belong to the `lanes` lanes in turn: each round of `lanes` positions has one of each lane.
Lanes differ in length by at most one record; the longer ones come first in every round, and alone make up the last, short round. So
the number of records that a lane has given is a function of the position (`taken`).

A step of all ranks together covers positions [start, stop). Its records are ordered by lane, and the records of a lane as the lane
has them; this sequence is cut into shares of equal length, one for each rank in the order of ranks. Where a record stands in it is
called its *place* in the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Stretch(NamedTuple):
    """Positions [start, stop) of an epoch of one part, of all lanes and for all ranks."""

    epoch: int
    start: int
    stop: int


class StepPiece(NamedTuple):
    """Positions [start, stop) of one lane in an epoch of one part, counted within the lane."""

    stream: int
    """The number of the part."""
    lane: int
    epoch: int
    start: int
    stop: int


def given_below(position: int, lane: int, lanes: int, n: int) -> int:
    """How many of the first `position` records of an epoch of n are of lanes below `lane`."""
    rounds, turns = divmod(position, lanes)
    rest = n % lanes
    longer = lane * rest // lanes
    return lane * rounds + min(longer, turns) + min(max(turns - rest, 0), lane - longer)


def taken(position: int, lane: int, lanes: int, n: int) -> int:
    """How many of the first `position` records of an epoch of n are of lane `lane`."""
    return given_below(position, lane + 1, lanes, n) - given_below(position, lane, lanes, n)


def lane_length(lane: int, lanes: int, n: int) -> int:
    """How many of the n records are of one lane."""
    return (lane + 1) * n // lanes - lane * n // lanes


def first_position(record: int, lane: int, lanes: int, n: int) -> int:
    """The position in an epoch of n of the record that is number `record` of lane `lane`."""
    rest = n % lanes
    before = lane * rest // lanes
    longer = (lane + 1) * rest // lanes > before
    return record * lanes + (before if longer else rest + lane - before)


def share_rows(size: int, ranks: int) -> int:
    """Rows that every rank has in a step of `size` records: ceil(size / ranks). A rank with fewer records repeats one of them."""
    return -(-size // ranks)


def pieces_between(stream: int, stretches: Sequence[Stretch], *, n: int, lanes: int, low: int, high: int) -> list[StepPiece]:
    """The pieces at places [low, high) of the stretches, which follow each other; each is ordered by lane."""
    pieces: list[StepPiece] = []
    place = 0
    for epoch, start, stop in stretches:
        end = place + stop - start
        if low < end and place < high:
            if lanes == 1:
                pieces.append(StepPiece(stream, 0, epoch, start + max(low - place, 0), start + min(high, end) - place))
            else:
                pieces += _pieces_of_lanes(stream, epoch, start, stop, n, lanes, low - place, high - place)
        place = end
    return pieces


def _pieces_of_lanes(stream: int, epoch: int, start: int, stop: int, n: int, lanes: int, low: int, high: int) -> list[StepPiece]:
    """The pieces at places [low, high) of one stretch [start, stop) of several lanes, in time proportional to the lanes they are of."""
    pieces: list[StepPiece] = []
    low, high = max(low, 0), min(high, stop - start)
    lane = min(max(0, low * lanes // (stop - start) - 1), lanes - 1)
    place = _first_place(start, stop, lane, lanes, n)
    while place > low:
        lane -= 1
        place = _first_place(start, stop, lane, lanes, n)
    while place < high:
        following = _first_place(start, stop, lane + 1, lanes, n)
        a, b = max(low, place), min(high, following)
        if a < b:
            first = taken(start, lane, lanes, n) - place
            pieces.append(StepPiece(stream, lane, epoch, first + a, first + b))
        lane, place = lane + 1, following
    return pieces


def _first_place(start: int, stop: int, lane: int, lanes: int, n: int) -> int:
    """The place at which the records of a lane begin in a step over positions [start, stop)."""
    return given_below(stop, lane, lanes, n) - given_below(start, lane, lanes, n)


def share(start: int, stop: int, *, n: int, lanes: int, rank: int, ranks: int, rows: int | None = None) -> list[StepPiece]:
    """The share of rank `rank` of `ranks` in the step over positions [start, stop) of n, ordered by lane.

    `rows` is the length of a share: the batch size if the last step is filled up to it. By default it is ceil(size / ranks). Where
    the records do not suffice for all shares, the last ranks have fewer, or none.
    """
    rows = share_rows(stop - start, ranks) if rows is None else rows
    return pieces_between(0, [Stretch(0, start, stop)], n=n, lanes=lanes, low=rank * rows, high=(rank + 1) * rows)


def own_lanes(size: int, *, lanes: int, rank: int, ranks: int) -> range:
    """The lanes that a rank takes records of, in steps of `size` records of all ranks; the last step of an epoch may touch others.

    If `lanes` is a multiple of `ranks`, and `size` a multiple of `lanes`, no other rank takes records of these lanes.
    """
    rows = share_rows(size, ranks)
    low, high = rank * rows, min((rank + 1) * rows, size)
    each, over = divmod(size, lanes)
    touched = [
        lane
        for lane in range(lanes)
        if lane * each + max(0, over - (lanes - lane)) < high and low < (lane + 1) * each + min(lane + 1, over)
    ]
    return range(touched[0], touched[-1] + 1) if touched and low < high else range(0)


def shared_lanes(size: int, *, lanes: int, ranks: int) -> int:
    """How many lanes more than one rank takes records of, the last step of an epoch aside. Each of these ranks decodes their blocks."""
    counts = [0] * lanes
    for rank in range(ranks):
        for lane in own_lanes(size, lanes=lanes, rank=rank, ranks=ranks):
            counts[lane] += 1
    return sum(count > 1 for count in counts)

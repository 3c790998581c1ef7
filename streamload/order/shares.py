"""Which part of a step each rank takes: arithmetic on positions alone, so that no rank ever asks another anything.

A step of all ranks together covers positions [start, stop) of an epoch of n. It is laid out lane after lane, and cut into
parts, one a rank. Lanes take turns in giving records: those that have one record more than others come first in each round,
so that they alone have a turn in the last one; what a lane has given is therefore a function of the position that never falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Stretch(NamedTuple):
    """Positions [start, stop) of an epoch of a stream, before they are shared out: all lanes, all ranks."""

    epoch: int
    start: int
    stop: int


class StepPiece(NamedTuple):
    """Positions [start, stop) of one lane in an epoch of a stream."""

    stream: int
    lane: int
    epoch: int
    start: int
    stop: int


def given_below(position: int, lane: int, lanes: int, n: int) -> int:
    """How many of the first `position` records of an epoch of n the lanes below `lane` have given together."""
    rounds, turns = divmod(position, lanes)
    rest = n % lanes
    longer = lane * rest // lanes
    return lane * rounds + min(longer, turns) + min(max(turns - rest, 0), lane - longer)


def taken(position: int, lane: int, lanes: int, n: int) -> int:
    """How many records lane `lane` has given when `position` of the epoch's n records have been given in all."""
    return given_below(position, lane + 1, lanes, n) - given_below(position, lane, lanes, n)


def lane_length(lane: int, lanes: int, n: int) -> int:
    """Records of one lane."""
    return (lane + 1) * n // lanes - lane * n // lanes


def first_position(record: int, lane: int, lanes: int, n: int) -> int:
    """The position of an epoch at which lane `lane` gives its record number `record`, counted in the lane."""
    rest = n % lanes
    before = lane * rest // lanes
    longer = (lane + 1) * rest // lanes > before
    return record * lanes + (before if longer else rest + lane - before)


def part_of(size: int, ranks: int) -> int:
    """Records that every rank delivers of a step of `size`: a rank that has fewer repeats one."""
    return -(-size // ranks)


def cut_out(stream: int, stretches: Sequence[Stretch], *, n: int, lanes: int, low: int, high: int) -> list[StepPiece]:
    """Places [low, high) of stretches that are laid out one after the other, each lane after lane."""
    pieces: list[StepPiece] = []
    place = 0
    for epoch, start, stop in stretches:
        end = place + stop - start
        if low < end and place < high:
            if lanes == 1:
                pieces.append(StepPiece(stream, 0, epoch, start + max(low - place, 0), start + min(high, end) - place))
            else:
                pieces += _cut_lanes(stream, epoch, start, stop, n, lanes, low - place, high - place)
        place = end
    return pieces


def _cut_lanes(stream: int, epoch: int, start: int, stop: int, n: int, lanes: int, low: int, high: int) -> list[StepPiece]:
    """The same of one stretch of several lanes, in time proportional to the lanes that are touched."""
    pieces: list[StepPiece] = []
    low, high = max(low, 0), min(high, stop - start)
    lane = min(max(0, low * lanes // (stop - start) - 1), lanes - 1)
    place = _laid(start, stop, lane, lanes, n)
    while place > low:
        lane -= 1
        place = _laid(start, stop, lane, lanes, n)
    while place < high:
        following = _laid(start, stop, lane + 1, lanes, n)
        a, b = max(low, place), min(high, following)
        if a < b:
            first = taken(start, lane, lanes, n) - place
            pieces.append(StepPiece(stream, lane, epoch, first + a, first + b))
        lane, place = lane + 1, following
    return pieces


def _laid(start: int, stop: int, lane: int, lanes: int, n: int) -> int:
    """At which place of a step over [start, stop) the records of a lane begin."""
    return given_below(stop, lane, lanes, n) - given_below(start, lane, lanes, n)


def share(start: int, stop: int, *, n: int, lanes: int, rank: int, ranks: int, part: int | None = None) -> list[StepPiece]:
    """What rank `rank` of `ranks` takes of the step over positions [start, stop) of n, lane by lane.

    `part` is a rank's batch size where the last step is filled up: parts are then always that long. Otherwise a part is
    ceil(size / ranks): what is short falls to the last ranks.
    """
    part = part_of(stop - start, ranks) if part is None else part
    return cut_out(0, [Stretch(0, start, stop)], n=n, lanes=lanes, low=rank * part, high=(rank + 1) * part)


def own_lanes(size: int, *, lanes: int, rank: int, ranks: int) -> range:
    """The lanes that a rank takes records of in steps of `size` records of all ranks, apart from the last step of an epoch.

    Where lanes are a multiple of ranks, and the size of lanes, these are whole lanes that no other rank takes anything of.
    """
    part = part_of(size, ranks)
    low, high = rank * part, min((rank + 1) * part, size)
    each, over = divmod(size, lanes)
    touched = [
        lane
        for lane in range(lanes)
        if lane * each + max(0, over - (lanes - lane)) < high and low < (lane + 1) * each + min(lane + 1, over)
    ]
    return range(touched[0], touched[-1] + 1) if touched and low < high else range(0)


def shared_lanes(size: int, *, lanes: int, ranks: int) -> int:
    """How many lanes more than one rank takes records of, apart from the last step of an epoch: their blocks are decoded by each."""
    counts = [0] * lanes
    for rank in range(ranks):
        for lane in own_lanes(size, lanes=lanes, rank=rank, ranks=ranks):
            counts[lane] += 1
    return sum(count > 1 for count in counts)

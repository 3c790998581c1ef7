"""Shares, lanes, draws and mixtures, slow and in plain Python: the definition that the order room must reproduce to the bit.

Additions to record order, version 1; nothing in it changes (one rank, one lane, no weights, one source: the order of `reference`).

Shares. All ranks see one sequence of global batches. A step of the global batch size B covers positions [p, q) of the epoch,
    q = min(p + B, n). Rank r of R takes `share(p, q, n, lanes, r, R)`: its part of that step, as pieces (lane, start, stop) of lanes.
Lanes. In block order the storage blocks are dealt to L lanes, once for all epochs (`deal`); each lane is a block order of its own,
    with windows of its own, over its own pieces of the file; it has as many windows as the whole would have (`windows_for` of all bytes),
    at most one a piece, so that all lanes together need the memory of one window. A rank whose lanes are its own decodes nothing that another rank
    decodes. After p positions, lane l has given `taken(p, l, L, n)` records: a function of p alone in an epoch of n, which never falls, so a run
    can go on at any position with any number of ranks and any batch size. L is part of the order (and of the state); R is not.
Draws. With weights, an epoch has N draws; draw j falls into the j-th of N equal stretches of the cumulated weights, at a place that
    is drawn for (seed, epoch, j). Draws are in record order, so blocks of records are blocks of draws; orders permute draws
    where they permuted records. Where all weights are equal and N = n nothing is drawn: the order is the plain one. Blocks that no draw
    falls into keep their place without width (what is dealt to a lane hangs on a block's number); lanes are dealt over an epoch's cuts of draws.
Mixtures. Every batch has a fixed number of records of each part; each part runs through epochs of its own, in an order of its own, with a seed
    of its own. An epoch of the mixture ends with the step in which its lead has been seen once: of all parts, the one that needs most steps to
    reach the end of its own epoch from where it stands when the epoch of the mixture begins. In that step the lead is short; the others give
    their full count, and go on into epochs of their own.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, replace

from .reference import Block, Permutation, key, mix32

EXACT, LANES, WEIGHTS, MIXING = 0, 3, 5, 6  # purposes of keys
UNIT = 2**20  # the weight of one draw, in whole numbers


# Lanes


def deal(cuts: list[int], lanes: int) -> list[list[tuple[int, int]]]:
    """The pieces (first record, stop) of each lane, in file order: blocks dealt round by round, each round in an order of its own.

    Every lane has records from all over the file, and n // lanes or one more of them: lane l holds places [l n // L, (l + 1) n // L)
    of the blocks laid one lane after the other, so at most L - 1 blocks are cut in two. It depends on no seed: what a machine keeps
    of its lanes serves every run. A piece weighs its share of its block's bytes, rounded up.
    """
    blocks, n = len(cuts) - 1, cuts[-1]
    hands: list[list[int]] = [[] for _ in range(lanes)]
    for first in range(0, blocks, lanes):
        order = Permutation(lanes, key(0, 0, LANES, first // lanes))
        for k in range(first, min(first + lanes, blocks)):
            hands[order(k - first)].append(k)
    dealt: list[list[tuple[int, int]]] = [[] for _ in range(lanes)]
    lane, place = 0, 0
    for k in (k for hand in hands for k in hand):
        start = cuts[k]
        while start < cuts[k + 1]:
            end = (lane + 1) * n // lanes  # the place at which this lane is full
            if place == end:
                lane += 1
                continue
            stop = min(cuts[k + 1], start + end - place)
            dealt[lane].append((start, stop))
            place += stop - start
            start = stop
    return [sorted(pieces) for pieces in dealt]


def own_seed(words: list[int]) -> int:
    """A seed made of a key."""
    return words[0] | words[1] << 32


class Lane:
    """One lane of a block order: a block order over the lane's pieces. `windows` bounds its memory (`windows_for` its bytes)."""

    def __init__(self, pieces: list[tuple[int, int]], windows: int, seed: int, epoch: int, lane: int, lanes: int):
        self.pieces = pieces
        self.cuts = [0]
        for start, stop in pieces:
            self.cuts.append(self.cuts[-1] + stop - start)
        # The keys of a lane are those of a block order with a seed of its own; of one lane, the seed itself.
        windows = max(1, min(windows, len(pieces)))
        own = seed if lanes == 1 else own_seed(key(seed, lanes, LANES, -1 - lane))
        self.order = Block(self.cuts, windows, own, epoch) if pieces else None  # fewer records than lanes

    def records(self) -> list[int]:
        """The lane's records in the order of an epoch."""
        out = []
        for w in range(self.order.windows if self.order else 0):
            for t in self.order.records_of(w):
                k = bisect.bisect_right(self.cuts, t) - 1
                out.append(self.pieces[k][0] + t - self.cuts[k])
        return out


def taken(position: int, lane: int, lanes: int, n: int) -> int:
    """How many records lane `lane` has given when `position` of the epoch's n records have been given in all.

    Lanes take turns. Those that have one record more than others come first in each round, so that they alone have a turn in the last one.
    """
    rest = n % lanes
    before = lane * rest // lanes  # lanes below this one that have one record more
    longer = (lane + 1) * rest // lanes > before
    turn = before if longer else rest + lane - before
    return position // lanes + (turn < position % lanes)


# Shares


def share(start: int, stop: int, n: int, lanes: int, rank: int, ranks: int, part: int | None = None) -> list[tuple[int, int, int]]:
    """What rank `rank` of `ranks` takes of the global step over positions [start, stop) of n: pieces (lane, start, stop) of lanes.

    `part` is a rank's batch size where the last step is filled up (`pad_last`): parts are then always that long.

    The step is laid out lane after lane, and cut into parts of ceil(size / R): equal but in the last step of an epoch, whose end falls to
    the last ranks, so that what repeats stands at the end of all ranks' parts put together. Where L is a multiple of R, and B of L, a
    rank takes whole lanes, always the same ones (but in that last step); other numbers are right, and decode some blocks twice.
    """
    part = padded(start, stop, ranks) if part is None else part
    return [piece[1:] for piece in cut_out([(0, start, stop)], n, lanes, rank * part, (rank + 1) * part)]


def cut_out(stretches: list[tuple[int, int, int]], n: int, lanes: int, low: int, high: int) -> list[tuple[int, int, int, int]]:
    """Places [low, high) of stretches (epoch, start, stop) laid out one after the other, each lane after lane: (epoch, lane, start, stop)."""
    pieces, place = [], 0
    for epoch, start, stop in stretches:
        for lane in range(lanes):
            first, last = taken(start, lane, lanes, n), taken(stop, lane, lanes, n)
            a, b = max(low, place), min(high, place + last - first)
            if a < b:
                pieces.append((epoch, lane, first + a - place, first + b - place))
            place += last - first
    return pieces


def padded(start: int, stop: int, ranks: int) -> int:
    """Records that every rank delivers of the step [start, stop).

    A rank that has fewer repeats the last record of its own part of this step, marked as not valid; where its part is empty, the first
    record of the step.
    """
    return -(-(stop - start) // ranks)


# Draws


class Draws:
    """Which record each of N draws of an epoch is. `weights` are at least 0 and not all 0; N defaults to their number.

    The weights are cumulated in order in float64, and scaled so that all are N * UNIT whole numbers: record i owns [edges[i], edges[i + 1]).
    """

    def __init__(self, weights: list[float], seed: int, epoch: int, draws: int | None = None):
        self.n, self.draws = len(weights), len(weights) if draws is None else draws
        self.plain = self.draws == self.n and min(weights) == max(weights)
        assert self.draws * UNIT < 2**53
        total, sums = 0.0, [0.0]
        for weight in weights:
            assert weight >= 0
            total += weight
            sums.append(total)
        assert total > 0
        self.edges = [int(s / total * (self.draws * UNIT)) for s in sums]
        self.words = key(seed, epoch, WEIGHTS, 0)

    def jitter(self, j: int) -> int:
        """Where in its stretch draw j falls: 0 to UNIT - 1."""
        return mix32(mix32((j & 0xFFFFFFFF) ^ self.words[0]) ^ (j >> 32) ^ self.words[1]) >> 12

    def record(self, j: int) -> int:
        if self.plain:
            return j
        return bisect.bisect_right(self.edges, j * UNIT + self.jitter(j)) - 1

    def cuts(self, cuts: list[int]) -> list[int]:
        """Blocks of records as blocks of draws: the first draw whose record is not below each cut."""
        if self.plain:
            return list(cuts)
        out = []
        for cut in cuts:
            j = min(self.edges[cut] // UNIT, self.draws)
            while j < self.draws and self.record(j) < cut:
                j += 1
            out.append(j)
        return out


# Mixtures


def part_seed(seed: int, part: int) -> int:
    """The seed of a part of a mixture, by its number in the order given."""
    return own_seed(key(seed, part, MIXING, 0))


@dataclass(frozen=True)
class Part:
    """Positions of an epoch of one part, its lanes, and how many records a rank's batch has of it."""

    n: int
    lanes: int
    count: int


@dataclass(frozen=True)
class Standing:
    """Where a mixture stands: its epoch, which part leads it, and an epoch and a position of each part."""

    epoch: int
    lead: int
    places: tuple[tuple[int, int], ...]


def lead_of(parts: list[Part], places: tuple[tuple[int, int], ...]) -> int:
    """The part that needs most steps to reach the end of its epoch; the first of those that need as many (a count of 0 never leads)."""
    best = None
    for i, (part, (_, position)) in enumerate(zip(parts, places, strict=True)):
        left = part.n - position
        if part.count and (best is None or left * parts[best].count > (parts[best].n - places[best][1]) * part.count):
            best = i
    assert best is not None
    return best


def begin(parts: list[Part]) -> Standing:
    """Before the first step."""
    places = ((0, 0),) * len(parts)
    return Standing(0, lead_of(parts, places), places)


def next_epoch(parts: list[Part], at: Standing) -> Standing:
    """The begin of the next epoch: the lead begins an epoch of its own, the others stand where they stood."""
    places = tuple((e + 1, 0) if i == at.lead else (e, p) for i, (e, p) in enumerate(at.places))
    return Standing(at.epoch + 1, lead_of(parts, places), places)


def mixed_step(
    parts: list[Part], at: Standing, ranks: int, drop_last: bool = False
) -> tuple[list[list[tuple[int, int, int]]], Standing] | None:
    """Of each part, the stretches (epoch, start, stop) that all ranks together take next, and where the mixture then stands; None at its end."""
    lead = parts[at.lead]
    left = lead.n - at.places[at.lead][1]
    if left <= 0 or (drop_last and left < lead.count * ranks):
        return None
    given, places = [], list(at.places)
    for i, part in enumerate(parts):
        stretches, need = [], part.count * ranks
        epoch, position = places[i]
        while need:
            stop = min(position + need, part.n)
            stretches.append((epoch, position, stop))
            need -= stop - position
            position = stop
            if i == at.lead:
                break  # It is short in the last step.
            if position == part.n:
                epoch, position = epoch + 1, 0
        places[i] = (epoch, position)
        given.append(stretches)
    return given, replace(at, places=tuple(places))


def mixed_share(
    part: Part, stretches: list[tuple[int, int, int]], rank: int, ranks: int, pad_last: bool = False
) -> list[tuple[int, int, int, int]]:
    """What a rank takes of a part's stretches: pieces (epoch, lane, start, stop)."""
    size = sum(stop - start for _, start, stop in stretches)
    each = part.count if pad_last else -(-size // ranks)
    return cut_out(stretches, part.n, part.lanes, rank * each, (rank + 1) * each)

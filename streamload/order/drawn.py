"""Orders over draws in place of records: what they permute is the number of a draw, and a draw is a record by its weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.order.block_shuffle import assign_blocks
from streamload.order.digests import digest_of, within
from streamload.order.lanes import lane_pieces, lane_seed, lane_sequence, windows_of_lane
from streamload.order.layout import Layout, least_block_nbytes, strata_of, windows_for
from streamload.order.permutation import WINDOW, Permutation, key
from streamload.order.sequential_blocks import IdentityPermutation, SequentialBlockOrder
from streamload.order.weights import UNIT, WeightedDraws, Weights
from streamload.order.window_table import Pieces, WindowPermutation, WindowTable
from streamload.reuse.lru import LRU


def layout_of_draws(layout: Layout, draws: int) -> Layout:
    """What an order of draws needs to know: their number, and whether single records are cheap. No subset, no blocks."""
    return Layout(
        n=draws,
        file_starts=np.array([0, draws], np.int64),
        cuts=None,
        block_nbytes=None,
        record_nbytes=layout.record_nbytes,
        addressable=layout.addressable,
    )


class _Base(Protocol):
    @property
    def mode(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]: ...


class DrawnOrder:
    """An order without windows over draws: exact, sequential, or the user's own, which then permutes draws."""

    table_nbytes = 0

    def __init__(self, base: _Base, layout: Layout, weights: Weights, *, seed: int) -> None:
        self.base = base
        """The order of the draws' numbers: bound to `layout_of_draws`."""
        self.layout = layout
        self.weights = weights
        self.seed = seed
        self.mode = base.mode
        self.n = base.n
        self.fingerprint = digest_of("drawn", base.fingerprint, layout.indices)
        """Knows the order of draws, and the subset; the weights have a digest of their own."""
        self._draws = LRU[int, WeightedDraws](limit=2)

    def _made_draws(self, epoch: int) -> WeightedDraws:
        return self.weights.epoch(self.seed, epoch)

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch."""
        draws = self.base.records(epoch, start, stop)
        return self.layout.records(self._draws.get(epoch, self._made_draws).ranks(draws))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawnPieces:
    """What a lane goes through in one epoch: which draws fall to each piece, and which ranks it must hold for them."""

    pieces: Pieces
    """The ranks from the first to the last that are drawn of each, shape (pieces,)."""
    firsts: NDArray[np.int64]
    """The first draw of each piece."""
    counts: NDArray[np.int64]
    """How many draws it has."""
    draws: WeightedDraws

    def ranks(self, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rank that each draw is."""
        return self.draws.ranks(draws)


class DrawnBlocks:
    """The blocks of a layout as blocks of draws, epoch by epoch, dealt to lanes: what all lanes of one order share."""

    def __init__(self, layout: Layout, weights: Weights, *, seed: int, window_nbytes: int, lanes: int) -> None:
        self.layout = layout
        self.weights = weights
        self.seed = seed
        self.lanes = lanes
        self.cuts, self.nbytes = layout.blocks(least_block_nbytes(window_nbytes))
        self.windows = windows_for(self.nbytes, window_nbytes)
        """Windows of the whole: by stored bytes, whatever is drawn."""
        self.sequence = lane_sequence(len(self.nbytes), lanes)
        self.fingerprint = digest_of("drawn block", layout.indices, self.cuts, self.windows, lanes)
        """As that of a block order; the weights have a digest of their own."""
        self._epochs = LRU[int, list[DrawnPieces]](limit=2)

    def of_epoch(self, epoch: int) -> list[DrawnPieces]:
        """The pieces of each lane in an epoch."""
        return self._epochs.get(epoch, self._made)

    def _made(self, epoch: int) -> list[DrawnPieces]:
        draws = self.weights.epoch(self.seed, epoch)
        return [drawn_pieces(lane, draws) for lane in lane_pieces(draws.cuts(self.cuts), self.sequence, self.lanes)]

    @cached_property
    def most_pieces(self) -> list[int]:
        """The most pieces that each lane has in any epoch."""
        if self.weights.edges is None:
            return [len(lane.firsts) for lane in lane_pieces(self.cuts, self.sequence, self.lanes)]
        owned = np.diff(self.weights.edges[self.cuts])[self.sequence]
        below = self.weights.edges[self.cuts] // UNIT
        fewest = np.maximum(np.diff(below)[self.sequence] - 1, 0)[owned > 0]
        if self.lanes == 1:
            return [len(fewest)]
        # A lane has so many draws; how many blocks in a row may lie between its ends, if each has as few draws as it can?
        ends = np.cumsum(fewest)
        most: list[int] = []
        for lane in range(self.lanes):
            count = (lane + 1) * self.weights.draws // self.lanes - lane * self.weights.draws // self.lanes
            last = np.minimum(ends.searchsorted(ends + count, "right"), len(ends) - 1)
            most.append(min(count, int((last - np.arange(len(ends))).max(initial=0)) + 1))
        return most

    @property
    def steady(self) -> bool:
        """Whether every epoch has the same pieces: one lane, and in each block either always a draw or never."""
        if self.weights.edges is None:
            return True
        edges = self.weights.edges[self.cuts]
        return self.lanes == 1 and bool(((np.diff(edges) == 0) | (np.diff(edges // UNIT) > 1)).all())


def drawn_pieces(lane: Pieces, draws: WeightedDraws) -> DrawnPieces:
    """Pieces of draws, with the ranks that they must hold."""
    firsts, counts = lane.firsts, lane.stops - lane.firsts
    held = Pieces(firsts=draws.ranks(firsts), stops=draws.ranks(lane.stops - 1) + 1, blocks=lane.blocks)
    return DrawnPieces(pieces=held, firsts=firsts, counts=counts, draws=draws)


class DrawnLane:
    """One lane of a block order over draws: its blocks, and how many of its windows there are, may differ from epoch to epoch."""

    mode = "block"

    def __init__(self, blocks: DrawnBlocks, lane: int) -> None:
        self.blocks = blocks
        self.layout = blocks.layout
        self.lane = lane
        self.block_cuts = blocks.cuts
        self.seed = lane_seed(blocks.seed, lane, blocks.lanes)
        draws = blocks.weights.draws
        self.n = (lane + 1) * draws // blocks.lanes - lane * draws // blocks.lanes
        self.most_pieces = blocks.most_pieces[lane]
        self.windows = windows_of_lane(blocks.windows, self.most_pieces)
        """The most windows of any epoch."""
        self._tables = LRU[int, WindowTable](limit=2)

    @property
    def fingerprint(self) -> str:
        """That of all lanes, and which this is."""
        return digest_of(self.blocks.fingerprint, self.lane)

    @property
    def strata(self) -> int:
        """The most blocks that a window holds."""
        return -(-self.most_pieces // self.windows) if self.windows else 0

    @property
    def most_window_records(self) -> int:
        """No window of any epoch holds more records: the ranks of its blocks, drawn or not."""
        return self.most_in_window(np.diff(self.block_cuts))

    @property
    def most_window_nbytes(self) -> int:
        """No window of any epoch holds more stored bytes."""
        return self.most_in_window(self.blocks.nbytes)

    def most_in_window(self, amounts: NDArray[np.int64]) -> int:
        """No window of any epoch holds more of what each block has so much of; `amounts` has shape (len(block_cuts) - 1,).

        Exact where all epochs have the same blocks; else what as many of the largest blocks have as a window may hold.
        """
        if not self.strata:
            return 0
        edges = self.blocks.weights.edges
        drawn = amounts if edges is None else amounts[np.diff(edges[self.block_cuts]) > 0]
        if self.blocks.steady and self.blocks.lanes == 1:
            return int(np.maximum.reduceat(drawn, strata_of(len(drawn), self.windows)[:-1]).sum())
        return int(np.sort(drawn)[-self.strata :].sum())

    def most_touched(self, count: int, *, goes_on: bool) -> int:
        """Two: a window of draws is opened only where it has at least as many positions as a step takes."""
        return min(self.windows + goes_on, 2)

    @property
    def table_nbytes(self) -> int:
        """Bytes of one epoch's table."""
        return 8 * (2 + 6 * self.most_pieces + 2 * (self.windows + 1))

    def write_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """Work out the table of an epoch into the caller's memory, shape (table_nbytes / 8,)."""
        drawn = self.blocks.of_epoch(epoch)[self.lane]
        count = len(drawn.firsts)
        words[0], words[1] = count, windows_of_lane(self.blocks.windows, count)
        assert drawn.pieces.blocks is not None
        for place, values in enumerate((drawn.pieces.firsts, drawn.pieces.stops, drawn.pieces.blocks, drawn.firsts, drawn.counts)):
            words[2 + place * count : 2 + (place + 1) * count] = values
        blocks, starts, block_starts = self._arrays(words)
        windows = int(words[1])
        assign_blocks(self.seed, epoch, strata_of(count, windows), windows, blocks, block_starts)
        below = np.zeros(count + 1, np.int64)
        np.cumsum(drawn.counts[blocks], out=below[1:])
        starts[:] = below[block_starts]
        return self.read_table(epoch, words)

    def _arrays(self, words: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Blocks, starts and block starts of a table."""
        count, windows = int(words[0]), int(words[1])
        rest = words[2 + 5 * count :]
        return rest[:count], rest[count : count + windows + 1], rest[count + windows + 1 : count + 2 * (windows + 1)]

    def read_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """The table that was written there."""
        firsts, stops, blocks, draw_firsts, counts = words[2 : 2 + 5 * int(words[0])].reshape(5, -1)
        draw = DrawnPieces(
            pieces=Pieces(firsts=firsts, stops=stops, blocks=blocks),
            firsts=draw_firsts,
            counts=counts,
            draws=self.blocks.weights.epoch(self.blocks.seed, epoch),
        )
        held, starts, block_starts = self._arrays(words)
        return WindowTable(self, pieces=draw.pieces, epoch=epoch, blocks=held, starts=starts, block_starts=block_starts, draw=draw)

    def _made_table(self, epoch: int) -> WindowTable:
        return self.write_table(epoch, np.empty(self.table_nbytes // 8, np.int64))

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of the lane in an epoch."""
        within(start, stop, self.n)
        return self._tables.get(epoch, self._made_table).records(start, stop)

    def permutation(self, epoch: int, window: int, count: int) -> Permutation:
        """From positions of a window of `count` draws to draws among them."""
        return Permutation(count, key(self.seed, epoch, WINDOW, window))


class DrawnRuns:
    """Stored order over draws where blocks must be decoded: windows of neighbours, as without weights; some may have no draw."""

    mode = "sequential"

    def __init__(self, layout: Layout, weights: Weights, *, seed: int) -> None:
        self.layout = layout
        self.weights = weights
        self.seed = seed
        self.n = weights.draws
        self.plain = SequentialBlockOrder(layout)
        """The same without weights."""
        self.block_cuts = self.plain.block_cuts
        self.windows = self.plain.windows
        self.fingerprint = digest_of("drawn", self.plain.fingerprint)
        """As that of the order without weights; these have a digest of their own."""
        self._draws = LRU[int, WeightedDraws](limit=2)

    @property
    def most_window_records(self) -> int:
        """No window holds more records."""
        return self.plain.most_window_records

    @property
    def most_window_nbytes(self) -> int:
        """No window holds more stored bytes."""
        return self.plain.most_window_nbytes

    def most_in_window(self, amounts: NDArray[np.int64]) -> int:
        """No window holds more of what each block has so much of; `amounts` has shape (blocks,)."""
        return self.plain.most_in_window(amounts)

    def most_touched(self, count: int, *, goes_on: bool) -> int:
        """Two: a window of draws is opened only where it has at least as many positions as a step takes."""
        return min(self.windows + goes_on, 2)

    @property
    def table_nbytes(self) -> int:
        """Bytes of one epoch's table."""
        return 8 * (len(self.block_cuts) + self.windows + 1)

    def write_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """The table of an epoch, in the caller's memory, shape (table_nbytes / 8,)."""
        cuts = self._made_draws(epoch).cuts(self.block_cuts)
        words[: len(cuts)], words[len(cuts) :] = cuts, cuts[self.plain.firsts]
        return self.read_table(epoch, words)

    def read_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """The table that was written there."""
        cuts, starts = words[: len(self.block_cuts)], words[len(self.block_cuts) :]
        kept = np.flatnonzero(np.diff(cuts))
        draw = drawn_pieces(Pieces(firsts=cuts[kept], stops=cuts[kept + 1], blocks=kept), self._made_draws(epoch))
        blocks, block_starts = np.arange(len(kept), dtype=np.int64), kept.searchsorted(self.plain.firsts)
        return WindowTable(self, pieces=draw.pieces, epoch=epoch, blocks=blocks, starts=starts, block_starts=block_starts, draw=draw)

    def _made_draws(self, epoch: int) -> WeightedDraws:
        return self.weights.epoch(self.seed, epoch)

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch."""
        within(start, stop, self.n)
        draws = self._draws.get(epoch, self._made_draws)
        return self.layout.records(draws.ranks(np.arange(start, stop, dtype=np.int64)))

    def permutation(self, epoch: int, window: int, count: int) -> WindowPermutation:
        """From positions of a window to its draws: the same."""
        return IdentityPermutation()

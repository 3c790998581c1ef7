"""The stratified block shuffle, worked out: which blocks a window holds, and in which order their records come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.kernels import permute_kernels
from streamload.order.digests import digest_of, within
from streamload.order.layout import Layout, least_block_nbytes, strata_of, windows_for
from streamload.order.permutation import BLOCKS, TABLE_LIMIT, WINDOW, Permutation, key, keys, radix
from streamload.order.window_table import FixedWindows, Pieces, WindowPermutation, WindowTable
from streamload.reuse.lru import LRU
from streamload.sizes import enough_nbytes, format_nbytes

LEAST_BLOCKS = 64
"""Blocks that a window needs for its batches to look like the whole data, however the data is sorted."""


class WindowedOrder(Protocol):
    """An order that goes through storage a window of pieces at a time: each is needed in one window of an epoch only.

    Pieces are blocks of the layout, or parts of them where a lane ends; in what follows, a block is a piece.
    """

    layout: Layout
    block_cuts: NDArray[np.int64]
    """At which ranks the blocks begin that pieces are made of, the number of ranks last."""
    n: int

    @property
    def windows(self) -> int:
        """How many windows an epoch has."""
        ...

    @property
    def most_window_records(self) -> int:
        """No window of any epoch holds more records."""
        ...

    @property
    def most_window_nbytes(self) -> int:
        """No window of any epoch holds more stored bytes."""
        ...

    def most_in_window(self, amounts: NDArray[np.int64]) -> int:
        """No window of any epoch holds more of what each block has so much of; `amounts` has shape (len(block_cuts) - 1,)."""
        ...

    def most_touched(self, count: int, *, goes_on: bool) -> int:
        """No `count` neighbouring positions of an epoch lie in more windows that are opened; with `goes_on`, nor do so many that
        go on from one epoch into the next."""
        ...

    @property
    def table_nbytes(self) -> int:
        """Bytes of the arrays of one epoch's table."""
        ...

    def write_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """Work out which blocks the windows of an epoch hold, into the caller's memory: `table_nbytes` of it."""
        ...

    def read_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """The table that `write_table` has written there, perhaps in another process."""
        ...

    def permutation(self, epoch: int, window: int, count: int) -> WindowPermutation:
        """From positions of a window that holds `count` records to rows among them."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lane:
    """What one lane of a block order goes through."""

    pieces: Pieces
    block_cuts: NDArray[np.int64]
    """At which ranks the blocks of the layout begin that pieces are made of."""
    nbytes: NDArray[np.int64]
    """Stored bytes of each piece, shape (pieces,)."""
    windows: int
    number: int
    lanes: int


class BlockOrder(FixedWindows):
    """Stratified block shuffle of one layout: each window takes one block from each stratum, and shuffles their records.

    Strata are equal stretches of the data, so a window looks like the whole of it even where it is sorted. Some strata may
    be a block short of the number of windows: a window can then hold fewer blocks than there are strata, or none.
    Of several lanes this is one: an order of its own over its own blocks, of which a few may be parts of blocks.
    """

    mode = "block"

    def __init__(self, layout: Layout, *, seed: int, window_nbytes: int, lane: Lane | None = None) -> None:
        self.layout = layout
        self.seed = seed
        if lane is None:
            cuts, nbytes = layout.blocks(least_block_nbytes(window_nbytes))
            windows, pieces = windows_for(nbytes, window_nbytes), Pieces(firsts=cuts[:-1], stops=cuts[1:])
            lane = Lane(pieces=pieces, block_cuts=cuts, nbytes=nbytes, windows=windows, number=0, lanes=1)
            self.cuts = cuts
        else:
            self.cuts = np.zeros(len(lane.nbytes) + 1, np.int64)
            """The positions, of the lane as it is stored, at which its blocks begin."""
            np.cumsum(lane.pieces.stops - lane.pieces.firsts, out=self.cuts[1:])
        self.lane = lane
        self.n = int(self.cuts[-1])
        """Positions of an epoch."""
        self.pieces, self.block_cuts, self.block_nbytes, self.windows = lane.pieces, lane.block_cuts, lane.nbytes, lane.windows
        self.low = strata_of(len(self.block_nbytes), self.windows)
        self._tables = LRU[int, WindowTable](limit=2)
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """Changes with the cuts, the windows, the lanes and the subset: with whatever the order depends on, but seed and epoch."""
        if self._fingerprint is None:
            where = () if self.lane.lanes == 1 else (self.lane.number, self.pieces.firsts)
            self._fingerprint = digest_of(self.mode, self.layout.indices, self.block_cuts, self.windows, self.lane.lanes, *where)
        return self._fingerprint

    @property
    def strata(self) -> int:
        """The most blocks that a window holds."""
        return len(self.low) - 1

    @property
    def most_window_records(self) -> int:
        """No window of any epoch holds more records."""
        return int(np.maximum.reduceat(np.diff(self.cuts), self.low[:-1]).sum()) if self.strata else 0

    def most_touched(self, count: int, *, goes_on: bool) -> int:
        """No `count` neighbouring positions of an epoch lie in more windows; with `goes_on`, nor do so many that go on from one
        epoch into the next. Windows that hold no record are not counted."""
        widths = np.diff(self.cuts)
        full = np.minimum.reduceat(widths, self.low[:-1])[np.diff(self.low) == self.windows] if self.strata else widths
        if full.sum() > count - 2:
            return min(self.windows * (1 + goes_on), min(count, 2))  # No window lies between the first and the last.
        fewest = fewest_records(widths, self.low, self.windows)
        if not goes_on:
            return min(self.windows, count, 1 + int(fewest.searchsorted(count - 2, "right")))
        between = np.arange(2 * self.windows + 1)
        # Of two epochs as many as of one hold the fewest records together: `fewest` grows faster and faster.
        both = fewest[between // 2] + fewest[between - between // 2]
        return min(2 * self.windows, count, 1 + int(both.searchsorted(count - 2, "right")))

    @property
    def most_window_nbytes(self) -> int:
        """No window of any epoch holds more stored bytes."""
        return self._most(self.block_nbytes)

    def most_in_window(self, amounts: NDArray[np.int64]) -> int:
        """No window of any epoch holds more of what each block has so much of; `amounts` has shape (len(block_cuts) - 1,)."""
        return self._most(self.pieces.of_blocks(amounts))

    def _most(self, values: NDArray[np.int64]) -> int:
        return int(np.maximum.reduceat(values, self.low[:-1]).sum()) if self.strata else 0

    def table(self, epoch: int, blocks: NDArray[np.int64], starts: NDArray[np.int64], block_starts: NDArray[np.int64]) -> WindowTable:
        """Work out which blocks the windows of an epoch hold, into the caller's arrays (`empty_table` says their shapes).

        O(blocks) arithmetic, some 5 ns a block, and a microsecond a stratum.
        """
        assign_blocks(self.seed, epoch, self.low, self.windows, blocks, block_starts)
        below = np.zeros(len(blocks) + 1, np.int64)
        np.cumsum(np.diff(self.cuts)[blocks], out=below[1:])
        starts[:] = below[block_starts]
        return WindowTable(self, pieces=self.pieces, epoch=epoch, blocks=blocks, starts=starts, block_starts=block_starts)

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch."""
        within(start, stop, self.n)
        return self._tables.get(epoch, self.made_table).records(start, stop)

    def permutation(self, epoch: int, window: int, count: int) -> Permutation:
        """From positions of a window that holds `count` records to rows among them."""
        return Permutation(count, key(self.seed, epoch, WINDOW, window))

    def advice(self, distinct_labels: int | None) -> str | None:
        """The warning about too few blocks a window; None where there are enough, or where one window holds everything."""
        if self.windows == 1 or self.strata >= blocks_needed(distinct_labels):
            return None
        return window_advice(self.strata, distinct_labels, larger=self._enough(blocks_needed(distinct_labels)))

    def _enough(self, needed: int) -> str | None:
        """A window that mixes so many blocks, or holds all: as blocks of this order are merged then; None for one lane of several."""
        if self.lane.lanes > 1:
            return None
        order, nbytes = self, self.most_window_nbytes
        while order.windows > 1 and order.strata < needed:
            nbytes *= 2
            order = BlockOrder(self.layout, seed=self.seed, window_nbytes=nbytes)
        return enough_nbytes(nbytes)


def fewest_records(widths: NDArray[np.int64], low: NDArray[np.int64], windows: int) -> NDArray[np.int64]:
    """The fewest records that any k windows of an epoch can hold together, for k from 0 to `windows`: shape (windows + 1,).

    `widths` are the records of each block, shape (blocks,); `low` says where strata begin, shape (strata + 1,). A stratum of c
    blocks leaves out `windows - c` windows; all others hold one block of it each, at worst its smallest ones.
    """
    counts = np.diff(low)
    stratum = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((widths, stratum))  # strata stay where they are
    ranks = np.arange(len(widths)) - low[stratum]
    more = np.zeros(windows + 1, np.int64)
    np.add.at(more, 1 + ranks + (windows - counts)[stratum], widths[order])
    return np.cumsum(more)


def assign_blocks(
    seed: int, epoch: int, low: NDArray[np.int64], windows: int, blocks: NDArray[np.int64], block_starts: NDArray[np.int64]
) -> None:
    """Fill in which blocks each window of an epoch holds: one of each stratum [low[s], low[s + 1]), as far as they go round."""
    a, b = radix(windows) if windows > TABLE_LIMIT else (0, 0)
    stratum_keys = keys(seed, epoch, BLOCKS, len(low) - 1)
    low = np.require(low, requirements="W")  # In a worker it is a view of memory that it may not write to.
    permute_kernels().window_blocks(windows, TABLE_LIMIT, a, b, low, stratum_keys, block_starts, blocks)


def blocks_needed(distinct_labels: int | None) -> int:
    """How many blocks a window is to mix; `distinct_labels` is None where the data has no labels that could be counted."""
    return max(LEAST_BLOCKS, 3 * (distinct_labels or 0))


def window_advice(blocks_per_window: int, distinct_labels: int | None, *, larger: str | None = None) -> str | None:
    """The warning for windows of too few blocks, or None; `larger` is a window that would hold enough, where that is known."""
    needed = blocks_needed(distinct_labels)
    if blocks_per_window >= needed:
        return None
    window = f'shuffle=Block(window="{larger}")' if larger else "window= of Block"
    seen = (
        f"if the data is sorted by label, a window sees at most {min(blocks_per_window, distinct_labels):,} of {distinct_labels:,} labels"
        if distinct_labels
        else "if the data is sorted, a window sees only as many stretches of it"
    )
    return (
        f"A window mixes only {blocks_per_window:,} blocks, where {needed:,} are needed: {seen}, and training may fail. "
        f"Give a larger window ({window}), write smaller chunks (`streamload convert --chunk-records`), "
        "or shuffle the file once (`streamload convert --shuffle`)."
    )


def window_beyond_memory(window_nbytes: int, *, needed_nbytes: int, memory_nbytes: int, fitting: str | None) -> ConfigError:
    """The error for windows that do not fit the memory that the loader may use; `needed_nbytes` is what would suffice.

    `fitting` is a window that would fit; None where none does that holds a block.
    """
    window, needed, memory = map(format_nbytes, (window_nbytes, needed_nbytes, memory_nbytes))
    smaller = f'shuffle=Block(window="{fitting}")' if fitting else "write smaller blocks with `streamload convert --chunk-records`"
    return ConfigError(
        f'Windows of {window} need {needed} in all, and memory="{memory}" is less.',
        hint=f'Give memory="{enough_nbytes(needed_nbytes)}", or {smaller}.',
    )

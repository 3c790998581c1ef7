"""The stratified block shuffle, worked out: which blocks a window holds, and in which order their records are dealt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.kernels import permute_kernels
from streamload.order.digests import digest_of, within
from streamload.order.layout import Layout, least_block_nbytes, strata_of, windows_for
from streamload.order.permutation import BLOCKS, LRU, TABLE_LIMIT, WINDOW, Permutation, key, keys, radix
from streamload.sizes import enough_nbytes, format_nbytes

LEAST_BLOCKS = 64
"""Blocks that a window needs for its batches to look like the whole data, however the data is sorted."""


class WindowPermutation(Protocol):
    """From positions of a window to rows among its held records."""

    def forward(self, start: int, stop: int) -> NDArray[np.int64]:
        """The rows at positions [start, stop)."""
        ...


class WindowedOrder(Protocol):
    """An order that goes through storage a window of blocks at a time: each block is needed in one window of an epoch only."""

    layout: Layout
    cuts: NDArray[np.int64]
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
    def least_window_records(self) -> int:
        """Every window of any epoch but the last holds at least as many records; 0 where some may hold none."""
        ...

    @property
    def most_window_nbytes(self) -> int:
        """No window of any epoch holds more stored bytes."""
        ...

    def most_in_window(self, weights: NDArray[np.int64]) -> int:
        """No window of any epoch holds more of what each block has so much of; `weights` has shape (blocks,)."""
        ...

    @property
    def table_nbytes(self) -> int:
        """Bytes of the arrays of one epoch's table."""
        ...

    def empty_table(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Arrays for `table` to fill."""
        ...

    def table(self, epoch: int, blocks: NDArray[np.int64], starts: NDArray[np.int64], block_starts: NDArray[np.int64]) -> WindowTable:
        """Work out which blocks the windows of an epoch hold."""
        ...

    def block_records(self, block: int) -> NDArray[np.int64]:
        """The record numbers of a block."""
        ...

    def dealt(self, epoch: int, window: int, count: int) -> WindowPermutation:
        """From positions of a window that holds `count` records to rows among them."""
        ...


class BlockOrder:
    """Stratified block shuffle of one layout: each window takes one block from each stratum, and shuffles their records.

    Strata are equal stretches of the data, so a window looks like the whole of it even where it is sorted. Some strata may
    be a block short of the number of windows: a window can then hold fewer blocks than there are strata, or none.
    """

    mode = "block"

    def __init__(self, layout: Layout, *, seed: int, window_nbytes: int) -> None:
        self.layout = layout
        self.seed = seed
        self.n = layout.n
        """Positions of an epoch."""
        self.cuts, self.block_nbytes = layout.blocks(least_block_nbytes(window_nbytes))
        self.windows = windows_for(self.block_nbytes, window_nbytes)
        self.low = strata_of(len(self.block_nbytes), self.windows)
        self.fingerprint = digest_of(self.mode, layout.indices, self.cuts, self.windows, 1)
        """Changes with the cuts, the windows, the lanes and the subset: with whatever the order depends on, but seed and epoch."""
        self._tables = LRU[WindowTable](limit=2)

    @property
    def strata(self) -> int:
        """The most blocks that a window holds."""
        return len(self.low) - 1

    @property
    def most_window_records(self) -> int:
        """No window of any epoch holds more records."""
        return int(np.maximum.reduceat(np.diff(self.cuts), self.low[:-1]).sum()) if self.strata else 0

    @property
    def least_window_records(self) -> int:
        """Every window of any epoch holds at least as many records; 0 where some may hold none."""
        if not self.strata:
            return 0
        fewest = np.minimum.reduceat(np.diff(self.cuts), self.low[:-1])
        return int(fewest[np.diff(self.low) == self.windows].sum())

    @property
    def most_window_nbytes(self) -> int:
        """No window of any epoch holds more stored bytes."""
        return self.most_in_window(self.block_nbytes)

    def most_in_window(self, weights: NDArray[np.int64]) -> int:
        """No window of any epoch holds more of what each block has so much of; `weights` has shape (blocks,)."""
        return int(np.maximum.reduceat(weights, self.low[:-1]).sum()) if self.strata else 0

    @property
    def table_nbytes(self) -> int:
        """Bytes of the arrays of one epoch's table."""
        return 8 * (len(self.block_nbytes) + 2 * (self.windows + 1))

    def empty_table(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Arrays for `table` to fill: blocks (blocks,), starts (windows + 1,), block_starts (windows + 1,)."""
        return np.empty(len(self.block_nbytes), np.int64), np.empty(self.windows + 1, np.int64), np.empty(self.windows + 1, np.int64)

    def table(self, epoch: int, blocks: NDArray[np.int64], starts: NDArray[np.int64], block_starts: NDArray[np.int64]) -> WindowTable:
        """Work out which blocks the windows of an epoch hold, into the caller's arrays (`empty_table` says their shapes).

        O(blocks) arithmetic, some 5 ns a block, and a microsecond a stratum.
        """
        a, b = radix(self.windows) if self.windows > TABLE_LIMIT else (0, 0)
        stratum_keys = keys(self.seed, epoch, BLOCKS, self.strata)
        low = np.require(self.low, requirements="W")  # In a worker it is a view of memory that it may not write to.
        permute_kernels().window_blocks(self.windows, TABLE_LIMIT, a, b, low, stratum_keys, block_starts, blocks)
        below = np.zeros(len(blocks) + 1, np.int64)
        np.cumsum(np.diff(self.cuts)[blocks], out=below[1:])
        starts[:] = below[block_starts]
        return WindowTable(self, epoch=epoch, blocks=blocks, starts=starts, block_starts=block_starts)

    def _made_table(self, epoch: int) -> WindowTable:
        return self.table(epoch, *self.empty_table())

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of an epoch."""
        within(start, stop, self.n)
        return self._tables.get(epoch, self._made_table).records(start, stop)

    def block_records(self, block: int) -> NDArray[np.int64]:
        """The record numbers of a block, in the order in which a window holds them."""
        return self.layout.records(np.arange(self.cuts[block], self.cuts[block + 1]))

    def dealt(self, epoch: int, window: int, count: int) -> Permutation:
        """From positions of a window that holds `count` records to rows among them."""
        return Permutation(count, key(self.seed, epoch, WINDOW, window))

    def advice(self, distinct_labels: int | None) -> str | None:
        """The warning about too few blocks a window; None where there are enough, or where one window holds everything."""
        return window_advice(self.strata, distinct_labels) if self.windows > 1 else None


class WindowTable:
    """One epoch of a block order: where its windows lie, and what they hold.

    The three arrays may be shared with other processes: nothing here writes to them.
    """

    def __init__(
        self,
        order: WindowedOrder,
        *,
        epoch: int,
        blocks: NDArray[np.int64],
        starts: NDArray[np.int64],
        block_starts: NDArray[np.int64],
    ) -> None:
        self.order = order
        self.epoch = epoch
        self.blocks = blocks
        """Every block once, window after window, in stratum order within each."""
        self.starts = starts
        """Positions at which windows begin, n last, shape (windows + 1,)."""
        self.block_starts = block_starts
        """Where each window's blocks begin in `blocks`, shape (windows + 1,)."""
        self._windows = LRU[_Window](limit=3)
        self._found = (0, 0, 0)
        """Of the window that was last asked for, its positions [start, stop) and its number: most steps ask for it again."""
        self._dealt: tuple[tuple[int, int, int], NDArray[np.int64]] = (0, 0, 0), np.empty(0, np.int64)
        """What was last dealt: a step asks once for its records, and once for their places."""

    def window_of(self, position: int) -> int:
        """The window that holds a position; the number of windows for position n."""
        start, stop, window = self._found
        if not start <= position < stop:
            window = int(self.starts.searchsorted(position, "right")) - 1
            if window + 1 < len(self.starts):
                self._found = int(self.starts[window]), int(self.starts[window + 1]), window
        return window

    def blocks_of(self, window: int) -> NDArray[np.int64]:
        """The blocks of a window, in stratum order."""
        return self.blocks[self.block_starts[window] : self.block_starts[window + 1]]

    def held_starts(self, window: int) -> NDArray[np.int64]:
        """At which row of the window's held records each of its blocks begins, the number of rows last."""
        return self._windows.get(window, self._made_window).held_starts

    def deal(self, window: int, start: int, stop: int) -> NDArray[np.int64]:
        """The rows, among the window's held records, that are delivered at its positions [start, stop).

        Positions here count from the window's first: position p of the epoch is p - starts[window].
        """
        asked, dealt = self._dealt
        if asked != (window, start, stop):
            dealt = self._windows.get(window, self._made_window).dealt.forward(start, stop)
            dealt.setflags(write=False)
            self._dealt = (window, start, stop), dealt
        return dealt

    def held_records(self, window: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The record numbers of rows of the window's held records."""
        held = self._windows.get(window, self._made_window)
        which = held.held_starts.searchsorted(rows, "right") - 1
        return self.order.layout.records(held.shifts[which] + rows)

    def records(self, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of the epoch."""
        pieces: list[NDArray[np.int64]] = []
        while start < stop:
            window = self.window_of(start)
            first, end = int(self.starts[window]), min(stop, int(self.starts[window + 1]))
            pieces.append(self.held_records(window, self.deal(window, start - first, end - first)))
            start = end
        return pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.empty(0, np.int64)])

    def _made_window(self, window: int) -> _Window:
        blocks = self.blocks_of(window)
        firsts = self.order.cuts[blocks]
        held_starts = np.zeros(len(blocks) + 1, np.int64)
        np.cumsum(self.order.cuts[blocks + 1] - firsts, out=held_starts[1:])
        dealt = self.order.dealt(self.epoch, window, int(held_starts[-1]))
        return _Window(held_starts=held_starts, shifts=firsts - held_starts[:-1], dealt=dealt)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Window:
    """What a window holds."""

    held_starts: NDArray[np.int64]
    """At which row each block begins, the number of rows last."""
    shifts: NDArray[np.int64]
    """What to add to a row of a block to have the record's rank."""
    dealt: WindowPermutation
    """From positions of the window to rows."""


def window_advice(blocks_per_window: int, distinct_labels: int | None) -> str | None:
    """The warning for windows of too few blocks, or None. `distinct_labels` is None where the data has no labels that could be counted."""
    needed = max(LEAST_BLOCKS, 3 * (distinct_labels or 0))
    if blocks_per_window >= needed:
        return None
    seen = (
        f"if the data is sorted by label, a window sees at most {min(blocks_per_window, distinct_labels):,} of {distinct_labels:,} labels"
        if distinct_labels
        else "if the data is sorted, a window sees only as many stretches of it"
    )
    return (
        f"A window mixes only {blocks_per_window:,} blocks, where {needed:,} are needed: {seen}, and training may fail. "
        f'Give a larger window (shuffle=Block(window="...")), write smaller chunks (`streamload convert --chunk-records`), '
        "or shuffle the file once (`streamload convert --shuffle`)."
    )


def window_beyond_memory(window_nbytes: int, *, needed_nbytes: int, memory_nbytes: int, fitting_nbytes: int = 0) -> ConfigError:
    """The error for windows that do not fit the memory that the loader may use; `needed_nbytes` is what would suffice.

    `fitting_nbytes` is a window that would fit; 0 where only proportion can tell.
    """
    window, needed, memory = map(format_nbytes, (window_nbytes, needed_nbytes, memory_nbytes))
    share = fitting_nbytes or max(1, memory_nbytes * window_nbytes // max(1, needed_nbytes))
    return ConfigError(
        f'Windows of {window} need {needed} in all, and memory="{memory}" is less.',
        hint=f'Give memory="{enough_nbytes(needed_nbytes)}", or shuffle=Block(window="{format_nbytes(share)}"); '
        "where blocks are then too large for a window, "
        "write smaller ones with `streamload convert --chunk-records`.",
    )

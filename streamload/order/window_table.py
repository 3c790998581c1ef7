"""One epoch of an order by windows: where its windows lie, what they hold, and in which order that is delivered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from streamload.order.layout import Layout
from streamload.reuse.lru import LRU


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pieces:
    """The blocks, or parts of blocks, that an order goes through, in file order: what windows are made of."""

    firsts: NDArray[np.int64]
    """The rank at which each begins, shape (pieces,)."""
    stops: NDArray[np.int64]
    """The rank behind its last, shape (pieces,)."""
    blocks: NDArray[np.int64] | None = None
    """The block of the layout that each is a part of, shape (pieces,); None where pieces are the blocks."""

    def of_blocks(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """What each piece has of what each block has: all of it, also where it is a part; shape (pieces,)."""
        return values if self.blocks is None else values[self.blocks]


class WindowPermutation(Protocol):
    """From positions of a window to rows among its held records."""

    def forward(self, start: int, stop: int) -> NDArray[np.int64]:
        """The rows at positions [start, stop)."""
        ...


class Shuffled(Protocol):
    """What a table asks of its order: record numbers, and in which order the positions of a window come."""

    layout: Layout

    def permutation(self, epoch: int, window: int, count: int) -> WindowPermutation:
        """From positions of a window of `count` to numbers below `count`."""
        ...


class Draw(Protocol):
    """Where records are drawn: how many positions fall to each piece, and which ranks they are."""

    @property
    def firsts(self) -> NDArray[np.int64]:
        """The first draw of each piece, shape (pieces,)."""
        ...

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many draws each piece has, shape (pieces,)."""
        ...

    def ranks(self, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rank that each draw is."""
        ...


class WindowTable:
    """One epoch of a block order: where its windows lie, and what they hold.

    The three arrays may be shared with other processes: nothing here writes to them.
    """

    def __init__(
        self,
        order: Shuffled,
        *,
        pieces: Pieces,
        epoch: int,
        blocks: NDArray[np.int64],
        starts: NDArray[np.int64],
        block_starts: NDArray[np.int64],
        draw: Draw | None = None,
    ) -> None:
        self.order = order
        self.epoch = epoch
        self.pieces = pieces
        """What each block holds."""
        self._draw = draw
        self.blocks = blocks
        """Every block once, window after window, in stratum order within each."""
        self.starts = starts
        """Positions at which windows begin, n last, shape (windows + 1,)."""
        self.block_starts = block_starts
        """Where each window's blocks begin in `blocks`, shape (windows + 1,)."""
        self._windows = LRU[int, _Window](limit=3)
        self._found = (0, 0, 0)
        """Of the window that was last asked for, its positions [start, stop) and its number: most steps ask for it again."""
        self._last_rows: tuple[tuple[int, int, int], NDArray[np.int64]] = (0, 0, 0), np.empty(0, np.int64)
        """What was last asked of `rows_at`: a step asks once for its records, and once for their places."""

    def window_of(self, position: int) -> int:
        """The window that holds a position; the number of windows for position n."""
        start, stop, window = self._found
        if not start <= position < stop:
            window = int(self.starts.searchsorted(position, "right")) - 1
            if window + 1 < len(self.starts):
                self._found = int(self.starts[window]), int(self.starts[window + 1]), window
        return window

    def windows_between(self, start: int, stop: int, *, least: int) -> list[int]:
        """The windows that positions [start, stop) lie in, but for those of fewer than `least` positions."""
        first, last = self.window_of(start), self.window_of(stop - 1)
        if first == last and least <= 1:
            return [first]
        return [window for window in range(first, last + 1) if self.starts[window + 1] - self.starts[window] >= least]

    def blocks_of(self, window: int) -> NDArray[np.int64]:
        """The blocks of a window, in stratum order."""
        return self.blocks[self.block_starts[window] : self.block_starts[window + 1]]

    def block_records(self, block: int) -> NDArray[np.int64]:
        """The record numbers of a block, in the order in which a window holds them."""
        return self.order.layout.records(np.arange(self.pieces.firsts[block], self.pieces.stops[block]))

    def records_of_blocks(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The record numbers of some blocks, each as a window holds them, one block after the other."""
        firsts = self.pieces.firsts[blocks]
        return self.order.layout.records(runs_of(firsts, self.pieces.stops[blocks] - firsts))

    def held_starts(self, window: int) -> NDArray[np.int64]:
        """At which row of the window's held records each of its blocks begins, the number of rows last."""
        return self._windows.get(window, self._made_window).held_starts

    def rows_at(self, window: int, start: int, stop: int) -> NDArray[np.int64]:
        """The rows, among the window's held records, that are delivered at its positions [start, stop).

        Positions here count from the window's first: position p of the epoch is p - starts[window].
        """
        asked, rows = self._last_rows
        if asked != (window, start, stop):
            rows = self._windows.get(window, self._made_window).permutation.forward(start, stop)
            rows.setflags(write=False)
            self._last_rows = (window, start, stop), rows
        return rows

    def held_records(self, window: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The record numbers of rows of the window's held records."""
        held = self._windows.get(window, self._made_window)
        which = rows // held.even if held.even else held.held_starts.searchsorted(rows, "right") - 1
        return self.order.layout.records(held.shifts[which] + rows)

    def records(self, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of the epoch."""
        pieces: list[NDArray[np.int64]] = []
        while start < stop:
            window = self.window_of(start)
            first, end = int(self.starts[window]), min(stop, int(self.starts[window + 1]))
            pieces.append(self.held_records(window, self.rows_at(window, start - first, end - first)))
            start = end
        return pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.empty(0, np.int64)])

    def _made_window(self, window: int) -> _Window:
        blocks, draw = self.blocks_of(window), self._draw
        firsts = self.pieces.firsts[blocks]
        held_starts = _starts(self.pieces.stops[blocks] - firsts)
        count = int(held_starts[-1]) if draw is None else int(self.starts[window + 1] - self.starts[window])
        permutation = self.order.permutation(self.epoch, window, count)
        if draw is not None:
            permutation = _DrawnPermutation(permutation, draw, _starts(draw.counts[blocks]), draw.firsts[blocks], held_starts[:-1] - firsts)
        counts = np.diff(held_starts)
        even = int(counts[0]) if len(counts) and (counts == counts[0]).all() else 0
        return _Window(held_starts=held_starts, even=even, shifts=firsts - held_starts[:-1], permutation=permutation)


def runs_of(firsts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs of numbers one after the other, each of so many from a first one on."""
    if len(firsts) == 1:
        return np.arange(firsts[0], firsts[0] + counts[0])
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(firsts - (ends - counts), counts)


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where stretches of so many begin, one after the other, and their end."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


@dataclass(frozen=True, slots=True, eq=False)
class _DrawnPermutation:
    """From positions of a window to rows among its held records, by way of draws: rows may repeat, or never come."""

    permutation: WindowPermutation
    draw: Draw
    draw_starts: NDArray[np.int64]
    """Where the draws of each block begin, counted in the window."""
    draw_firsts: NDArray[np.int64]
    """The first draw of each block."""
    shifts: NDArray[np.int64]
    """What to add to a rank of each block to have its row."""

    def forward(self, start: int, stop: int) -> NDArray[np.int64]:
        """The rows at positions [start, stop)."""
        places = self.permutation.forward(start, stop)
        which = self.draw_starts.searchsorted(places, "right") - 1
        return self.draw.ranks(places - self.draw_starts[which] + self.draw_firsts[which]) + self.shifts[which]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Window:
    """What a window holds."""

    held_starts: NDArray[np.int64]
    """At which row each block begins, the number of rows last."""
    even: int
    """The records of each block, where all have as many: which block a row is of is then had by a division; 0 where they differ."""
    shifts: NDArray[np.int64]
    """What to add to a row of a block to have the record's rank."""
    permutation: WindowPermutation
    """From positions of the window to rows."""


class FixedWindows(ABC):
    """A base for orders by windows whose blocks, and number of windows, are the same in every epoch."""

    layout: Layout
    pieces: Pieces
    windows: int
    block_nbytes: NDArray[np.int64]
    """Stored bytes of each piece, shape (pieces,)."""

    @property
    def table_nbytes(self) -> int:
        """Bytes of the arrays of one epoch's table."""
        return 8 * (len(self.block_nbytes) + 2 * (self.windows + 1))

    def empty_table(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Arrays for `table` to fill: blocks (blocks,), starts (windows + 1,), block_starts (windows + 1,)."""
        return table_arrays(np.empty(self.table_nbytes // 8, np.int64), self.windows)

    @abstractmethod
    def table(self, epoch: int, blocks: NDArray[np.int64], starts: NDArray[np.int64], block_starts: NDArray[np.int64]) -> WindowTable:
        """Work out which blocks the windows of an epoch hold, into the caller's arrays (`empty_table` says their shapes)."""

    def made_table(self, epoch: int) -> WindowTable:
        """The table of an epoch, in memory of its own."""
        return self.table(epoch, *self.empty_table())

    def write_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """Work out the table of an epoch into the caller's memory, shape (table_nbytes / 8,)."""
        return self.table(epoch, *table_arrays(words, self.windows))

    def read_table(self, epoch: int, words: NDArray[np.int64]) -> WindowTable:
        """The table that was written there, perhaps by another process."""
        blocks, starts, block_starts = table_arrays(words, self.windows)
        return WindowTable(cast("Shuffled", self), pieces=self.pieces, epoch=epoch, blocks=blocks, starts=starts, block_starts=block_starts)

    def block_records(self, block: int) -> NDArray[np.int64]:
        """The record numbers of a block, in the order in which a window holds them."""
        return self.layout.records(np.arange(self.pieces.firsts[block], self.pieces.stops[block]))


def table_arrays(words: NDArray[np.int64], windows: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where the arrays of a table lie in its memory: blocks (the rest,), starts (windows + 1,), block_starts (windows + 1,)."""
    count = windows + 1
    return words[: -2 * count], words[-2 * count : -count], words[-count:]

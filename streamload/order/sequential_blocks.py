"""Stored order over blocks that must be decoded: windows of neighbours, nothing mixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.order.digests import digest_of, within
from streamload.order.layout import Layout, least_block_nbytes
from streamload.order.window_table import FixedWindows, Pieces, WindowTable

RUN_NBYTES = 64 * 1024**2
"""Stored bytes of a window, unless a block is larger: enough to keep every worker busy. It changes no answer."""


class SequentialBlockOrder(FixedWindows):
    """Records as they are stored, a window of neighbouring blocks after another, so that each block is decoded once."""

    mode = "sequential"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.n = layout.n
        self.cuts, self.block_nbytes = layout.blocks(least_block_nbytes(RUN_NBYTES))
        self.block_cuts, self.pieces = self.cuts, Pieces(firsts=self.cuts[:-1], stops=self.cuts[1:])
        self.fingerprint = digest_of(self.mode, layout.indices, layout.n)
        below = np.concatenate([[0], np.cumsum(self.block_nbytes)])
        chain = [0]
        while chain[-1] < len(self.block_nbytes):
            first = chain[-1]
            chain.append(max(first + 1, int(np.searchsorted(below, below[first] + RUN_NBYTES, side="right")) - 1))
        self.firsts = np.asarray(chain, np.int64)
        self.windows = len(self.firsts) - 1

    @property
    def most_window_records(self) -> int:
        """No window holds more records."""
        return int(np.diff(self.cuts[self.firsts]).max(initial=0))

    def most_touched(self, count: int, *, goes_on: bool) -> int:
        """No `count` neighbouring positions lie in more windows; with `goes_on`, nor do so many that go on into the next epoch."""
        starts = self.cuts[self.firsts]
        if goes_on:
            starts = np.concatenate([starts[:-1], starts + self.n])
        # The most windows lie in stretches that begin with the last position of one.
        ends = starts[1:]
        last = np.minimum(ends - 2 + count, starts[-1] - 1)
        return int((starts.searchsorted(last, "right") - np.arange(1, len(starts))).max(initial=0)) + 1

    @property
    def most_window_nbytes(self) -> int:
        """No window holds more stored bytes."""
        return self.most_in_window(self.block_nbytes)

    def most_in_window(self, amounts: NDArray[np.int64]) -> int:
        """No window holds more of what each block has so much of; `amounts` has shape (blocks,)."""
        return int(np.add.reduceat(amounts, self.firsts[:-1]).max(initial=0)) if self.windows else 0

    def table(self, epoch: int, blocks: NDArray[np.int64], starts: NDArray[np.int64], block_starts: NDArray[np.int64]) -> WindowTable:
        """Which blocks the windows hold, in the caller's arrays; every epoch alike."""
        blocks[:] = np.arange(len(blocks))
        block_starts[:] = self.firsts
        starts[:] = self.cuts[self.firsts]
        return WindowTable(self, pieces=self.pieces, epoch=epoch, blocks=blocks, starts=starts, block_starts=block_starts)

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of any epoch."""
        within(start, stop, self.n)
        return self.layout.records(np.arange(start, stop, dtype=np.int64))

    def permutation(self, epoch: int, window: int, count: int) -> IdentityPermutation:
        """From positions of a window to its rows: the same."""
        return IdentityPermutation()


class IdentityPermutation:
    """The permutation that changes nothing."""

    def forward(self, start: int, stop: int) -> NDArray[np.int64]:
        """What stands at positions [start, stop)."""
        return np.arange(start, stop, dtype=np.int64)

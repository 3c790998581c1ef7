"""Records by the storage block that holds them, and the block that was decoded last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Decoded = TypeVar("Decoded")


def by_block(cuts: NDArray[np.int64], records: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.int64]]]:
    """For each block that holds some of the records: its number, which records these are, and where in the block they lie.

    `cuts` are the records at which blocks begin, the number of records last. Blocks come in rising order, and records
    within a block in rising order.
    """
    order = np.argsort(records, kind="stable")
    blocks = np.searchsorted(cuts, records[order], side="right") - 1
    for chosen in np.split(order, np.flatnonzero(np.diff(blocks)) + 1):
        if len(chosen):
            block = int(np.searchsorted(cuts, records[chosen[0]], side="right")) - 1
            yield block, chosen, records[chosen] - cuts[block]


class LastBlock(Generic[Decoded]):
    """What was decoded last, since more records of the same block may be wanted next."""

    def __init__(self) -> None:
        self._kept: tuple[int, Decoded] | None = None

    def held(self, block: int) -> Decoded | None:
        """What was decoded of a block; None where that was not the last."""
        return self._kept[1] if self._kept is not None and self._kept[0] == block else None

    def get(self, block: int, decode: Callable[[int], Decoded]) -> Decoded:
        """What `decode` makes of a block, unless it is at hand.

        The one before is let go of first, and callers do not name it: there may not be memory for two.
        """
        if self._kept is None or self._kept[0] != block:
            self._kept = None
            self._kept = block, decode(block)
        return self._kept[1]

    def keep(self, block: int, decoded: Decoded) -> None:
        """Keep what was decoded elsewhere."""
        self._kept = block, decoded

    def clear(self) -> None:
        """Let go of it."""
        self._kept = None

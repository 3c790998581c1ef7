"""Records by the storage block that holds them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


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

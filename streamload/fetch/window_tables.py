"""Window tables in shared memory, those of two epochs for each lane: computed by the loader's process, read by every worker."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamload.fetch.job import Stream
from streamload.fetch.tasks import LaneKey
from streamload.memory.shared_memory import SharedBlock
from streamload.order import WINDOWED, WindowedOrder, WindowTable


class Tables:
    """The window tables of two successive epochs of one order. Even epochs have the first place in the memory, odd ones the second."""

    def __init__(self, order: WindowedOrder, block: SharedBlock, offset: int = 0) -> None:
        self._order = order
        self._block = block
        self._offset = offset
        self._known: dict[int, WindowTable] = {}

    @classmethod
    def nbytes(cls, order: WindowedOrder) -> int:
        """Bytes that both tables need."""
        return 2 * order.table_nbytes

    def write(self, epoch: int) -> WindowTable:
        """Compute the table of an epoch, in the place of that of two epochs before, which no process may be reading any more."""
        if epoch not in self._known:
            self._known = {known: table for known, table in self._known.items() if known % 2 != epoch % 2}
            self._known[epoch] = self._order.write_table(epoch, self._words(epoch))
        return self._known[epoch]

    def read(self, epoch: int) -> WindowTable:
        """The table of an epoch that has been written. Its arrays share the memory, and change when `write` takes their place."""
        if epoch not in self._known:
            self._known = {known: table for known, table in self._known.items() if known % 2 != epoch % 2}
            self._known[epoch] = self._order.read_table(epoch, self._words(epoch))
        return self._known[epoch]

    def forget(self) -> None:
        """Read tables anew when they are next needed."""
        self._known.clear()

    def _words(self, epoch: int) -> NDArray[np.int64]:
        whole = self._block.bytes[self._offset : self._offset + self.nbytes(self._order)]
        return whole.view(np.int64).reshape(2, -1)[epoch % 2]


LaneTables = dict[LaneKey, Tables]
"""By (stream, lane), the tables of every order that has windows."""


def tables_nbytes(streams: tuple[Stream, ...]) -> int:
    """Bytes that the tables of all lanes need."""
    return sum(Tables.nbytes(order) for _, order in _windowed(streams))


def tables_in(block: SharedBlock | None, streams: tuple[Stream, ...]) -> LaneTables:
    """The tables of all lanes, one after the other in the block; none where there is no block."""
    found: LaneTables = {}
    offset = 0
    for key, order in _windowed(streams) if block is not None else ():
        assert block is not None
        found[key] = Tables(order, block, offset)
        offset += Tables.nbytes(order)
    return found


def _windowed(streams: tuple[Stream, ...]) -> Iterator[tuple[LaneKey, WindowedOrder]]:
    """The orders that have windows and are decoded by windows here, with their stream and lane."""
    for number, stream in enumerate(streams):
        for lane, order in enumerate(stream.lanes):
            if lane in stream.own and isinstance(order, WINDOWED):
                yield (number, lane), order

"""Block tables of two epochs in shared memory, written by the loader and read by every worker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.memory.shared_memory import SharedBlock
from streamload.order import WindowedOrder, WindowTable


class Tables:
    """The tables of an epoch and of the one after it: the parity of an epoch's number says which place is its own."""

    def __init__(self, order: WindowedOrder, block: SharedBlock) -> None:
        self._order = order
        self._block = block
        self._known: dict[int, WindowTable] = {}

    @classmethod
    def nbytes(cls, order: WindowedOrder) -> int:
        """Bytes that both tables need."""
        return 2 * order.table_nbytes

    def write(self, epoch: int) -> WindowTable:
        """Work out the table of an epoch. Nobody may be reading the one that was in its place."""
        if epoch not in self._known:
            self._known = {known: table for known, table in self._known.items() if known % 2 != epoch % 2}
            self._known[epoch] = self._order.write_table(epoch, self._words(epoch))
        return self._known[epoch]

    def read(self, epoch: int) -> WindowTable:
        """The table of an epoch, which has been written."""
        if epoch not in self._known:
            self._known = {known: table for known, table in self._known.items() if known % 2 != epoch % 2}
            self._known[epoch] = self._order.read_table(epoch, self._words(epoch))
        return self._known[epoch]

    def forget(self) -> None:
        """Whatever was written may be written anew."""
        self._known.clear()

    def _words(self, epoch: int) -> NDArray[np.int64]:
        return self._block.bytes[: self.nbytes(self._order)].view(np.int64).reshape(2, -1)[epoch % 2]

"""The record order, version 1: which record stands at each position of an epoch.

Rules of this room:

1. An order is a pure function of (mode, seed, epoch, number of records, cuts). Nothing here knows of workers, ranks, batch
   sizes, memory or clocks, and nothing here keeps state that changes an answer.
2. What version 1 answers is frozen to the bit. A change of any answer, however small, is a new ORDER_VERSION, and the old
   states are then refused. The golden values in the tests are the definition.
3. Every random choice comes from `key(seed, epoch, purpose, index)`. A new use takes a new purpose; none is used twice.
4. Any stretch of positions is worked out by itself, in time proportional to its length: no iterating up to it. In block mode
   that holds within an epoch's table, which costs O(blocks) arithmetic once.
5. How blocks and windows come about belongs to the order (`Layout.blocks`, `windows_for`). Bytes are stored bytes of the
   selected fields. A block larger than the window is an error; nothing is shrunk silently.
6. Within the room everything counts in ranks of the layout; record numbers appear only in what `records`, `held_records` and
   `block_records` return. Without a subset the two are the same.
7. The compiled kernels and the plain ones give the same answers to the bit: which of them is at work is nobody's business.
"""

from __future__ import annotations

from streamload.order.block_shuffle import BlockOrder, WindowedOrder, WindowTable, window_advice, window_beyond_memory
from streamload.order.layout import WINDOW_NBYTES, Layout, layout_of, least_block_nbytes, merged_cuts, restricted, strata_of, windows_for
from streamload.order.orders import (
    Block,
    BoundOrder,
    Custom,
    CustomOrder,
    Exact,
    ExactOrder,
    Order,
    OrderSpec,
    Sequential,
    SequentialOrder,
    choose,
)
from streamload.order.permutation import ORDER_VERSION, TABLE_LIMIT, Permutation, key
from streamload.order.sequential_blocks import SequentialBlockOrder
from streamload.order.subset import subset

WINDOWED = (BlockOrder, SequentialBlockOrder)
"""Orders that go through storage a window of blocks at a time."""

__all__ = [
    "ORDER_VERSION",
    "TABLE_LIMIT",
    "WINDOWED",
    "WINDOW_NBYTES",
    "Block",
    "BlockOrder",
    "BoundOrder",
    "Custom",
    "CustomOrder",
    "Exact",
    "ExactOrder",
    "Layout",
    "Order",
    "OrderSpec",
    "Permutation",
    "Sequential",
    "SequentialBlockOrder",
    "SequentialOrder",
    "WindowTable",
    "WindowedOrder",
    "choose",
    "key",
    "layout_of",
    "least_block_nbytes",
    "merged_cuts",
    "restricted",
    "strata_of",
    "subset",
    "window_advice",
    "window_beyond_memory",
    "windows_for",
]

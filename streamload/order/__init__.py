"""The record order, version 1: which record stands at each position of an epoch.

Rules of this room:

1. An order is a pure function of (mode, seed, epoch, number of records, cuts, lanes, weights). It knows nothing of workers, ranks,
   batch sizes, memory or clocks, and keeps no state that changes an answer. How an epoch is cut into steps, and a step into shares
   of ranks, is arithmetic on positions (`shares`, `steps`), and changes no order.
2. The answers of version 1 are frozen to the bit. A change of any answer, however small, is a new ORDER_VERSION, and the old
   states are then refused. The golden values in the tests are the definition.
3. Every random choice comes from `key(seed, epoch, purpose, index)`. A new use takes a new purpose; none is used twice.
4. Any stretch of positions is computed in time proportional to its length, without those before it. In block mode this holds once
   the table of the epoch is there, which costs O(blocks) arithmetic.
5. How blocks and windows are chosen belongs to the order (`Layout.blocks`, `windows_for`). Bytes are stored bytes of the
   selected fields. A block larger than the window is an error; no block is made smaller silently.
6. Within an order, records are counted by their *rank* in the layout (rank r is the r-th record of a subset; without a subset ranks
   are record numbers), or by draws. Record numbers appear only in what `records`, `held_records` and `block_records` return. In `shares`,
   `steps` and `states` the word means something else: there a rank is a process of a distributed job.
7. The compiled kernels and the plain ones give the same answers to the bit.
"""

from __future__ import annotations

from streamload.order.block_shuffle import BlockOrder, WindowedOrder, window_advice, window_beyond_memory
from streamload.order.drawn import DrawnLane, DrawnOrder, DrawnRuns
from streamload.order.laned import LanedOrder, asked_order, laned_order, part_seed
from streamload.order.lanes import lanes_of
from streamload.order.layout import WINDOW_NBYTES, Layout, layout_of, least_block_nbytes, merged_cuts, restricted, strata_of, windows_for
from streamload.order.orders import (
    Block,
    BoundOrder,
    Custom,
    CustomOrder,
    Exact,
    ExactOrder,
    Listed,
    ListedOrder,
    Order,
    OrderSpec,
    Sequential,
    SequentialOrder,
    choose,
)
from streamload.order.permutation import ORDER_VERSION, TABLE_LIMIT, Permutation, key
from streamload.order.sequential_blocks import SequentialBlockOrder
from streamload.order.shares import StepPiece, Stretch, own_lanes, share, shared_lanes, taken
from streamload.order.states import PartIdentity, Resumed, RunIdentity, read_state, state_lanes, state_of
from streamload.order.steps import (
    PartPosition,
    PartSize,
    PlannedStep,
    RunPosition,
    Segment,
    SharedSteps,
    source_rows,
    step_records,
    valid_rows,
)
from streamload.order.subset import chosen, in_order, rises, subset
from streamload.order.weights import WeightedDraws, Weights, balanced, stretches_of, weights_of
from streamload.order.window_table import WindowTable, runs_of

WINDOWED = (BlockOrder, SequentialBlockOrder, DrawnLane, DrawnRuns)
"""Orders that go through storage a window of blocks at a time."""

DRAWN = (DrawnOrder, DrawnLane, DrawnRuns)
"""Orders of draws by weight."""

__all__ = [
    "DRAWN",
    "ORDER_VERSION",
    "TABLE_LIMIT",
    "WINDOWED",
    "WINDOW_NBYTES",
    "Block",
    "BlockOrder",
    "BoundOrder",
    "Custom",
    "CustomOrder",
    "DrawnLane",
    "DrawnOrder",
    "DrawnRuns",
    "Exact",
    "ExactOrder",
    "LanedOrder",
    "Layout",
    "Listed",
    "ListedOrder",
    "Order",
    "OrderSpec",
    "PartIdentity",
    "PartPosition",
    "PartSize",
    "Permutation",
    "PlannedStep",
    "Resumed",
    "RunIdentity",
    "RunPosition",
    "Segment",
    "Sequential",
    "SequentialBlockOrder",
    "SequentialOrder",
    "SharedSteps",
    "StepPiece",
    "Stretch",
    "WeightedDraws",
    "Weights",
    "WindowTable",
    "WindowedOrder",
    "asked_order",
    "balanced",
    "choose",
    "chosen",
    "in_order",
    "key",
    "laned_order",
    "lanes_of",
    "layout_of",
    "least_block_nbytes",
    "merged_cuts",
    "own_lanes",
    "part_seed",
    "read_state",
    "restricted",
    "rises",
    "runs_of",
    "share",
    "shared_lanes",
    "source_rows",
    "state_lanes",
    "state_of",
    "step_records",
    "strata_of",
    "stretches_of",
    "subset",
    "taken",
    "valid_rows",
    "weights_of",
    "window_advice",
    "window_beyond_memory",
    "windows_for",
]

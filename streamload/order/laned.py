"""The order of one source, epoch after epoch, as one or more lanes, each an order of its own; of records, or of draws by weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.order.block_shuffle import BlockOrder
from streamload.order.digests import digest_of
from streamload.order.drawn import DrawnBlocks, DrawnLane, DrawnOrder, DrawnRuns, layout_of_draws
from streamload.order.lanes import lanes_of
from streamload.order.layout import Layout, restricted
from streamload.order.orders import Block, BoundOrder, Exact, Listed, ListedOrder, OrderSpec, Sequential, choose
from streamload.order.permutation import MIXING, key
from streamload.order.sequential_blocks import SequentialBlockOrder
from streamload.order.subset import chosen, in_order, rises
from streamload.order.weights import Weights


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LanedOrder:
    """The order of one source, cut into lanes. Pickles, its arrays out of band."""

    layout: Layout
    lanes: tuple[BoundOrder, ...]
    """Each a function from positions of the lane in an epoch to records."""
    seed: int
    weights: Weights | None
    """What records are drawn by; None where each comes once."""
    fingerprint: str
    """Equal where equal seeds and weights give equal orders."""

    @property
    def n(self) -> int:
        """Positions of an epoch, over all lanes."""
        return sum(lane.n for lane in self.lanes)

    @property
    def mode(self) -> str:
        """ "exact", "block", "sequential" or "user"."""
        return self.lanes[0].mode

    @property
    def blocks_per_window(self) -> int | None:
        """The blocks that the windows of all lanes mix together; None where there are no windows that mix, or one holds everything."""
        mixing = [lane for lane in self.lanes if isinstance(lane, (BlockOrder, DrawnLane)) and lane.windows > 1]
        return sum(lane.strata for lane in mixing) or None

    def records(self, lane: int, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """The record numbers at positions [start, stop) of a lane in an epoch."""
        return self.lanes[lane].records(epoch, start, stop)


def asked_order(shuffle: object, indices: Any, layout: Layout) -> tuple[OrderSpec, Layout]:
    """The order that `shuffle=` and `indices=` ask for together, and the layout that it is of.

    Record numbers that do not rise are an order of their own: `shuffle=False` keeps it, so that what a model answers can be laid
    beside the list that was given; orders that shuffle take them as a set; an order of the user's own, which counts within
    the subset, is refused, since nobody can tell which counting was meant.
    """
    if indices is None:
        return choose(shuffle, layout), layout
    numbers = chosen(indices, layout.n)
    part = restricted(layout, in_order(numbers))
    spec = choose(shuffle, part)
    if rises(numbers) or isinstance(spec, (Exact, Block)):
        return spec, part
    if isinstance(spec, Sequential):
        return Listed(numbers), layout
    raise ConfigError(
        "indices= are not in rising order, and an order of your own counts within them: its record 0 may be the first or the least.",
        hint="Give np.sort(indices), or an order of record numbers without indices=.",
    )


def laned_order(spec: OrderSpec, layout: Layout, *, seed: int, lanes: int = 1, weights: Weights | None = None) -> LanedOrder:
    """The order that was asked for, of the records of a layout, in so many lanes if it is a block order.

    Raises ConfigError where a block is larger than the window, and for a list of records that are also weighed.
    """
    if weights is None or weights.edges is None:
        return _each_once(spec, layout, seed, lanes)
    if isinstance(spec, Block):
        blocks = DrawnBlocks(layout, weights, seed=seed, window_nbytes=spec.window_nbytes, lanes=lanes)
        drawn = tuple(DrawnLane(blocks, lane) for lane in range(lanes))
        return LanedOrder(layout=layout, lanes=drawn, seed=seed, weights=weights, fingerprint=blocks.fingerprint)
    base = spec.bind(layout_of_draws(layout, weights.draws), seed)
    if isinstance(base, ListedOrder):
        raise ConfigError(
            "weights= and a list of records say the same twice: how often each record comes.",
            hint="Leave weights= out, and repeat records in the list; or give another order.",
        )
    runs = spec.bind(layout, seed) if base.mode == "sequential" else None
    if isinstance(runs, SequentialBlockOrder):
        one = DrawnRuns(layout, weights, seed=seed)
    else:
        one = DrawnOrder(base, layout, weights, seed=seed)
    return LanedOrder(layout=layout, lanes=(one,), seed=seed, weights=weights, fingerprint=one.fingerprint)


def _each_once(spec: OrderSpec, layout: Layout, seed: int, lanes: int) -> LanedOrder:
    """Each record once."""
    if not isinstance(spec, Block) or lanes == 1:
        order = replace(spec, lanes=None).bind(layout, seed) if isinstance(spec, Block) else spec.bind(layout, seed)
        return LanedOrder(layout=layout, lanes=(order,), seed=seed, weights=None, fingerprint=order.fingerprint)
    several = lanes_of(layout, seed=seed, window_nbytes=spec.window_nbytes, lanes=lanes)
    fingerprint = digest_of("lanes", layout.indices, several[0].block_cuts, *(lane.windows for lane in several))
    return LanedOrder(layout=layout, lanes=several, seed=seed, weights=None, fingerprint=fingerprint)


def part_seed(seed: int, part: int) -> int:
    """The seed of a part of a mixture, by its number in the order given."""
    words = key(seed, part, MIXING, 0)
    return int(words[0]) | int(words[1]) << 32

"""Lanes: the blocks of a block order, divided so that a rank which takes the records of one lane decodes the blocks of that lane only.

Every lane has blocks from all over the data. Lanes differ by at most one record in length. Each is a block order of its own, with as many
windows as the undivided order would have, so that all lanes together need the memory of one window. Which blocks a lane has
depends on the number of blocks and lanes alone, not on seed or epoch, so that what a machine has cached of its lanes is of use in every
epoch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamload.order.block_shuffle import BlockOrder, Lane
from streamload.order.layout import Layout
from streamload.order.permutation import LANES, TABLE_LIMIT, key, keys
from streamload.order.window_table import Pieces

_STRETCH = 1 << 16


def lane_sequence(blocks: int, lanes: int) -> NDArray[np.int64]:
    """All blocks, lane after lane, in file order within each: shape (blocks,).

    Each round of `lanes` blocks gives one block to every lane, in a random order of its own; the last round may be short.
    """
    if lanes == 1:
        return np.arange(blocks, dtype=np.int64)
    lane_of = np.empty(-(-blocks // lanes) * lanes, np.int64)
    for first in range(0, len(lane_of), _STRETCH * lanes):
        stretch = lane_of[first : first + _STRETCH * lanes].reshape(-1, lanes)
        stretch[:] = _shuffled_rows(lanes, keys(0, 0, LANES, len(stretch), first=first // lanes))
    return np.argsort(lane_of[:blocks], kind="stable")


def _shuffled_rows(n: int, words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The table of `Permutation(n, words[r])` in each row r, for n up to TABLE_LIMIT: all rows at once. Shape (len(words), n)."""
    assert n <= TABLE_LIMIT
    tables = np.tile(np.arange(n, dtype=np.int64), (len(words), 1))
    rows = np.arange(len(words))
    state = words[:, 0].astype(np.uint64) | words[:, 1].astype(np.uint64) << np.uint64(32)
    for i in range(n - 1, 0, -1):
        state += np.uint64(0x9E3779B97F4A7C15)
        z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        j = (((z >> np.uint64(32)) * np.uint64(i + 1)) >> np.uint64(32)).astype(np.int64)
        tables[rows, j], tables[:, i] = tables[:, i], tables[rows, j]
    return tables


def lane_pieces(cuts: NDArray[np.int64], sequence: NDArray[np.int64], lanes: int) -> list[Pieces]:
    """The pieces of each lane, in file order: lane l holds places [l n // L, (l + 1) n // L) of the blocks laid out in `sequence`.

    At most L - 1 blocks are cut in two, or in more where there are fewer blocks than lanes. Blocks without width are no pieces.
    """
    n = int(cuts[-1])
    ends = np.cumsum(np.diff(cuts)[sequence])
    borders = np.array([lane * n // lanes for lane in range(lanes + 1)], np.int64)
    edges = np.sort(np.concatenate([borders, ends]), kind="stable")  # two stretches that rise: merged in one pass
    edges = edges[np.append(True, np.diff(edges) > 0)]
    places, widths = edges[:-1], np.diff(edges)
    begun = np.searchsorted(ends, places, side="right")
    blocks = sequence[begun]
    firsts = cuts[blocks + 1] - (ends[begun] - places)
    lane_starts = np.searchsorted(places, borders)
    found: list[Pieces] = []
    for lane in range(lanes):
        mine = slice(int(lane_starts[lane]), int(lane_starts[lane + 1]))
        order = np.argsort(firsts[mine], kind="stable")
        first = firsts[mine][order]
        found.append(Pieces(firsts=first, stops=first + widths[mine][order], blocks=blocks[mine][order]))
    return found


def lane_seed(seed: int, lane: int, lanes: int) -> int:
    """The seed of the block order of a lane; of a single lane, the seed itself."""
    if lanes == 1:
        return seed
    words = key(seed, lanes, LANES, -1 - lane)
    return int(words[0]) | int(words[1]) << 32


def lanes_of(layout: Layout, *, seed: int, window_nbytes: int, lanes: int) -> tuple[BlockOrder, ...]:
    """The lanes of a block order, each an order of its own; of one lane, the block order itself."""
    whole = BlockOrder(layout, seed=seed, window_nbytes=window_nbytes)
    if lanes == 1:
        return (whole,)
    cuts, nbytes = whole.block_cuts, whole.block_nbytes
    found: list[BlockOrder] = []
    for number, pieces in enumerate(lane_pieces(cuts, lane_sequence(len(nbytes), lanes), lanes)):
        lane = Lane(
            pieces=pieces,
            block_cuts=cuts,
            nbytes=piece_nbytes(pieces, cuts, nbytes),
            windows=windows_of_lane(whole.windows, len(pieces.firsts)),
            number=number,
            lanes=lanes,
        )
        found.append(BlockOrder(layout, seed=lane_seed(seed, number, lanes), window_nbytes=window_nbytes, lane=lane))
    return tuple(found)


def windows_of_lane(windows: int, pieces: int) -> int:
    """Windows of a lane of so many pieces, where the whole has so many windows."""
    return min(max(1, windows), pieces)


def piece_nbytes(pieces: Pieces, cuts: NDArray[np.int64], nbytes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stored bytes of each piece: its share of its block's, rounded up. `cuts` and `nbytes` are of the blocks."""
    blocks = pieces.blocks if pieces.blocks is not None else np.arange(len(nbytes))
    found, held, width = nbytes[blocks], pieces.stops - pieces.firsts, cuts[blocks + 1] - cuts[blocks]
    for piece in np.flatnonzero(held < width).tolist():
        found[piece] = -(-int(found[piece]) * int(held[piece]) // int(width[piece]))
    return found

"""Lanes of block orders: every record in one lane, each lane a block order, all of them in the memory of one window."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamload.kernels
from streamload.order import Block, BlockOrder, LanedOrder, Layout, PartSize, SharedSteps, laned_order, layout_of
from streamload.order.lanes import lane_sequence, piece_nbytes
from streamload.order.window_table import Pieces

from . import reference, streams_reference
from .test_properties import covers_once, epochs, seeds, storages

MANY = settings(max_examples=100)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    assert streamload.kernels.compile_kernels()


def stream(layout: Layout, window_nbytes: int, lanes: int, seed: int) -> LanedOrder:
    return laned_order(Block(window_nbytes), layout, seed=seed, lanes=lanes)


@MANY
@given(blocks=st.integers(0, 200), lanes=st.one_of(st.integers(1, 12), st.just(300)))
def test_blocks_are_dealt_as_the_definition_says(blocks: int, lanes: int) -> None:
    """Round by round, one to a lane, each round in an order of its own."""
    wanted: list[list[int]] = [[] for _ in range(lanes)]
    for first in range(0, blocks, lanes):
        table = reference.Permutation(lanes, reference.key(0, 0, streams_reference.LANES, first // lanes))
        for k in range(first, min(first + lanes, blocks)):
            wanted[table(k - first)].append(k)
    assert lane_sequence(blocks, lanes).tolist() == [k for lane in wanted for k in lane]


@MANY
@given(storage=storages(most_blocks=15), lanes=st.integers(1, 9), seed=seeds, epoch=epochs)
def test_lanes_follow_the_definition(storage: tuple[Layout, int], lanes: int, seed: int, epoch: int) -> None:
    """Pieces, windows and every record of every lane as the slow reference gives them, for uneven blocks, files and subsets."""
    layout, window_nbytes = storage
    found = stream(layout, window_nbytes, lanes, seed)
    cuts, nbytes = layout.blocks(min(256 * 1024, window_nbytes // 64))
    windows = reference.windows_for(nbytes.tolist(), window_nbytes)
    for number, (lane, pieces) in enumerate(zip(found.lanes, streams_reference.deal(cuts.tolist(), lanes), strict=True)):
        assert list(zip(lane.pieces.firsts.tolist(), lane.pieces.stops.tolist(), strict=True)) == pieces
        slow = streams_reference.Lane(pieces, windows, seed, epoch, number, lanes)
        assert lane.records(epoch, 0, lane.n).tolist() == layout.records(np.array(slow.records(), np.int64)).tolist()


@MANY
@given(storage=storages(), lanes=st.integers(1, 9), seed=seeds, epoch=epochs)
def test_all_lanes_together_are_the_data_in_the_memory_of_a_window(storage: tuple[Layout, int], lanes: int, seed: int, epoch: int) -> None:
    """Every record in one lane, lengths that differ by one, and windows that hold no more together than one of the whole, rounded."""
    layout, window_nbytes = storage
    found = stream(layout, window_nbytes, lanes, seed)
    whole = BlockOrder(layout, seed=seed, window_nbytes=window_nbytes)
    assert sum(lane.n for lane in found.lanes) == found.n == layout.n
    assert max(lane.n for lane in found.lanes) - min(lane.n for lane in found.lanes) <= 1
    ranks = np.concatenate(
        [np.arange(a, b) for lane in found.lanes for a, b in zip(lane.pieces.firsts, lane.pieces.stops, strict=True)] + [[]]
    )
    assert covers_once(ranks.astype(np.int64), layout.n)
    assert all(lane.windows <= max(1, whole.windows) for lane in found.lanes)
    strata = sum(lane.strata for lane in found.lanes)
    assert strata <= whole.strata + 2 * lanes
    for lane in found.lanes:
        words = np.empty(lane.table_nbytes // 8, np.int64)
        lane.write_table(epoch, words)
        words.setflags(write=False)
        table = pickle.loads(pickle.dumps(lane)).read_table(epoch, words)
        assert (table.records(0, lane.n) == lane.records(epoch, 0, lane.n)).all()
        for window in range(lane.windows):
            held = table.blocks_of(window)
            assert lane.block_nbytes[held].sum() <= lane.most_window_nbytes
            assert table.held_starts(window)[-1] <= lane.most_window_records
            records = np.concatenate([table.block_records(block) for block in held] + [np.empty(0, np.int64)])
            rows = table.rows_at(window, 0, int(table.held_starts(window)[-1]))
            start, stop = table.starts[window : window + 2].tolist()
            assert (records[rows] == table.records(start, stop)).all()


def touched(starts: list[int], begin: int, count: int) -> int:
    """Windows in which positions [begin, begin + count) lie; `starts` are those of windows, and the end of the last."""
    return sum(max(begin, start) < min(begin + count, stop) for start, stop in pairwise(starts))


@MANY
@given(storage=storages(), lanes=st.integers(1, 5), seed=seeds, count=st.integers(1, 300), data=st.data())
def test_positions_lie_in_no_more_windows_than_there_is_room_for(
    storage: tuple[Layout, int], lanes: int, seed: int, count: int, data: st.DataObject
) -> None:
    """Of neighbouring positions in any epoch of any lane, also where they go on into the next one."""
    layout, window_nbytes = storage
    for lane in stream(layout, window_nbytes, lanes, seed).lanes:
        one, following = (lane.table(epoch, *lane.empty_table()).starts.tolist() for epoch in (3, 4))
        both = [*one, *(lane.n + start for start in following[1:])]
        within = min(count, lane.n)
        begins = {data.draw(st.integers(0, lane.n - within)) for _ in range(5)} if lane.n else set()
        begins |= {start - 1 for start in one[1:] if start - 1 + within <= lane.n}
        for begin in begins:
            assert touched(one, begin, within) <= lane.most_touched(within, goes_on=False)
        for begin in range(max(0, lane.n - within + 1), lane.n):
            assert touched(both, begin, within) <= lane.most_touched(within, goes_on=True)


@pytest.mark.parametrize(("n", "lanes", "size"), [(20_011, 1, 50), (20_000, 8, 50), (20_011, 3, 50), (20_000, 3, 64), (5_003, 2, 100)])
def test_a_small_block_does_not_count_as_a_window(n: int, lanes: int, size: int) -> None:
    """A short last block, one that is cut between two lanes, and a window that some strata leave out: each may make one window short,
    not all of them."""
    layout = layout_of([0, n], cuts=np.append(np.arange(0, n, size), n), record_nbytes=1024, addressable=False)
    for lane in stream(layout, 2**20, lanes, 0).lanes:
        assert lane.windows > 5
        assert lane.most_touched(64, goes_on=False) <= 5
        assert lane.most_touched(1, goes_on=True) == 1
        assert lane.most_touched(lane.n, goes_on=False) == lane.windows


def test_one_lane_is_the_block_order_of_always() -> None:
    """Records, windows and fingerprint: a loader that has no ranks sees nothing of lanes."""
    layout = layout_of([0, 5000], cuts=np.append(np.arange(0, 5000, 7), 5000), record_nbytes=100, addressable=False)
    plain = Block(20_000).bind(layout, 3)
    for spec in (Block(20_000), Block(20_000, lanes=1)):
        one = laned_order(spec, layout, seed=3)
        assert (one.records(0, 2, 0, 5000) == plain.records(2, 0, 5000)).all()
        assert one.fingerprint == plain.fingerprint
        assert (one.n, one.mode, len(one.lanes)) == (5000, "block", 1)
    assert len({stream(layout, 20_000, lanes, 3).fingerprint for lanes in (1, 2, 3, 4)}) == 4


def test_pieces_weigh_their_share_of_their_block() -> None:
    """Rounded up, so that no window is larger than was reckoned; a block that is whole weighs what it weighs."""
    cuts, nbytes = np.array([0, 10, 13, 20]), np.array([1001, 10, 7])
    assert piece_nbytes(Pieces(firsts=cuts[:-1], stops=cuts[1:]), cuts, nbytes).tolist() == [1001, 10, 7]
    pieces = Pieces(firsts=np.array([4, 10, 13]), stops=np.array([10, 12, 20]), blocks=np.array([0, 1, 2]))
    assert piece_nbytes(pieces, cuts, nbytes).tolist() == [601, 7, 7]


def test_lanes_may_be_counted_by_numpy() -> None:
    """A number of ranks often is."""
    assert Block(lanes=np.int64(4)) == Block(lanes=4)  # pyright: ignore[reportArgumentType]
    assert type(Block(lanes=np.int64(4)).lanes) is int  # pyright: ignore[reportArgumentType]


def test_a_block_order_of_several_lanes_is_no_single_order() -> None:
    """Whoever binds it as one is told."""
    from streamload.errors import ConfigError

    layout = layout_of([0, 100], cuts=None, record_nbytes=1, addressable=True)
    with pytest.raises(ConfigError, match=r"Block\(window='1 MB', lanes=4\) is 4 orders, not one\. Leave `lanes` out"):
        Block("1 MB", lanes=4).bind(layout, 0)
    assert repr(Block("1 MB")) == "Block(window='1 MB')"


@pytest.mark.parametrize(("lanes", "blocks"), [(4, 64), (8, 64)])
def test_batches_look_like_the_whole_of_sorted_data(lanes: int, blocks: int) -> None:
    """65,536 records sorted by 1,000 classes: batch means vary over all lanes as if drawn independently, within a tenth."""
    n, size = 65_536, 64
    values = (np.arange(n) * 1000 // n).astype(np.float64)
    layout = layout_of([0, n], cuts=np.arange(0, n + 1, size), record_nbytes=4096, addressable=False)
    found = stream(layout, blocks * size * 4096, lanes, 1)
    assert sum(lane.strata for lane in found.lanes) == blocks
    means = []
    for epoch in range(2):
        records = [lane.records(epoch, 0, lane.n) for lane in found.lanes]
        batches = np.concatenate([lane.reshape(-1, 256 // lanes) for lane in records], axis=1)
        means.append(values[batches].mean(axis=1))
    ratio = np.concatenate(means).var() / (values.var() / 256)
    assert 0.75 < ratio < 1.25, ratio


@pytest.mark.parametrize("lanes", [2, 4, 8])
@pytest.mark.parametrize("blocks", [64, 200])
def test_a_run_of_many_lanes_resumes_on_one_rank_in_the_memory_of_one_window(lanes: int, blocks: int) -> None:
    """Windows of all lanes hold together what one of the whole holds, and a block a lane at most; each rank, its own lanes'."""
    n, size = 1_003 * 64 + 17, 64
    layout = layout_of([0, n], cuts=np.append(np.arange(0, n, size), n), record_nbytes=4096, addressable=False)
    whole = BlockOrder(layout, seed=1, window_nbytes=blocks * size * 4096)
    found = stream(layout, blocks * size * 4096, lanes, 1)
    nbytes = [lane.most_window_nbytes for lane in found.lanes]
    assert sum(nbytes) <= whole.most_window_nbytes + lanes * size * 4096
    assert max(nbytes) <= whole.most_window_nbytes / lanes + size * 4096
    assert [lane.windows for lane in found.lanes] == [whole.windows] * lanes


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_with_lanes_of_their_own_decode_hardly_more_than_one_would(ranks: int) -> None:
    """Apart from the last step, every block is decoded by one rank, but for those that a lane's end cuts in two: within 2 %."""
    n, size = 1_003 * 64 + 17, 64
    layout = layout_of([0, n], cuts=np.append(np.arange(0, n, size), n), record_nbytes=4096, addressable=False)
    found = stream(layout, 64 * size * 4096, ranks, 1)
    parts = (PartSize(n=n, lanes=ranks, count=32),)
    per_rank = [SharedSteps(parts=parts, rank=rank, ranks=ranks, drop_last=False, pad_last=False) for rank in range(ranks)]
    tables = [lane.write_table(0, np.empty(lane.table_nbytes // 8, np.int64)) for lane in found.lanes]
    decoded: list[tuple[int, int]] = []
    for rank, steps in enumerate(per_rank):
        held: set[int] = set()
        at = steps.begin()
        while steps.left(at) > 1:
            step = steps.step(at)
            for piece in step.pieces:
                assert piece.lane == rank
                table = tables[piece.lane]
                window = table.window_of(piece.start)
                first, stop = int(table.starts[window]), int(table.starts[window + 1])
                rows = table.rows_at(window, piece.start - first, min(piece.stop, stop) - first)
                blocks = table.blocks_of(window)[table.held_starts(window).searchsorted(rows, "right") - 1]
                held.update(table.pieces.blocks[blocks].tolist())
            at = step.end
        decoded += [(rank, block) for block in held]
    blocks = len(found.lanes[0].block_cuts) - 1
    assert blocks * 0.98 < len({block for _, block in decoded}) <= len(decoded) <= 1.02 * blocks

"""Stored order over blocks: the same answers as plain stored order, in windows that hold each block once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamload.order import Sequential, SequentialBlockOrder, SequentialOrder, layout_of, restricted
from streamload.order import sequential_blocks as runs_module


def layout_with(lengths: list[int], record_nbytes: int):
    cuts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return layout_of([0, int(cuts[-1])], cuts=cuts, record_nbytes=record_nbytes, addressable=False)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 4 * 1024**2), st.integers(0, 5))
def test_windows_hold_each_block_once_and_in_stored_order(lengths: list[int], record_nbytes: int, epoch: int) -> None:
    """Whatever the blocks weigh, windows partition them, stay below the limit unless a block is larger, and mix nothing."""
    order = SequentialBlockOrder(layout_with(lengths, record_nbytes))
    table = order.table(epoch, *order.empty_table())
    assert table.blocks.tolist() == list(range(len(order.block_nbytes)))
    assert table.starts[0] == 0
    assert table.starts[-1] == order.n
    for window in range(order.windows):
        blocks = table.blocks_of(window)
        assert len(blocks) >= 1
        assert len(blocks) == 1 or order.block_nbytes[blocks].sum() <= runs_module.RUN_NBYTES
        held = int(table.starts[window + 1] - table.starts[window])
        assert held <= order.most_window_records
        assert table.rows_at(window, 0, held).tolist() == list(range(held))
    assert table.records(0, order.n).tolist() == list(range(order.n)) == order.records(epoch, 0, order.n).tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(6, 32), st.integers(1, 40))
def test_as_many_windows_are_touched_as_a_step_can_touch(lengths: list[int], megabytes: int, count: int) -> None:
    """No more and no fewer, within an epoch and from one into the next."""
    order = SequentialBlockOrder(layout_with(lengths, megabytes * 1024**2))
    starts = order.table(0, *order.empty_table()).starts.tolist()
    count = min(count, order.n)

    def most(starts: list[int]) -> int:
        begins = range(starts[-1] - count + 1)
        return max(sum(max(a, begin) < min(b, begin + count) for a, b in pairwise(starts)) for begin in begins)

    assert order.most_touched(count, goes_on=False) == most(starts)
    assert order.most_touched(count, goes_on=True) == most([*starts, *(order.n + start for start in starts[1:])])


def test_a_subset_is_delivered_in_stored_order() -> None:
    """Only the chosen records appear, rising."""
    indices = np.array([3, 4, 17, 30, 59])
    order = SequentialBlockOrder(restricted(layout_with([10] * 6, 1000), indices))
    assert order.records(0, 0, 5).tolist() == indices.tolist()
    table = order.table(0, *order.empty_table())
    assert table.records(1, 4).tolist() == indices[1:4].tolist()


@pytest.mark.parametrize("addressable", [True, False], ids=["addressable", "decoded"])
def test_sequential_means_the_same_order_whatever_the_storage(addressable: bool) -> None:
    """How records are stored decides how they are read, and not which comes when; states of one are states of the other."""
    layout = layout_of([0, 60], cuts=np.arange(0, 61, 10), record_nbytes=100, addressable=addressable)
    order = Sequential().bind(layout, 0)
    assert isinstance(order, SequentialOrder if addressable else SequentialBlockOrder)
    assert order.fingerprint == SequentialOrder(layout).fingerprint
    assert order.records(3, 7, 12).tolist() == [7, 8, 9, 10, 11]


def test_no_records_give_no_windows() -> None:
    """An empty source has an empty epoch."""
    order = SequentialBlockOrder(layout_of([0, 0], cuts=np.array([0]), record_nbytes=100, addressable=False))
    assert order.windows == 0
    assert order.most_window_records == order.most_window_nbytes == 0
    table = order.table(0, *order.empty_table())
    assert table.records(0, 0).tolist() == []

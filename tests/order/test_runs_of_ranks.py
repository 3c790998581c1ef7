"""Whole epochs over ranks: records, from storage to rows that count, wherever a run is taken up again and by how many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import streamload.kernels
from streamload.order import (
    Block,
    Exact,
    LanedOrder,
    Layout,
    PartSize,
    RunPosition,
    Sequential,
    SharedSteps,
    laned_order,
    layout_of,
    part_seed,
    source_rows,
    step_records,
    valid_rows,
    weights_of,
)

from .test_properties import seeds, storages


@pytest.fixture(autouse=True)
def _compiled() -> None:
    assert streamload.kernels.compile_kernels()


def run(
    orders: list[LanedOrder], at: RunPosition, counts: list[int], ranks: int, most: int | None = None
) -> tuple[list[list[NDArray[np.int64]]], RunPosition]:
    """By part, the records that count of each step, over all ranks, up to an epoch's end or `most` steps; and where the run then stands."""
    parts = tuple(PartSize(n=order.n, lanes=len(order.lanes), count=count) for order, count in zip(orders, counts, strict=True))
    every = [SharedSteps(parts=parts, rank=rank, ranks=ranks, drop_last=False, pad_last=False) for rank in range(ranks)]
    found: list[list[NDArray[np.int64]]] = [[np.empty(0, np.int64)] for _ in orders]
    while (most is None or most > 0) and every[0].step(at) is not None:
        steps = [one.step(at) for one in every]
        for step in steps:
            records, valid, source = step_records(orders, step), valid_rows(step), source_rows(step)
            assert len(records) == len(valid) == len(source) == step.rows
            for part, mine in enumerate(found):
                mine.append(records[valid & (source == part)])
        at = steps[0].end
        most = None if most is None else most - 1
    return found, at


@settings(max_examples=100)
@given(
    storage=storages(most_blocks=15),
    lanes=st.integers(1, 6),
    kind=st.sampled_from(["exact", "block", "sequential"]),
    seed=seeds,
    data=st.data(),
)
def test_every_record_counts_once_whoever_goes_on_with_a_run(
    storage: tuple[Layout, int], lanes: int, kind: str, seed: int, data: st.DataObject
) -> None:
    """Ranks and batch sizes change where the run is taken up again; orders, subsets, uneven blocks and files are any."""
    layout, window_nbytes = storage
    spec = {"exact": Exact(), "block": Block(window_nbytes), "sequential": Sequential()}[kind]
    order = laned_order(spec, layout, seed=seed, lanes=lanes)
    at = SharedSteps(parts=(PartSize(n=order.n, lanes=len(order.lanes), count=1),), rank=0, ranks=1, drop_last=False, pad_last=False).begin(
        3
    )
    found: list[NDArray[np.int64]] = []
    for most in (3, 2, None):
        ranks, count = data.draw(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 8]), st.integers(1, 40)), label="ranks, batch size")
        (records,), at = run([order], at, [count], ranks, most)
        found += records
    chosen = layout.indices if layout.indices is not None else np.arange(layout.n)
    assert np.sort(np.concatenate(found)).tolist() == chosen.tolist()


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("spec", [Exact(), Block(20_000), Sequential()], ids=repr)
def test_weighted_epochs_are_shared_out_as_others_are(spec: Exact | Block | Sequential, ranks: int) -> None:
    """Every draw once, over all ranks; the same draws on any number of them."""
    layout = layout_of([0, 1000], cuts=np.arange(0, 1001, 10), record_nbytes=100, addressable=False)
    values = 1.0 + np.arange(1000) % 5
    weights = weights_of(lambda: iter([values]), 1000, draws=1500)
    order = laned_order(spec, layout, seed=1, lanes=4, weights=weights)
    parts = (PartSize(n=1500, lanes=len(order.lanes), count=7),)
    at = SharedSteps(parts=parts, rank=0, ranks=ranks, drop_last=False, pad_last=False).begin(2)
    (records,), _ = run([order], at, [7], ranks)
    assert np.sort(np.concatenate(records)).tolist() == weights.epoch(1, 2).ranks(np.arange(1500)).tolist()


def test_a_step_of_one_rank_is_a_stretch_of_the_order() -> None:
    """One rank, one lane, no weights, one source: the order of always, batch by batch."""
    layout = layout_of([0, 1003], cuts=None, record_nbytes=20_000, addressable=True)
    order = laned_order(Exact(), layout, seed=5)
    steps = SharedSteps(parts=(PartSize(n=1003, lanes=1, count=64),), rank=0, ranks=1, drop_last=False, pad_last=False)
    whole = Exact().bind(layout, 5).records(7, 0, 1003)
    for number in range(len(steps)):
        step = steps.step(steps.begin(7, number))
        assert step_records([order], step).tolist() == whole[number * 64 : number * 64 + 64].tolist()
        assert valid_rows(step).all()


def test_parts_lie_one_after_the_other() -> None:
    """In the order given, each with its count, and with its own seed; what repeats follows its own part."""
    layouts = [layout_of([0, n], cuts=None, record_nbytes=1, addressable=True) for n in (20, 9)]
    orders = [laned_order(Exact(), layout, seed=part_seed(3, part)) for part, layout in enumerate(layouts)]
    parts = (PartSize(n=20, lanes=1, count=3), PartSize(n=9, lanes=1, count=1))
    ranks = [SharedSteps(parts=parts, rank=rank, ranks=2, drop_last=False, pad_last=False) for rank in range(2)]
    assert len(ranks[0]) == 5
    last = [one.step(one.begin(0, 4)) for one in ranks]
    # The second part leads: its last step has one record left, which is rank 0's; rank 1 repeats it.
    assert [source_rows(step).tolist() for step in last] == [[0, 0, 0, 1], [0, 0, 0, 1]]
    assert [valid_rows(step).tolist() for step in last] == [[True] * 4, [True, True, True, False]]
    assert step_records(orders, last[0])[3] == step_records(orders, last[1])[3]
    # Six steps of the first part are more than its 20 records: it goes on into its second epoch.
    assert last[0].end.positions == ((1, 10), (0, 9))

"""Weights: records come as often as they weigh, in every order, in lanes, and in the memory that was reckoned."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import streamload.kernels
from streamload.errors import ConfigError
from streamload.kernels import draws_plain
from streamload.order import (
    Block,
    Exact,
    Layout,
    Listed,
    Sequential,
    Weights,
    balanced,
    choose,
    laned_order,
    layout_of,
    restricted,
    stretches_of,
    weights_of,
)

from . import streams_reference as reference
from .reference import windows_for
from .test_properties import epochs, seeds, storages

MANY = settings(max_examples=100)
SKEWED = np.array([1 + i % 7 for i in range(1000)], np.float64)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    assert streamload.kernels.compile_kernels()


def weighed(values: NDArray[np.float64], draws: int | None = None, stretch: int = 1 << 20) -> Weights:
    return weights_of(lambda: (values[k : k + stretch] for k in range(0, len(values), stretch)), len(values), draws=draws)


one_weight = st.one_of(st.just(0.0), st.integers(0, 5).map(float), st.floats(0, 1e6, allow_subnormal=False))
some_weights = st.lists(one_weight, min_size=1, max_size=60).filter(any)
any_draws = st.one_of(st.none(), st.integers(0, 200))


def some_values(n: int, seed: int) -> NDArray[np.float64]:
    """Weights of few kinds, a stretch of zeros among them; not all zero."""
    rng = np.random.default_rng(seed)
    values = rng.choice([0.0, 0.25, 1.0, 7.0], n)
    first = int(rng.integers(0, n))
    values[first : first + int(rng.integers(0, n))] = 0.0
    values[int(rng.integers(0, n))] = 1.0
    return values


@MANY
@given(values=some_weights, draws=any_draws, seed=seeds, epoch=epochs, stretch=st.integers(1, 70))
def test_draws_follow_the_definition(values: list[float], draws: int | None, seed: int, epoch: int, stretch: int) -> None:
    """Edges, every draw and the cuts of any blocks, through both sets of kernels, however the weights were read."""
    weights, slow = weighed(np.array(values), draws, stretch), reference.Draws(values, seed, epoch, draws)
    assert (weights.edges is None) == slow.plain
    if weights.edges is not None and slow.draws:
        assert weights.edges.tolist() == slow.edges
    numbers = np.arange(slow.draws)
    wanted = [slow.record(j) for j in range(slow.draws)]
    found = weights.epoch(seed, epoch)
    assert found.ranks(numbers).tolist() == wanted == sorted(wanted)
    assert found.ranks(numbers[::-1]).tolist() == wanted[::-1]
    cuts = sorted({0, len(values), len(values) // 3, len(values) // 2})
    assert found.cuts(np.array(cuts)).tolist() == slow.cuts(cuts)
    if weights.edges is not None:
        plain = np.empty(len(numbers), np.int64)
        draws_plain.drawn_ranks(weights.edges, weights.guide, weights.shift, np.array(slow.words, np.uint32), numbers, plain)
        assert plain.tolist() == wanted


@MANY
@given(seed=seeds, epoch=epochs, draw=st.integers(0, 2**33 - 2), records=st.integers(1, 50))
def test_draws_far_out_follow_the_definition(seed: int, epoch: int, draw: int, records: int) -> None:
    """Of billions of draws, each falls where the reference says."""
    values = [float(1 + k % 3) for k in range(records)]
    weights, slow = weighed(np.array(values), 2**33 - 1), reference.Draws(values, seed, epoch, 2**33 - 1)
    draws = [draw, 0, 2**33 - 2]
    assert weights.epoch(seed, epoch).ranks(np.array(draws)).tolist() == [slow.record(j) for j in draws]


@MANY
@given(storage=storages(most_blocks=12), lanes=st.integers(1, 6), draws=st.integers(1, 300), seed=seeds, epoch=epochs, data=st.data())
def test_block_orders_of_draws_follow_the_definition(
    storage: tuple[Layout, int], lanes: int, draws: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    """Every record of every lane as the slow reference gives it; windows hold no more than was reckoned before any epoch was known."""
    layout, window_nbytes = storage
    if not layout.n:
        return
    values = some_values(layout.n, data.draw(st.integers(0, 2**32 - 1), label="weights"))
    weights, slow = weighed(values, draws), reference.Draws(values.tolist(), seed, epoch, draws)
    found = laned_order(Block(window_nbytes), layout, seed=seed, lanes=lanes, weights=weights)
    assert found.n == draws
    cuts, nbytes = layout.blocks(min(256 * 1024, window_nbytes // 64))
    dealt = reference.deal(slow.cuts(cuts.tolist()), lanes)
    windows = windows_for(nbytes.tolist(), window_nbytes)
    for number, (lane, pieces) in enumerate(zip(found.lanes, dealt, strict=True)):
        records = reference.Lane(pieces, windows, seed, epoch, number, lanes).records()
        wanted = layout.records(np.array([slow.record(j) for j in records], np.int64))
        assert lane.records(epoch, 0, lane.n).tolist() == wanted.tolist()
        words = np.empty(lane.table_nbytes // 8, np.int64)
        lane.write_table(epoch, words)
        words.setflags(write=False)
        table = pickle.loads(pickle.dumps(lane)).read_table(epoch, words)
        assert len(table.starts) - 1 <= lane.windows
        for window in range(len(table.starts) - 1):
            blocks = table.blocks_of(window)
            held = np.concatenate([table.block_records(block) for block in blocks] + [np.empty(0, np.int64)])
            start, stop = table.starts[window : window + 2].tolist()
            assert (held[table.rows_at(window, 0, stop - start)] == table.records(start, stop)).all()
            assert table.held_starts(window)[-1] == len(held) <= lane.most_window_records
            if hasattr(lane, "blocks"):
                assert nbytes[table.pieces.blocks[blocks]].sum() <= lane.most_window_nbytes


@MANY
@given(storage=storages(most_blocks=12), draws=st.integers(1, 200), seed=seeds, epoch=epochs, data=st.data())
def test_stored_order_of_draws_is_windows_of_neighbours(
    storage: tuple[Layout, int], draws: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    """Draws in record order, in the windows of the order without weights; blocks without a draw are not held."""
    layout, _ = storage
    if not layout.n:
        return
    values = some_values(layout.n, data.draw(st.integers(0, 2**32 - 1), label="weights"))
    slow = reference.Draws(values.tolist(), seed, epoch, draws)
    found = laned_order(Sequential(), layout, seed=seed, weights=weighed(values, draws))
    (lane,) = found.lanes
    wanted = layout.records(np.array([slow.record(j) for j in range(draws)]))
    assert lane.records(epoch, 0, draws).tolist() == wanted.tolist()
    if not hasattr(lane, "write_table"):
        return
    words = np.empty(lane.table_nbytes // 8, np.int64)
    table = lane.write_table(epoch, words)
    assert table.records(0, draws).tolist() == wanted.tolist()
    for window in range(len(table.starts) - 1):
        blocks = table.blocks_of(window)
        assert set(np.concatenate([table.block_records(b) for b in blocks] + [np.empty(0, np.int64)]).tolist()) >= set(
            wanted[table.starts[window] : table.starts[window + 1]].tolist()
        )
        assert table.held_starts(window)[-1] <= lane.most_window_records


def raw(n: int) -> Layout:
    return layout_of([0, n], cuts=None, record_nbytes=100, addressable=True)


class Backwards:
    """An order of the user's own, over as many positions as there are."""

    def __init__(self, n: int) -> None:
        self.n = n

    def records(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        return self.n - 1 - np.arange(start, stop)


@pytest.mark.parametrize("spec", [Exact(), Block(5_000), Sequential(), "own"], ids=repr)
@pytest.mark.parametrize("chosen", [None, np.arange(0, 1000, 3)], ids=["all", "subset"])
def test_records_come_as_often_as_they_weigh_in_every_order(spec: object, chosen: NDArray[np.int64] | None) -> None:
    """Within one of its share in every epoch; on average, its share; of a subset, the weights of the chosen."""
    layout = raw(1000) if chosen is None else restricted(raw(1000), chosen)
    numbers = np.arange(1000) if chosen is None else chosen
    weights = weights_of(stretches_of(SKEWED, chosen, 1000), layout.n, draws=2500)
    stream = laned_order(choose(Backwards(2500), layout) if spec == "own" else spec, layout, seed=3, weights=weights)
    assert stream.n == 2500
    share = 2500 * SKEWED[numbers] / SKEWED[numbers].sum()
    counts = np.zeros((60, 1000))
    for epoch in range(60):
        records = np.concatenate([stream.records(lane, epoch, 0, order.n) for lane, order in enumerate(stream.lanes)])
        counts[epoch] = np.bincount(records, minlength=1000)
    assert (counts[:, np.setdiff1d(np.arange(1000), numbers)] == 0).all()
    assert (np.abs(counts[:, numbers] - share) < 2).all()
    assert np.abs(counts[:, numbers].mean(axis=0) - share).max() < 0.3


def test_classes_are_drawn_alike() -> None:
    """Chi-square of the classes of 20 epochs, of which one has 1 % of the records: far below what chance would allow, and steady."""
    labels = (np.arange(10_000) % 100 == 0).astype(np.int64) + 2 * (np.arange(10_000) % 7 == 3)
    weights = weights_of(balanced(lambda: iter([labels[:4000], labels[4000:]]), np.bincount(labels)), 10_000)
    counts = [np.bincount(labels[weights.epoch(0, epoch).ranks(np.arange(10_000))], minlength=4) for epoch in range(20)]
    for count in counts:
        assert ((count - 2500) ** 2 / 2500).sum() < 11.3  # One in a hundred of independent draws is above.
    assert np.abs(np.mean(counts, axis=0) - 2500).max() < 25


def test_equal_weights_are_the_order_of_always() -> None:
    """As many draws as records of one weight: nothing is drawn, and nothing is different, also in a saved state."""
    layout = layout_of([0, 1000], cuts=np.arange(0, 1001, 10), record_nbytes=100, addressable=False)
    for spec in (Exact(), Block(20_000), Sequential()):
        plain, drawn = laned_order(spec, layout, seed=5), laned_order(spec, layout, seed=5, weights=weighed(np.full(1000, 0.3)))
        assert (plain.records(0, 3, 0, 1000) == drawn.records(0, 3, 0, 1000)).all()
        assert plain.fingerprint == drawn.fingerprint
        assert drawn.weights is None
    assert weighed(np.full(1000, 0.3), 999).edges is not None


def test_weights_have_a_digest() -> None:
    """It changes with the weights, and with how many are drawn."""
    assert len({weighed(SKEWED).digest, weighed(SKEWED[::-1].copy()).digest, weighed(SKEWED, 999).digest}) == 3
    assert weighed(SKEWED).digest == weighed(2 * SKEWED).digest


def test_weights_take_eight_bytes_a_record() -> None:
    """Nothing else is held of a million of them."""
    weights = weighed(np.random.default_rng(0).random(1_000_000), stretch=1 << 16)
    assert weights.edges.nbytes + weights.guide.nbytes < 8.04 * 1_000_001
    assert len(pickle.dumps(weights, protocol=5, buffer_callback=lambda buffer: None)) < 1000


def test_weights_in_memory_that_may_not_be_written_to_are_not_copied() -> None:
    """As in workers, where all share one copy."""
    weights = weighed(np.random.default_rng(0).random(1_000_000))
    wanted = weights.epoch(1, 2).ranks(np.arange(0, 1_000_000, 999))
    weights.edges.setflags(write=False)
    weights.guide.setflags(write=False)
    tracemalloc.start()
    found = weights.epoch(1, 2).ranks(np.arange(0, 1_000_000, 999))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found == wanted).all()
    assert most < 200_000


def test_weights_come_from_arrays_lists_and_files(tmp_path: Path) -> None:
    """Of any kind of number, of which each record has one."""
    np.save(tmp_path / "weights.npy", SKEWED.astype(np.float32))
    wanted = weighed(SKEWED).edges.tolist()
    for given_weights in (SKEWED.tolist(), SKEWED.astype(np.int8), tmp_path / "weights.npy", str(tmp_path / "weights.npy")):
        assert weights_of(stretches_of(given_weights, None, 1000), 1000).edges.tolist() == wanted
    half = weights_of(stretches_of(np.arange(1000) % 2 == 1, None, 1000), 1000).epoch(0, 0).ranks(np.arange(1000))
    assert sorted(set(half.tolist())) == list(range(1, 1000, 2))


class Elsewhere:
    """What NumPy is told of a tensor that is not in this machine's memory."""

    def __array__(self, *arguments: object, **keywords: object) -> NDArray[Any]:
        raise TypeError("it lies on cuda:0.")


@pytest.mark.parametrize(
    ("values", "draws", "text"),
    [
        pytest.param([1, -1], None, r"weights\[1\] is -1\.0\. Weights are finite numbers, 0 \(never\) or above\.$", id="negative"),
        pytest.param([1, np.nan], None, r"weights\[1\] is nan\.", id="not a number"),
        pytest.param(np.array([1, "1e4000"]).astype(np.longdouble), None, r"weights\[1\] is inf\.", id="beyond float64"),
        pytest.param(np.ma.array([1, 2], mask=[1, 0]), None, r"weights= is a masked array, 1 of whose 2 elements", id="masked"),
        pytest.param(
            Elsewhere(), None, r"weights= is not an array: it lies on cuda:0\. Give one number a record\.$", id="a tensor on a GPU"
        ),
        pytest.param([np.inf, 1], None, r"weights\[0\] is inf\.", id="infinite"),
        pytest.param([0, 0], None, r"weights= are all zero: no record can be drawn\. Give weights above 0 for", id="all zero"),
        pytest.param([1.7e308, 1e308], None, r"add up to more than a float64 can hold: .*\. Divide them all by the", id="too large"),
        pytest.param(
            [1, 1, 1], None, r"weights= has shape \(3,\); the data has 2 records\. Give one weight for each record", id="too many"
        ),
        pytest.param(
            {0: 1.0, 1: 2.0},
            None,
            r"weights= is a dict, and the data is no mixture, but one source of 2 records\. Give one weight for each record, such as "
            r"np\.array\(\[0\.2, 0\.8\]\)\[data\['label'\]\] of two classes; or the name of a field, each value of which",
            id="by class",
        ),
        pytest.param([[1, 1]], None, r"weights= has shape \(1, 2\); the data has 2 records", id="two dimensions"),
        pytest.param(["a", "b"], None, r"weights= holds <U1 of shape \(2,\)\. Give one number a record", id="texts"),
        pytest.param("no.npy", None, r"weights='no\.npy' cannot be read: .* Name a \.npy file of one number a record", id="no file"),
        pytest.param([1, 2], -1, r"draws=-1 of 2 records cannot be\. Give as many draws as an epoch shall have", id="negative draws"),
        pytest.param([1, 2], 2**33, r"draws=8,589,934,592 of 2 records cannot be\. .* at most 8,589,934,591", id="too many draws"),
    ],
)
def test_weights_that_cannot_be_are_refused(values: object, draws: int | None, text: str) -> None:
    """The error names the record, the value, and what would do."""
    with pytest.raises(ConfigError, match=text):
        weights_of(stretches_of(values, None, 2), 2, draws=draws)


def test_nothing_is_not_drawn() -> None:
    """Of no records there are no draws."""
    with pytest.raises(ConfigError, match=r"draws=3 of 0 records cannot be\. No record is chosen: look at indices=\."):
        weights_of(lambda: iter(()), 0, draws=3)


def test_weights_of_a_subset_are_one_for_each_record_of_the_data() -> None:
    """Whoever gives them for the chosen ones alone is told."""
    with pytest.raises(ConfigError, match=r"weights= has shape \(2,\); the data has 5 records\. .* also those that `indices=` leaves out"):
        stretches_of([1, 2], np.array([1, 3]), 5)
    assert np.concatenate(list(stretches_of([1, 2, 3, 4, 5], np.array([1, 3]), 5)())).tolist() == [2, 4]


def test_a_list_of_records_is_not_weighed_besides() -> None:
    """Both say how often each record comes."""
    with pytest.raises(
        ConfigError, match=r"weights= and a list of records say the same twice: how often each record comes\. Leave weights="
    ):
        laned_order(Listed([0, 1]), raw(1000), seed=0, weights=weighed(SKEWED))

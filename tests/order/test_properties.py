"""What must hold for every number of records, every storage and every seed."""

from __future__ import annotations

import pickle
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from time_limits import within

import streamload.kernels
from streamload.kernels import permute_plain
from streamload.order import (
    Block,
    BlockOrder,
    Exact,
    Layout,
    OrderSpec,
    Permutation,
    Sequential,
    key,
    layout_of,
    least_block_nbytes,
    merged_cuts,
    restricted,
    strata_of,
    windows_for,
)
from streamload.order.permutation import keys, radix

from . import reference

streamload.kernels.compile_kernels()
from streamload.kernels import permute  # noqa: E402  # it compiles on import, into the library's own cache folder

MANY = settings(max_examples=200)
PRIMES = [2, 3, 65_521, 65_537, 65_539, 99_991, 131_071, 524_287, 999_983]
AWKWARD = sorted(
    {n for k in range(21) for n in (2**k - 1, 2**k, 2**k + 1) if 0 < n <= 2**20}
    | {r * r + d for r in (2, 10, 255, 256, 257, 300, 511, 512, 513, 724, 999, 1000) for d in (-1, 0, 1)}
    | {r * (r + 1) + d for r in (256, 700, 999) for d in (-1, 0, 1)}
    | set(PRIMES)
)
ns = st.one_of(st.sampled_from(AWKWARD), st.integers(65_537, 70_000), st.integers(1, 1_000_000))
seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 2**40)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    """Orders here run on the compiled kernels; the plain ones are compared with them."""
    assert streamload.kernels.compile_kernels()


def covers_once(numbers: NDArray[np.int64], n: int) -> bool:
    """Whether `numbers` are 0 to n - 1, each once."""
    return len(numbers) == n and (
        n == 0 or (numbers.min() >= 0 and numbers.max() < n and bool((np.bincount(numbers, minlength=n) == 1).all()))
    )


@MANY
@given(n=ns, seed=seeds, epoch=epochs)
def test_an_epoch_is_a_permutation_and_has_an_inverse(n: int, seed: int, epoch: int) -> None:
    """Every record comes exactly once, and `inverse` and `at` agree with `forward`."""
    permutation = Permutation(n, key(seed, epoch, 0, 0))
    records = permutation.forward(0, n)
    assert covers_once(records, n)
    some = np.unique(np.linspace(0, n - 1, 3000).astype(np.int64))
    assert (permutation.inverse(records[some]) == some).all()
    assert (permutation.at(some) == records[some]).all()


@pytest.mark.parametrize("n", AWKWARD)
def test_awkward_sizes_are_permuted(n: int) -> None:
    """Powers of two, squares, products of neighbours, primes, and their neighbours: none repeats a record."""
    permutation = Permutation(n, key(n, 1, 0, 0))
    records = permutation.forward(0, n)
    assert covers_once(records, n)
    assert (permutation.inverse(records) == np.arange(n)).all()


@MANY
@given(n=ns, seed=seeds, data=st.data())
def test_every_position_follows_the_definition(n: int, seed: int, data: st.DataObject) -> None:
    """Compiled and plain kernels and the slow reference agree at any positions, forward and back."""
    words = key(seed, 0, 0, 0)
    assert words.tolist() == reference.key(seed, 0, 0, 0)
    if n <= reference.TABLE_LIMIT:
        tables = np.empty((2, n), np.int64)
        permute.shuffled_table(n, words, tables[0])
        permute_plain.shuffled_table(n, words, tables[1])
        assert (tables[0] == tables[1]).all()
        if n <= 3000:
            assert tables[0].tolist() == reference.shuffled_table(n, words.tolist())
        return
    a, b = radix(n)
    start = data.draw(st.integers(0, n - 1), label="start")
    stop = min(n, start + data.draw(st.integers(0, 1500), label="count"))
    compiled, plain, back = np.empty((3, stop - start), np.int64)
    permute.feistel_records(n, a, b, words, start, stop, compiled)
    permute_plain.feistel_records(n, a, b, words, start, stop, plain)
    assert (compiled == plain).all()
    permute_plain.feistel_at(n, a, b, words, np.arange(start, stop), plain, False)
    assert (compiled == plain).all()
    for kernels in (permute, permute_plain):
        kernels.feistel_at(n, a, b, words, compiled, back, True)
        assert (back == np.arange(start, stop)).all()
    slow = reference.Permutation(n, words.tolist())
    assert compiled[:5].tolist() == [slow(position) for position in range(start, min(start + 5, stop))]


@MANY
@given(
    n=st.one_of(st.sampled_from([10**11, 2**62, 2**62 + 1, 2**63 - 1, 2**32, 2**40 - 1]), st.integers(10**9, 2**63 - 1)),
    seed=seeds,
    data=st.data(),
)
def test_enormous_orders_stay_exact(n: int, seed: int, data: st.DataObject) -> None:
    """Up to 2**63 - 1 records: inside the range, invertible, and as the reference says."""
    words = key(seed, 0, 0, 0)
    permutation, slow = Permutation(n, words), reference.Permutation(n, words.tolist())
    start = data.draw(st.one_of(st.just(0), st.just(n - 600), st.integers(0, n - 600)), label="start")
    records = permutation.forward(start, start + 600)
    assert records.min() >= 0
    assert int(records.max()) < n
    assert (permutation.inverse(records) == np.arange(start, start + 600)).all()
    assert records[:3].tolist() == [slow(start + k) for k in range(3)]
    assert [slow.inverse(int(record)) for record in records[-2:]] == [start + 598, start + 599]
    plain = np.empty(600, np.int64)
    permute_plain.feistel_records(n, *radix(n), words, start, start + 600, plain)
    assert (plain == records).all()


@st.composite
def storages(draw: st.DrawFn, most_blocks: int = 60) -> tuple[Layout, int]:
    """A layout of one to three files (empty ones among them), perhaps cut, perhaps a subset; and a window that suffices."""
    record_nbytes = draw(st.sampled_from([1, 3, 784]))
    files = draw(st.lists(st.lists(st.integers(1, 40), max_size=most_blocks), min_size=1, max_size=3))
    file_starts = np.cumsum([0, *(sum(blocks) for blocks in files)])
    cuts = np.cumsum([0, *(records for blocks in files for records in blocks)])
    n = int(cuts[-1])
    kind = draw(st.sampled_from(["raw", "cut", "weighed"]))
    own = np.array(draw(st.lists(st.integers(1, 5000), min_size=len(cuts) - 1, max_size=len(cuts) - 1))) if kind == "weighed" else None
    layout = layout_of(
        file_starts, cuts=None if kind == "raw" else cuts, record_nbytes=record_nbytes, addressable=kind == "raw", block_nbytes=own
    )
    if n and draw(st.booleans()):
        layout = restricted(layout, np.array(sorted(draw(st.sets(st.integers(0, n - 1), max_size=200))), np.int64))
    largest = int(own.max(initial=1)) if own is not None else 40 * record_nbytes
    window = draw(st.integers(largest, max(largest, 2 * layout.nbytes)))
    return layout, window + least_block_nbytes(2 * window)


@MANY
@given(storage=storages(), seed=seeds, epoch=epochs)
def test_windows_partition_the_blocks_and_fit(storage: tuple[Layout, int], seed: int, epoch: int) -> None:
    """Each block lies in exactly one window, at most one from each stratum, and no window is larger than was asked for."""
    layout, window_nbytes = storage
    order = BlockOrder(layout, seed=seed, window_nbytes=window_nbytes)
    table = order.table(epoch, *order.empty_table())
    assert covers_once(table.blocks, len(order.block_nbytes))
    assert table.block_starts[-1] == len(table.blocks)
    assert table.starts[-1] == layout.n
    for window in range(order.windows):
        held = table.blocks_of(window)
        stratum = np.searchsorted(order.low, held, side="right") - 1
        assert (np.diff(stratum) > 0).all()
        assert order.block_nbytes[held].sum() <= order.most_window_nbytes <= window_nbytes
        records = table.starts[window + 1] - table.starts[window]
        assert records == np.diff(order.cuts)[held].sum() <= order.most_window_records
        assert table.held_starts(window)[-1] == records


@MANY
@given(storage=storages(most_blocks=15), seed=seeds, epoch=epochs)
def test_block_orders_follow_the_definition(storage: tuple[Layout, int], seed: int, epoch: int) -> None:
    """Cuts, windows and every record of an epoch as the slow reference gives them, through both sets of kernels."""
    layout, window_nbytes = storage
    order = BlockOrder(layout, seed=seed, window_nbytes=window_nbytes)
    assert order.windows == reference.windows_for(order.block_nbytes.tolist(), window_nbytes)
    if not order.windows:
        return
    slow = reference.Block(order.cuts.tolist(), order.windows, seed, epoch)
    table = order.table(epoch, *order.empty_table())
    assert table.starts.tolist() == slow.start
    wanted = np.array([record for window in range(order.windows) for record in slow.records_of(window)])
    assert (order.records(epoch, 0, order.n) == layout.records(wanted)).all()
    plain_blocks, _, plain_starts = order.empty_table()
    permute_plain.window_blocks(order.windows, 65_536, 0, 0, order.low, keys(seed, epoch, 1, order.strata), plain_starts, plain_blocks)
    assert (plain_blocks == table.blocks).all()
    assert (plain_starts == table.block_starts).all()


@MANY
@given(storage=storages(), spec=st.sampled_from(["exact", "block", "sequential"]), seed=seeds, data=st.data())
def test_stretches_agree_with_the_whole(storage: tuple[Layout, int], spec: str, seed: int, data: st.DataObject) -> None:
    """Any stretch of positions is that stretch of the epoch, in any order of asking, also by a copy that travelled."""
    layout, window_nbytes = storage
    wanted: dict[str, OrderSpec] = {"exact": Exact(), "block": Block(window_nbytes), "sequential": Sequential()}
    order = wanted[spec].bind(layout, seed)
    copy = pickle.loads(pickle.dumps(order, protocol=5))
    whole = order.records(3, 0, order.n)
    chosen = layout.indices if layout.indices is not None else np.arange(layout.n)
    assert (np.sort(whole) == chosen).all()
    for _ in range(5):
        start = data.draw(st.integers(0, order.n))
        stop = data.draw(st.integers(start, order.n))
        assert (order.records(3, start, stop) == whole[start:stop]).all()
        assert (copy.records(3, start, stop) == whole[start:stop]).all()
    assert copy.fingerprint == order.fingerprint


@MANY
@given(storage=storages(), seed=seeds)
def test_windows_are_dealt_as_records_say(storage: tuple[Layout, int], seed: int) -> None:
    """Looking up a position by window, row and block leads to the record that `records` names."""
    layout, window_nbytes = storage
    order = BlockOrder(layout, seed=seed, window_nbytes=window_nbytes)
    table = order.table(0, *order.empty_table())
    whole = order.records(0, 0, order.n)
    for position in range(0, order.n, max(1, order.n // 7)):
        window = table.window_of(position)
        first = int(table.starts[window])
        assert first <= position < table.starts[window + 1]
        rows = table.rows_at(window, position - first, position - first + 1)
        assert table.held_records(window, rows).tolist() == [whole[position]]
        held = np.concatenate([order.block_records(block) for block in table.blocks_of(window)])
        assert held[rows[0]] == whole[position]
    assert table.window_of(order.n) == order.windows


@MANY
@given(
    files=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000)), max_size=30), min_size=1, max_size=4),
    least=st.integers(0, 6000),
)
def test_merged_cuts_follow_the_definition(files: list[list[tuple[int, int]]], least: int) -> None:
    """Blocks of any records and bytes, none among them, in files that may be empty: as the reference merges them."""
    cuts = [np.cumsum([0, *(records for records, _ in blocks)]).tolist() for blocks in files]
    nbytes = [[size for _, size in blocks] for blocks in files]
    merged, sizes = merged_cuts(cuts, nbytes, least)
    assert (merged.tolist(), sizes.tolist()) == reference.merged_cuts(cuts, nbytes, least)


@MANY
@given(counts=st.lists(st.integers(0, 300), min_size=1, max_size=5), record_nbytes=st.integers(0, 50), least=st.integers(0, 3000))
def test_raw_records_are_cut_in_closed_form(counts: list[int], record_nbytes: int, least: int) -> None:
    """Raw records are cut as blocks of one record each would be merged."""
    layout = layout_of(np.cumsum([0, *counts]), cuts=None, record_nbytes=record_nbytes, addressable=True)
    cuts, nbytes = layout.blocks(least)
    wanted = reference.merged_cuts([list(range(count + 1)) for count in counts], [[record_nbytes] * count for count in counts], least)
    assert (cuts.tolist(), nbytes.tolist()) == wanted


@MANY
@given(sizes=st.lists(st.one_of(st.integers(1, 100), st.integers(1, 5000)), max_size=150), room=st.integers(0, 20_000))
def test_windows_are_the_fewest_that_fit(sizes: list[int], room: int) -> None:
    """As many windows as the reference finds by trying each count."""
    limit = max(sizes, default=1) + room
    windows = windows_for(np.array(sizes, np.int64), limit)
    assert windows == reference.windows_for(sizes, limit)
    assert strata_of(len(sizes), windows).tolist() == (reference.strata_of(len(sizes), windows) if sizes else [0])


def test_a_million_blocks_take_a_moment() -> None:
    """Cuts, windows and an epoch's table of a million blocks of many sizes: under two seconds in all, on a busy machine."""
    from time import perf_counter

    records = np.random.default_rng(0).integers(1, 400, 1_000_000)
    layout = layout_of([0, int(records.sum())], cuts=np.append(0, np.cumsum(records)), record_nbytes=3000, addressable=False)
    begun = perf_counter()
    order = BlockOrder(layout, seed=0, window_nbytes=512 * 1024**2)
    table = order.table(0, *order.empty_table())
    assert within(perf_counter() - begun, 2)
    assert order.windows > 1000
    assert covers_once(table.blocks, len(order.block_nbytes))


def test_more_windows_than_a_table_holds() -> None:
    """Above 65,536 windows, strata are dealt by the network; compiled and plain agree, and the reference with them."""
    windows, blocks = 70_000, 150_001
    layout = layout_of([0, blocks], cuts=np.arange(blocks + 1), record_nbytes=1, addressable=False, block_nbytes=np.ones(blocks, np.int64))
    order = BlockOrder(layout, seed=5, window_nbytes=3)
    assert (order.windows, order.strata) == (50_001, 3)
    low, stratum_keys = strata_of(blocks, windows), keys(5, 0, 1, 3)
    found = [(np.empty(blocks, np.int64), np.empty(windows + 1, np.int64)) for _ in range(2)]
    permute.window_blocks(windows, 65_536, *radix(windows), low, stratum_keys, found[0][1], found[0][0])
    permute_plain.window_blocks(windows, 65_536, *radix(windows), low, stratum_keys, found[1][1], found[1][0])
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()
    assert covers_once(found[0][0], blocks)
    slow = [reference.Permutation(windows, reference.key(5, 0, 1, s)) for s in range(3)]
    for window in (0, 1, 35_000, windows - 1):
        picked = [int(low[s]) + slow[s](window) for s in range(3)]
        wanted = [block for s, block in enumerate(picked) if block < low[s + 1]]
        assert found[0][0][found[0][1][window] : found[0][1][window + 1]].tolist() == wanted


def test_seeds_and_epochs_have_nothing_in_common() -> None:
    """(seed, epoch + 1) is not (seed + 1, epoch), and no two purposes or indices share a key."""
    found = {tuple(key(s, e, p, i).tolist()) for s in range(5) for e in range(5) for p in range(3) for i in range(5)}
    assert len(found) == 5 * 5 * 3 * 5
    assert keys(3, 4, 1, 5).tolist() == [key(3, 4, 1, i).tolist() for i in range(5)]
    assert key(-1, 0, 0, 0).tolist() == key(2**64 - 1, 0, 0, 0).tolist()


def test_radix_covers_every_size() -> None:
    """a * b >= n, a is the root rounded up, and less than one row of the radix lies outside."""
    for n in [1, 2, *AWKWARD, 10**11, 2**62, 2**63 - 1]:
        a, b = radix(n)
        assert a == isqrt(n - 1) + 1
        assert n <= a * b < n + a
        assert max(a, b) < 2**32

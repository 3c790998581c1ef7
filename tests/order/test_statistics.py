"""Shuffled well: what can be measured on a shuffle is what chance would give, with fixed seeds, so that the verdict never changes."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

import streamload.kernels
from streamload.order import BlockOrder, Permutation, key, layout_of
from streamload.order.permutation import radix

pytestmark = pytest.mark.slow

SIZES = [65_537, 100_000, 1_000_000, 2**20, 999_983]
BATCH = 256
BINS = 1024


@pytest.fixture(autouse=True)
def _compiled() -> None:
    assert streamload.kernels.compile_kernels()


def exact(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return Permutation(n, key(seed, epoch, 0, 0)).forward(0, n)


def chi_squared_z(observed: NDArray[np.int64], expected: NDArray[np.float64] | float, freedom: int) -> float:
    """How many standard deviations the sum of squares lies from what chance gives."""
    return float((((observed - expected) ** 2 / expected).sum() - freedom) / sqrt(2 * freedom))


def lag_z(records: NDArray[np.int64], lag: int) -> float:
    """Differences of records `lag` positions apart, modulo n: each as likely as any other."""
    n = len(records)
    differences = (np.roll(records, -lag) - records) % n
    observed = np.bincount(differences * BINS // n, minlength=BINS)
    edges = -(-np.arange(BINS + 1) * n // BINS)
    return chi_squared_z(observed, np.diff(edges).astype(np.float64), BINS - 1)


def contingency_z(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> float:
    """Whether two ways of sorting the same things into bins have anything to do with each other."""
    height, width = int(rows.max()) + 1, int(columns.max()) + 1
    observed = np.bincount(rows * width + columns, minlength=height * width).reshape(height, width)
    expected = np.outer(observed.sum(1), observed.sum(0)) / len(rows)
    return chi_squared_z(observed, expected, (height - 1) * (width - 1))


def pairs_z(groups: NDArray[np.int64], group: int) -> float:
    """Pairs of records of one group of `group` neighbours in storage that meet in one batch, against chance."""
    n = len(groups)
    batches = np.arange(n) // BATCH
    met = np.unique(batches * (int(groups.max()) + 1) + groups, return_counts=True)[1]
    observed = float((met * (met - 1)).sum()) / 2
    expected = (n // BATCH * BATCH * (BATCH - 1) + (n % BATCH) * (n % BATCH - 1)) / 2 * (group - 1) / (n - 1)
    return (observed - expected) / sqrt(expected)


def twelve_lags(n: int) -> list[int]:
    a, b = radix(n)
    wanted = [1, 2, 3, a, b, a - 1, a + 1, 2 * b, BATCH, 16, 4096, b + 1, b - 1, 7, 64]
    return list(dict.fromkeys(wanted))[:12]


@pytest.mark.parametrize("n", SIZES)
def test_neighbours_have_nothing_in_common(n: int) -> None:
    """Records 1, 2, a, b, ... positions apart (a and b of the radix among 12 lags) differ by anything with equal chance: worst |z| < 4."""
    lags = twelve_lags(n)
    assert len(lags) == 12
    assert set(radix(n)) <= set(lags)
    worst = max((abs(lag_z(exact(n, 1, epoch), lag)), lag, epoch) for lag in lags for epoch in range(2))
    assert worst[0] < 4, worst


@pytest.mark.parametrize("n", SIZES)
def test_batches_draw_classes_by_chance(n: int) -> None:
    """On data sorted into 10 and into 1,000 classes, batches hold as many of each as chance gives: |z| < 4."""
    batches = np.arange(n) // BATCH
    for classes in (10, 1000):
        z = [contingency_z(batches, exact(n, 2, epoch) * classes // n) for epoch in range(4)]
        assert abs(sum(z)) / sqrt(len(z)) < 4, (classes, z)


@pytest.mark.parametrize("n", SIZES)
def test_pairs_of_one_block_meet_by_chance(n: int) -> None:
    """Two records of one storage block of 64 come in one batch as often as any two: |z| < 4."""
    z = [pairs_z(exact(n, 3, epoch) // 64, 64) for epoch in range(4)]
    assert abs(sum(z)) / sqrt(len(z)) < 4, z


@pytest.mark.parametrize("n", SIZES)
def test_epochs_have_nothing_in_common(n: int) -> None:
    """Where a record stands says nothing of where it stands in the next epoch, or under the next seed: |z| < 4."""
    first = exact(n, 4, 0)
    for seed, epoch in ((4, 1), (5, 0), (3, 1), (4 + 2**32, 0)):
        other = exact(n, seed, epoch)
        assert abs(contingency_z(first * 64 // n, other * 64 // n)) < 4, (seed, epoch)
        correlation = float(np.corrcoef(first, other)[0, 1]) * sqrt(n - 1)
        assert abs(correlation) < 4, (seed, epoch)
        assert abs(float((first == other).sum()) - 1) < 6, (seed, epoch)


@pytest.mark.parametrize("n", SIZES)
def test_fixed_points_are_as_rare_as_chance_has_them(n: int) -> None:
    """Over 2,400 epochs, or half as many long ones, records that stand at their own position: mean and variance 1 +- 0.15."""
    positions = np.arange(n)
    fixed = [int((exact(n, 5, epoch) == positions).sum()) for epoch in range(2400 if n < 500_000 else 1200)]
    assert abs(np.mean(fixed) - 1) < 0.15
    assert abs(np.var(fixed) - 1) < 0.15


def test_the_measures_see_what_is_not_shuffled() -> None:
    """A stride through the data, and the data in blocks, fail by far what the shuffle passes."""
    n = 100_000
    stride = np.arange(n) * 61_803 % n
    assert abs(lag_z(stride, 1)) > 1000
    assert abs(contingency_z(np.arange(n) // BATCH, stride * 10 // n)) > 4
    assert abs(contingency_z(stride * 64 // n, np.arange(n) * 64 // n)) > 4
    blocks = (np.random.default_rng(0).permutation(n // 64 + 1)[:, None] * 64 + np.arange(64)).ravel()
    assert pairs_z(blocks[blocks < n] // 64, 64) > 100


@pytest.fixture(scope="module")
def sorted_epochs() -> list[NDArray[np.float64]]:
    """Twelve epochs of 2**20 sorted values, in windows of 64 blocks of 256 records.

    The figures below hold for windows of many batches: where a window is only 16 batches, taking records away from it
    makes the next batch lean the other way, and the lag-1 autocorrelation is -1/16 by that alone.
    """
    assert streamload.kernels.compile_kernels()
    n = 2**20
    layout = layout_of([0, n], cuts=np.arange(0, n + 1, 256), record_nbytes=1024, addressable=False)
    order = BlockOrder(layout, seed=6, window_nbytes=64 * 256 * 1024)
    assert (order.strata, order.windows) == (64, 64)
    return [order.records(epoch, 0, n) / n for epoch in range(12)]


@pytest.mark.parametrize("batch", [64, 256])
def test_batch_means_of_sorted_data_vary_no_more_than_by_chance(sorted_epochs: list[NDArray[np.float64]], batch: int) -> None:
    """The variance of batch means over that of independent drawing: at most 1.1."""
    ratios = [values.reshape(-1, batch).mean(1).var() * batch / values.var() for values in sorted_epochs]
    assert np.mean(ratios) <= 1.1


@pytest.mark.parametrize("batch", [64, 256])
def test_batches_of_sorted_data_do_not_follow_each_other(sorted_epochs: list[NDArray[np.float64]], batch: int) -> None:
    """Lag-1 autocorrelation of batch means: within 0.05 of none."""
    means = [values.reshape(-1, batch).mean(1) for values in sorted_epochs]
    assert abs(np.mean([np.corrcoef(mean[:-1], mean[1:])[0, 1] for mean in means])) < 0.05


def test_every_beginning_of_an_epoch_has_the_mean_of_the_whole(sorted_epochs: list[NDArray[np.float64]]) -> None:
    """Prefix discrepancy, the largest distance of a running sum from its course in units of sd * sqrt(n): below 1.4 in every epoch.

    A full shuffle has Kolmogorov's law there: 0.87 on average, above 1.36 once in twenty.
    """
    for values in sorted_epochs:
        assert np.abs(np.cumsum(values - values.mean())).max() / (values.std() * sqrt(len(values))) < 1.4


def test_whole_windows_have_the_distribution_of_the_whole(sorted_epochs: list[NDArray[np.float64]]) -> None:
    """After any number of windows, no share of the values is off by more than a stratum, 1/64, however the data is sorted.

    This is all that blocks can promise: times sqrt(k), as distributions of single records are compared, it is more than chance
    would give (2.0 after one window of these, where a full shuffle has 0.87), since 256 neighbours always come together.
    """
    window = 64 * 256
    for values in sorted_epochs[:3]:
        for windows in (1, 2, 5, 30, 63, 64):
            drawn, rank = np.sort(values[: windows * window]), np.arange(windows * window)
            assert np.abs(drawn - rank / len(rank)).max() <= 1 / 64

"""The figures of order quality: what they are for orders whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.mixing import Mixing, mixing, points, random_blocks, shuffle_buffer
from bench.quality import orders
from bench.scale import law, sparse

RECORDS, CLASSES, BATCH, BLOCK = 8_192, 64, 128, 16
LABELS = np.arange(RECORDS) * CLASSES // RECORDS


def of(records: np.ndarray) -> Mixing:
    """The figures of an epoch."""
    return mixing(records, LABELS, batch=BATCH, block=BLOCK)


def test_a_full_shuffle_is_one_in_every_figure():
    """Independent drawing is the unit; the prefix is hardly off."""
    found = of(np.random.default_rng(0).permutation(RECORDS))
    assert found.variance == pytest.approx(1, abs=0.6)
    assert found.entropy == pytest.approx(1, abs=0.02)
    assert found.same_block == pytest.approx(1, abs=0.3)
    assert found.discrepancy < 0.1


def test_stored_order_is_as_bad_as_can_be():
    """Every batch is one stretch: one class, whole blocks, a prefix that is the beginning."""
    found = of(np.arange(RECORDS))
    assert found.variance > 100
    assert found.entropy_bits == 0
    assert found.same_block == pytest.approx((BLOCK - 1) / (BATCH - 1) * (RECORDS - 1) / (BLOCK - 1), rel=1e-6)
    assert found.discrepancy > 0.9


def test_orders_rank_as_they_should_at_equal_memory():
    """Stratified blocks vary less than random ones, and those than a buffer that holds as much."""
    found = {name: of(epoch(0)) for name, (epoch, _) in orders(RECORDS, block=BLOCK, window=1_024, seed=0).items()}
    block, random, buffer = (found[name] for name in ("streamload, Block", "windows of random blocks", "shuffle buffer"))
    assert block.variance < 1.2 < random.variance < buffer.variance
    assert block.discrepancy < random.discrepancy < buffer.discrepancy
    assert found["streamload, Exact"].variance < 2


@given(stored=st.integers(1, 300), block=st.integers(1, 40), window=st.integers(1, 100), seed=st.integers(0, 9))
def test_the_orders_of_others_hand_out_every_record_once(stored: int, block: int, window: int, seed: int):
    """Compared is mixing, not leaving out."""
    for epoch in (
        random_blocks(stored, block=block, window=window, seed=seed),
        shuffle_buffer(stored, held=window, seed=seed),
    ):
        assert sorted(epoch(1).tolist()) == list(range(stored))
        np.testing.assert_array_equal(epoch(1), epoch(1))


def test_a_buffer_never_hands_out_a_record_before_it_could_know_it():
    """Position k holds one of the first k + held records."""
    found = shuffle_buffer(1_000, held=50, seed=3)(0)
    assert (found <= np.arange(1_000) + 50).all()


def test_points_are_few_and_in_order():
    """Enough for a picture, not more."""
    found = points(np.arange(100_000)[::-1])
    assert len(found) == 1_500
    assert found[0] == [0, 99_999]
    assert found[-1] == [99_999, 0]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([2e-3, 2.1e-3, 1.9e-3, 2e-3], "constant, about 2 ms"),
        ([1.001, 1.01, 1.1, 2.0], "1 s and 1 ms for each"),
        ([1e-3, 1e-2, 1e-1, 1.0], "1 ms for each"),
        ([1.0, 10**0.5, 10.0, 10**1.5], "exponent 0.50: rises"),
        ([1.0, 0.1, 0.01, 0.001], "exponent -1.00: falls"),
        ([0.0, 0.0, 0.0, 1.0], "one point only"),
    ],
    ids=["level", "fixed and each", "in proportion", "a root", "falling", "one point"],
)
def test_laws_are_found(values: list[float], found: str):
    """From four points, whatever the law."""
    assert law([1, 10, 100, 1000], values, "seconds") == found


def test_a_sparse_file_reads_as_zeros_and_takes_no_room(tmp_path):
    """A terabyte of records, read at both ends."""
    import streamload

    path = sparse(tmp_path / "large.npy", 10**10, 64)
    assert path.stat().st_blocks * 512 < 1 << 16
    data = streamload.open(path)
    name = data.schema.fields[0].name
    assert len(data) == 10**10
    assert not data[10**10 - 1][name].any()
    data.close()

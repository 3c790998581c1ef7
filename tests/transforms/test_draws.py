"""What is drawn depends on seed, epoch, record, view, operation and draw alone, is uniform, and independent of what else is drawn."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from streamload.transforms.draws import Draws, batch_words, record_words

RECORDS = 20_000


def drawn(
    seed: int = 0, epoch: int = 0, view: int = 0, operation: int = 1, records: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """The first three draws of an operation."""
    draws = Draws(record_words(seed, epoch), np.arange(RECORDS) if records is None else records, view=view)
    for _ in range(operation):
        draws.begin_operation()
    return draws.fractions(3)


def test_a_draw_is_the_same_whoever_asks_for_which_records() -> None:
    whole, some = drawn(), np.array([17, 3, 12_345, 3])
    assert np.array_equal(drawn(records=some), whole[:, some])
    assert np.array_equal(np.concatenate([drawn(records=np.arange(k, k + 5_000)) for k in range(0, RECORDS, 5_000)], axis=1), whole)


def test_draws_of_other_records_epochs_seeds_views_and_operations_have_nothing_in_common() -> None:
    """Correlations of 20,000 pairs, each within 4.5 deviations; likewise of a record and the next, and of pairs of draws."""
    columns = [*drawn(), drawn(epoch=1)[0], drawn(seed=1)[0], drawn(view=1)[0], drawn(operation=2)[0], np.roll(drawn()[0], 1)]
    for one, other in itertools.combinations(columns, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / np.sqrt(RECORDS)
    assert not np.array_equal(record_words(0, 1), record_words(1, 0))


def test_draws_are_uniform() -> None:
    """Chi-square over 100 bins, for consecutive records and for records far apart."""
    for records in (np.arange(RECORDS), np.arange(RECORDS) * 2**33 + 5):
        for column in drawn(records=records):
            counts = np.bincount((column * 100).astype(int), minlength=100)
            chi = ((counts - RECORDS / 100) ** 2 / (RECORDS / 100)).sum()
            assert 45 < chi < 170, "99 degrees of freedom"


def test_whole_numbers_and_permutations_are_as_likely_as_each_other() -> None:
    draws = Draws(record_words(3, 4), np.arange(RECORDS))
    draws.begin_operation()
    counts = np.bincount(draws.below(7), minlength=7)
    assert len(counts) == 7
    assert abs(counts - RECORDS / 7).max() < 5 * np.sqrt(RECORDS / 7)
    orders = draws.permutations(4)
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    kinds = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(kinds) == 24
    assert abs(kinds - RECORDS / 24).max() < 5 * np.sqrt(RECORDS / 24)
    each = draws.below(np.arange(1, RECORDS + 1))
    assert (each < np.arange(1, RECORDS + 1)).all()


def test_a_batch_has_a_key_of_its_own_by_its_first_position() -> None:
    keys = [batch_words(0, 0, 0), batch_words(0, 0, 64), batch_words(0, 1, 0), batch_words(1, 0, 0), record_words(0, 0)]
    assert len({key.tobytes() for key in keys}) == 5

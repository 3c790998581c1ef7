"""Lists of records: as an order of their own, and as a subset whose order matters."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from streamload.errors import ConfigError
from streamload.order import Block, Exact, Layout, Listed, Sequential, asked_order, choose, layout_of, restricted


def raw(n: int) -> Layout:
    return layout_of([0, n], cuts=None, record_nbytes=100, addressable=True)


class Forward:
    """An order of the user's own."""

    def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([5, 5, 0, 9, 5], id="list"),
        pytest.param((5, 5, 0, 9, 5), id="tuple"),
        pytest.param(np.array([5, 5, 0, 9, 5], np.uint8), id="bytes"),
        pytest.param(np.array([5, 5, 0, 9, 5], ">i2"), id="other byte order"),
    ],
)
def test_a_list_is_delivered_as_it_is(numbers: object, tmp_path: Path) -> None:
    """Repeats and what is left out are the list's own affair, every epoch alike; a file of it is the same list."""
    np.save(tmp_path / "numbers.npy", numbers)
    for spec in (Listed(numbers), Listed(tmp_path / "numbers.npy"), choose(Listed(numbers), raw(10))):
        order = spec.bind(raw(10), 3)
        assert (order.n, order.mode) == (5, "user")
        for epoch in (0, 7):
            assert order.records(epoch, 0, 5).tolist() == [5, 5, 0, 9, 5]
            assert order.records(epoch, 1, 4).tolist() == [5, 0, 9]
        assert pickle.loads(pickle.dumps(order)).records(0, 2, 5).tolist() == [0, 9, 5]
    assert repr(Listed(numbers)) == "Listed(5 records)"
    assert len(Listed(numbers)) == 5


def test_lists_have_fingerprints_of_their_own() -> None:
    """A state of one list is not taken for that of another of the same length, nor for that of other data."""
    found = {Listed(numbers).bind(raw(n), 0).fingerprint for numbers, n in (([1, 2], 10), ([2, 1], 10), ([1, 2], 11), ([1, 2, 2], 10))}
    assert len(found) == 4


def test_an_empty_list_is_an_empty_epoch() -> None:
    """Nothing is asked for, and nothing comes."""
    assert Listed([]).bind(raw(10), 0).n == 0


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        pytest.param(
            [0, 10], r"Listed: number 1 of the list is record 10; there are 10 records\. Record numbers count from 0\.$", id="large"
        ),
        pytest.param([-1], r"Listed: number 0 of the list is record -1", id="negative"),
        pytest.param([[1]], r"Listed holds int64 of shape \(1, 1\)\. Give record numbers as integers, in one dim", id="two dimensions"),
        pytest.param([0.5], r"Listed holds float64 of shape \(1,\)", id="floats"),
        pytest.param(
            np.array([3, 2**64 - 1], np.uint64),
            r"Listed: number 1 of the list is record 18446744073709551615\. Record numbers count from 0, below 2\*\*63\.$",
            id="beyond int64",
        ),
        pytest.param(
            np.ma.masked_greater(np.arange(10), 6),
            r"numbers= is a masked array, 3 of whose 10 elements are masked: what lies under the mask is no value\. "
            r"Give what is meant: array\.filled\(value\), or array\.compressed\(\) without what is masked\.$",
            id="masked",
        ),
        pytest.param([True], r"Listed holds bool of shape \(1,\)", id="booleans"),
        pytest.param("no.npy", r"numbers='no\.npy' cannot be read: .* Name a \.npy file of record numbers \(numpy\.save", id="no file"),
    ],
)
def test_lists_that_cannot_be_are_refused(numbers: object, text: str) -> None:
    """The error names the place in the list, the value, and the number of records."""
    with pytest.raises(ConfigError, match=text):
        Listed(numbers).bind(raw(10), 0)


def test_a_list_counts_within_a_subset() -> None:
    """As any order of the user's own does."""
    layout = restricted(raw(100), np.array([20, 30, 40]))
    assert Listed([2, 0, 2]).bind(layout, 0).records(0, 0, 3).tolist() == [40, 20, 40]
    with pytest.raises(ConfigError, match=r"record 3; there are 3 records\. .* within the subset that `indices=` chose"):
        Listed([3]).bind(layout, 0)


@pytest.mark.parametrize("shuffle", [False, Sequential()], ids=repr)
def test_without_shuffling_a_subset_keeps_the_order_that_was_given(shuffle: object) -> None:
    """What a model answers lies beside the list that the user wrote."""
    spec, layout = asked_order(shuffle, [9, 2, 5], raw(10))
    assert spec.bind(layout, 0).records(0, 0, 3).tolist() == [9, 2, 5]
    spec, layout = asked_order(shuffle, [2, 5, 9], raw(10))
    assert isinstance(spec, Sequential)
    assert spec.bind(layout, 0).records(0, 0, 3).tolist() == [2, 5, 9]


@pytest.mark.parametrize("shuffle", [True, Exact(), Block(10_000)], ids=repr)
def test_shuffling_takes_a_subset_as_a_set(shuffle: object) -> None:
    """In which order it was given makes no difference."""
    orders = [spec.bind(layout, 4) for spec, layout in (asked_order(shuffle, indices, raw(50)) for indices in ([9, 2, 5], [2, 5, 9]))]
    assert orders[0].records(1, 0, 3).tolist() == orders[1].records(1, 0, 3).tolist()
    assert orders[0].fingerprint == orders[1].fingerprint


@pytest.mark.parametrize("shuffle", [Forward(), Listed([0, 1])], ids=["own order", "list"])
def test_an_order_of_ones_own_over_a_subset_that_does_not_rise_is_refused(shuffle: object) -> None:
    """Its record 0 could be the first or the least."""
    text = r"indices= are not in rising order, and an order of your own counts within them: .* Give np\.sort\(indices\), or an order"
    with pytest.raises(ConfigError, match=text):
        asked_order(shuffle, [9, 2, 5], raw(10))
    spec, layout = asked_order(shuffle, [2, 5, 9], raw(10))
    assert spec.bind(layout, 0).records(0, 0, 2).tolist() == [2, 5]

"""Lists of records over data of which some are left out for nulls: a list counts the records of the data, whatever is left of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl
from streamload.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:.* records are left out, for nulls")

N, NULLS = 20, [3, 4, 10]


class Own:
    """An order of the user's own."""

    def records(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """As stored."""
        return np.arange(start, stop)


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """Twenty records that say their number, of which three hold a null."""
    numbers = [None if number in NULLS else number for number in range(N)]
    pq.write_table(pa.table({"number": numbers, "x": np.arange(N)}), tmp_path / "some.parquet", row_group_size=6)
    return sl.open(tmp_path / "some.parquet")


def delivered(data: sl.Source, **options: Any) -> list[int]:
    """The records of an epoch, whose fields say the same."""
    found: list[int] = []
    with sl.Loader(data, **{"batch_size": 3, "num_workers": 0, "on_bad_record": "skip", **options}) as loader:
        for batch in loader:
            assert batch["number"].tolist() == batch["x"].tolist() == batch.records.tolist()
            found += batch.records.tolist()
    return found


@pytest.mark.parametrize(
    ("listed", "indices", "wanted"),
    [
        ([0, 3, 5, 7, 16], None, [0, 5, 7, 16]),
        ([19, 4, 19, 3, 11], None, [19, 19, 11]),
        ([0, 2, 1, 2], [2, 3, 5], [2, 5, 5]),
        ([3, 4, 10], None, []),
    ],
)
@pytest.mark.filterwarnings("ignore:An epoch has no step")
def test_a_list_counts_records_with_nulls(data: sl.Source, listed: list[int], indices: list[int] | None, wanted: list[int]) -> None:
    """And is delivered without them; within a subset it counts those that were chosen."""
    assert delivered(data, shuffle=sl.Listed(listed), indices=indices) == wanted


def test_numbers_beyond_the_data_are_told_by_its_records(data: sl.Source) -> None:
    """Not by those that are left."""
    with pytest.raises(ConfigError, match=r"number 1 of the list is record 20; there are 20 records\. Record numbers count from 0\.$"):
        delivered(data, shuffle=sl.Listed([19, 20]))


def test_an_order_of_ones_own_is_not_guessed_at(data: sl.Source) -> None:
    """It may count records that are left out, or not; where none of the chosen is, there is no question."""
    with pytest.raises(ConfigError) as refused:
        delivered(data, shuffle=Own())
    assert str(refused.value) == (
        "3 of 20 records are left out, for nulls in 'number' (3). An order of your own counts records, and may or may not count these. "
        "Give the records that it counts, indices=data.complete()[1], or say what stands for nulls where you open the data, fill={...}."
    )
    complete = [number for number in range(N) if number not in NULLS]
    assert delivered(data, shuffle=Own(), indices=data.complete()[1]) == complete


def test_a_list_within_a_subset_is_not_taken_for_the_subset(data: sl.Source) -> None:
    """What is said of indices= in an order of their own is said of these alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = sl.Loader(data, batch_size=3, num_workers=0, indices=[1, 2, 5], shuffle=sl.Listed([2, 0]))
    with loader:
        (batch,) = loader
    assert batch.records.tolist() == [5, 1]
    with pytest.raises(ConfigError, match=r"^weights= and a list of records say the same twice"):
        sl.Loader(data, batch_size=3, num_workers=0, indices=[1, 2, 5], shuffle=sl.Listed([2, 0]), weights=np.arange(N))

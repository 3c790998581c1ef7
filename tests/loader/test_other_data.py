"""Data that is not what a state was written for, and data of which nothing can be delivered: never a silent success."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl


@pytest.mark.parametrize("changed", [0, 107, 199])
def test_a_state_of_other_data_with_the_same_fields_and_records_is_refused(changed: int, tmp_path: Path) -> None:
    """Its files have the same names, shapes and lengths; all values differ, or all from some record on."""
    values = np.arange(200)
    for name, held in (("p", values), ("q", np.where(values >= changed, values + 5, values) if changed < 199 else values[::-1])):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", held)
    with sl.Loader(sl.open(tmp_path / "p/x.npy"), batch_size=30, num_workers=0) as loader:
        next(iter(loader))
        state = loader.state_dict()
    with sl.Loader(sl.open(tmp_path / "q/x.npy"), batch_size=30, num_workers=0) as loader:
        with pytest.raises(sl.StateError) as caught:
            loader.load_state_dict(state)
        assert caught.value.message == "the data has as many records as that of the state, and others: a spread of them differs."
        assert caught.value.hint == "Resume with the data that it was written for, or begin anew."
        assert next(iter(loader)).step == 0
    (tmp_path / "q/x.npy").write_bytes((tmp_path / "p/x.npy").read_bytes())
    with sl.Loader(sl.open(tmp_path / "q/x.npy"), batch_size=30, num_workers=0) as loader:
        loader.load_state_dict(state)
        assert next(iter(loader)).step == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_records_that_are_all_left_out_for_nulls_are_counted(workers: int, tmp_path: Path) -> None:
    """An epoch of no steps is no silent success."""
    pq.write_table(pa.table({"v": pa.array([None] * 20, pa.int64())}), tmp_path / "a.parquet")
    with (
        pytest.warns(UserWarning, match=r"^An epoch has no step: of 20 records, none is chosen\."),
        pytest.warns(UserWarning, match=r"^20 of 20 records are left out, for nulls in 'v' \(20\)\."),
        sl.Loader(sl.open(tmp_path / "a.parquet"), batch_size=4, num_workers=workers, on_bad_record="skip") as loader,
    ):
        assert list(loader) == []

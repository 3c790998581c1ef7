"""Files that are each one record say what their records said: of nulls, which then are in files, of omissions and of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import said

import streamload as sl
from streamload.errors import NullValueError

LENGTHS = pytest.mark.parametrize("lengths", [(3, 3, 3), (3, 2, 4)], ids=["of one length", "of several"])


def tables(folder: Path, lengths: tuple[int, ...]) -> None:
    """A file for each length; the second has two nulls in `x`."""
    for number, length in enumerate(lengths):
        held = pa.array([None if number == 1 and row < 2 else 10 * number + row for row in range(length)], pa.int32())
        pq.write_table(pa.table({"x": held, "y": np.arange(length) / 2}), folder / f"{number}.parquet")


@LENGTHS
def test_nulls_of_files_are_known_and_left_out(lengths: tuple[int, ...], tmp_path: Path):
    """A file with two nulls is one record that has some; it is left out, or something stands for them, as is said."""
    tables(tmp_path, lengths)
    (tmp_path / "what.else").write_text("?")
    with sl.open(tmp_path, record_axis=None) as data:
        assert {name: (one.column, one.count) for name, one in data.nulls.items()} == {"x": ("x", 1)}
        assert [one.names for one in data.omissions] == [("what.else",)]
        assert "nulls in 'x' (1). Say what stands for it, fill={'x': 0}; or leave" in repr(data)
        with pytest.raises(NullValueError, match=r"fill=\{'x': 0\}"):
            data[1]
        whole, numbers = data.complete()
        assert numbers.tolist() == [0, 2]
        assert whole[2]["x"].tolist() == [20 + row for row in range(lengths[2])]
        with (
            pytest.warns(UserWarning, match="1 of 3 records"),
            sl.Loader(data, batch_size=1, shuffle=False, num_workers=0, on_bad_record="skip") as loader,
        ):
            assert [batch["x"][0].tolist() for batch in loader] == [[0, 1, 2], [20 + row for row in range(lengths[2])]]
    with sl.open(tmp_path, record_axis=None, fill={"x": 0}) as data:
        assert [one["x"].tolist()[:2] for one in data] == [[0, 1], [0, 0], [20, 21]]


@LENGTHS
def test_nulls_of_files_are_known_to_conversions(lengths: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Before anything is written."""
    (tmp_path / "in").mkdir()
    tables(tmp_path / "in", lengths)
    words = ["convert", tmp_path / "in", tmp_path / "out.parquet", "--record-axis", "none"]
    code, text = said(capsys, *words)
    assert code == 1
    assert "(3 files) holds nulls in 'x' (1). Say what stands for it, --fill x=0; or leave such records out, --on-bad skip." in " ".join(
        text.split()
    )
    assert said(capsys, *words, "--on-bad", "skip")[0] == 1
    with sl.open(tmp_path / "out.parquet") as data:
        assert [one["x"].tolist()[0] for one in data] == [0, 20]

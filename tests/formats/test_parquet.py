"""Parquet sources deliver what pyarrow reads, in every encoding, raw pages by offset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from parquet_files import DECODED, RAW

from streamload.opening import open_source


@pytest.mark.parametrize("layout", RAW | DECODED)
def test_a_layout_is_delivered(layout: str, tmp_path: Path):
    """Equal to what was written, however records are chosen."""
    expected = (RAW | DECODED)[layout](tmp_path / "a.parquet")
    assert_delivers(tmp_path / "a.parquet", expected)


@pytest.mark.parametrize("layout", RAW)
def test_raw_pages_are_read_without_arrow(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Once open, pyarrow is not asked again."""
    expected = RAW[layout](tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pyarrow was asked")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    assert source.addressable
    for name, array in source[:].items():
        np.testing.assert_array_equal(array, expected[name])
    assert "raw pages of up to" in repr(source)
    source.close()


@pytest.mark.parametrize("layout", DECODED)
def test_row_groups_are_blocks_where_pages_must_be_decoded(layout: str, tmp_path: Path):
    """Cuts are the borders of row groups."""
    DECODED[layout](tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert not source.addressable
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    starts = np.cumsum([0, *(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))])
    cuts = [column.cuts for column in source.columns if not column.addressable]
    assert cuts
    assert all(one.tolist() == starts.tolist() for one in cuts)

"""Parquet sources deliver what pyarrow reads, in every encoding, raw pages by offset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from parquet_files import DECODED, RAW

from streamload.formats.open import open_source
from streamload.formats.parquet import open_files
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles


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


def test_footers_of_many_files_are_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However often a window comes back to a file that was closed meanwhile; beyond a few megabytes of them, the oldest goes."""
    expected = np.arange(40 * 4 * 2, dtype=np.float32).reshape(-1, 2)
    for number in range(40):
        lists = pa.FixedSizeListArray.from_arrays(pa.array(expected[4 * number : 4 * number + 4].reshape(-1)), 2)
        pq.write_table(pa.table({"x": lists}), tmp_path / f"{number:02d}.parquet", row_group_size=2)
    source = open_source(tmp_path)
    assert not source.addressable
    parsed: list[str] = []
    before = pq.ParquetFile

    def counted(path: str, metadata: object = None, **options: object) -> object:
        parsed.extend([path] * (metadata is None))
        return before(path, metadata=metadata, **options)

    monkeypatch.setattr(pq, "ParquetFile", counted)
    there_and_back = np.concatenate([np.arange(160), np.arange(160)[::-1]])
    column = source.columns[0]
    for most, times in ((open_files.FOOTERS_NBYTES, 1), (1000, 2)):
        monkeypatch.setattr(open_files, "FOOTERS_NBYTES", most)
        files = OpenFiles(source.fingerprints)
        reader = column.reader(files, ReadStats())
        out = np.zeros((1, 2), np.float32)
        for record in there_and_back.tolist():
            reader.gather(np.array([record]), out, np.array([0]))
            assert (out[0] == expected[record]).all()
        assert len(set(parsed)) == 40
        assert len(parsed) == 40 if times == 1 else 40 < len(parsed) < 80
        reader.close()
        files.close()
        parsed.clear()
    source.close()

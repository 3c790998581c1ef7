"""Page headers that claim more stored bytes than there are cost nothing: pyarrow would take memory for all of them first."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl

COLUMNS = {
    "fixed": pa.array([bytes([at]) * 64 for at in range(40)], pa.binary(64)),
    "lists": pa.array([[at] * (at % 5) for at in range(40)]),
    "text": pa.array([f"t{at}" * 9 for at in range(40)]),
    "truth": pa.array([at % 2 == 0 for at in range(40)]),
}


def number(value: int) -> bytes:
    """A whole number as Thrift packs it."""
    value, made = value << 1, bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def claiming(path: Path, stored: int) -> None:
    """The same file, whose first page claims so many stored bytes: the third number of its header."""
    start = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    data = path.read_bytes()
    found = re.compile(rb"\x15[\x80-\xff]*[\x00-\x7f]\x15[\x80-\xff]*[\x00-\x7f]\x15([\x80-\xff]*[\x00-\x7f])").match(data, start)
    assert found is not None
    path.write_bytes(data[: found.start(1)] + number(stored) + data[found.end(1) :])


@pytest.mark.parametrize("stored", [2**31 - 1, 2**30])
@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
@pytest.mark.parametrize("column", COLUMNS)
def test_stored_bytes_that_are_not_there_take_no_memory(column: str, compression: str, stored: int, tmp_path: Path):
    """Refused by their headers, before they are read."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": COLUMNS[column]}), path, compression=compression, use_dictionary=False)
    claiming(path, stored)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(sl.StreamloadError) as caught, sl.open(path) as source:
        source[:]
    assert isinstance(caught.value, sl.SourceError)
    assert pa.default_memory_pool().max_memory() <= max(before, 100 << 20)

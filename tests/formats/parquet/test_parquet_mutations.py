"""Parquet files with bits flipped, by the hundred, and the readers of headers that find it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import parquet_files
import pyarrow.parquet as pq
import pytest
from parquet_files import footer

from streamload.errors import StreamloadError
from streamload.formats.open import open_source
from streamload.formats.parquet import page_headers, page_index
from streamload.formats.parquet.thrift import ThriftError, read_struct


@pytest.mark.parametrize("layout", ["required", "optional", "pages of version 2", "zstd", "lists"])
def test_mutations_of_metadata_give_the_same_records_or_an_error(layout: str, tmp_path: Path):
    """Bits of the footer and of page headers flipped, by the hundred: never other bytes of the same schema."""
    path = tmp_path / "a.parquet"
    make = (parquet_files.RAW | parquet_files.DECODED)[layout]
    expected = make(path)
    whole = path.read_bytes()
    start, stop = footer(path)
    places = list(range(start, stop, 7))
    metadata = pq.read_metadata(path)
    for group in range(metadata.num_row_groups):
        begins = metadata.row_group(group).column(0).data_page_offset
        places += range(begins, begins + 20)
    refusals = 0
    for place in places:
        mutant = bytearray(whole)
        mutant[place] ^= 1 << (place % 8)
        path.write_bytes(mutant)
        refusals += met(path, expected)
    assert len(places) > 150
    assert refusals > len(places) // 10


def met(path: Path, expected: dict[str, np.ndarray]) -> bool:
    """Whether a mutant was refused; fails if it gives other values under the same names, dtypes and shapes."""
    try:
        source = open_source(path)
        try:
            taken = source[:]
        finally:
            source.close()
    except StreamloadError:
        return True
    for name, values in taken.items():
        if name in expected and (values.dtype, values.shape) == (expected[name].dtype, expected[name].shape):
            np.testing.assert_array_equal(values, expected[name])
    return False


@pytest.mark.parametrize("layout", ["raw", "zstd", "snappy"])
def test_mutations_under_checksums_give_the_same_records_or_an_error(layout: str, tmp_path: Path):
    """Bits of pages flipped, headers and bodies: never other bytes."""
    path = tmp_path / "a.parquet"
    codec = {} if layout == "raw" else {"raw": False, "compression": layout}
    expected = parquet_files.write(path, write_page_checksum=True, **codec)
    whole = path.read_bytes()
    start, _ = footer(path)
    refusals = 0
    places = range(4, start, max(1, start // 200))
    for place in places:
        mutant = bytearray(whole)
        mutant[place] ^= 1 << (place % 8)
        path.write_bytes(mutant)
        refusals += met(path, expected)
    assert refusals > len(places) * 0.8


# The Thrift reader and the walk over pages


def test_thrift_structures_that_are_none_are_refused():
    """Each way in which bytes can fail to be a page header."""
    wrong = {
        b"\x15": "the data ends within a structure",
        b"\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01": "a number has more than 64 bits",
        b"\x1e\x00": "a field has the type 14, which Parquet never has",
        b"\x15\x02\x05\x02\x02\x00": "field 1 stands twice",
        b"\x18\x09abc": "the data ends within a value",
        b"\x1c" * 40: "structures are nested too deeply",
        b"\x19\xf5\xff\xff\xff\x0f": "a list claims 33,554,431 elements",
    }
    for data, text in wrong.items():
        with pytest.raises(ThriftError, match=text):
            read_struct(data)


def test_pages_that_contradict_the_footer_are_refused():
    """Sizes and counts of a page of four bytes."""

    def page(kind: int, compressed: int, count: int, encoding: int) -> bytes:
        fields = [b"\x15", bytes([kind * 2]), b"\x15", bytes([compressed * 2]), b"\x15", bytes([compressed * 2])]
        return b"".join(fields) + b"\x2c\x15" + bytes([count * 2]) + b"\x15" + bytes([encoding * 2]) + b"\x00\x00" + bytes(compressed)

    def walk(data: bytes, rows: int) -> Callable[[], page_index.Pages]:
        chunk = page_headers.ColumnChunk(offset=0, nbytes=len(data), rows=rows)
        return lambda: page_index.walk(lambda at, nbytes: data[at : at + nbytes], [chunk], value_nbytes=4, optional=False)

    found = walk(page(0, 8, 2, 0), 2)()
    assert (found.firsts.tolist(), found.nbytes.tolist(), found.checksums.tolist()) == ([0], [8], [-1])
    for data, rows, text in [
        (page(0, 8, 3, 0), 3, "has 8 bytes where its 3 values take 12"),
        (page(0, 8, 2, 0), 5, "hold 2 records, and the footer says 5"),
        (page(0, 8, 2, 0)[:-1], 2, "beyond its column chunk"),
        (page(0, 8, 2, 0) + b"!", 2, "end at byte 21 of their column chunk's 22"),
        (page(0, 8, 2, 0)[:5], 2, "has no end"),
        (b"\x0e" * 40, 2, "stands no page header: a field has the type 14"),
    ]:
        with pytest.raises(page_headers.PageError, match=text):
            walk(data, rows)()
    with pytest.raises(page_headers.PageError, match=r"field 4 of a page header is b'abc', where a checksum is expected"):
        page_headers.checksum(read_struct(b"\x48\x03abc\x00")[0])
    for data in (page(0, 8, 2, 8), page(2, 8, 2, 0)):
        with pytest.raises(page_headers.NotRawError):
            walk(data, 2)()

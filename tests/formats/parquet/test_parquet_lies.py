"""Parquet files that lie: footers against pages, claims against bytes; and no more of a file is read than is needed."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parquet_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from parquet_files import footer

from streamload.errors import ConfigError, CorruptDataError, StreamloadError, UnsupportedFeatureError
from streamload.formats.open import open_source
from streamload.formats.parquet.thrift import read_struct
from streamload.loader.loader import Loader
from streamload.order import Block
from streamload.ragged import Ragged


def zigzag(number: int) -> bytes:
    """A number as Thrift's compact protocol has it."""
    number = 2 * number if number >= 0 else -2 * number - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def amend(path: Path, old: bytes, new: bytes) -> int:
    """Put other bytes into the footer wherever the old ones stand; how often that was."""
    whole = path.read_bytes()
    start, stop = footer(path)
    said = whole[start:stop]
    assert old in said
    amended = said.replace(old, new)
    path.write_bytes(whole[:start] + amended + struct.pack("<I", len(amended)) + b"PAR1")
    return said.count(old)


def refused(path: Path, **options: Any) -> StreamloadError:
    """The error with which a source is refused, at open or when it is read."""

    def read() -> None:
        source = open_source(path, **options)
        try:
            source[:]
        finally:
            source.close()

    with pytest.raises(StreamloadError) as caught:
        read()
    return caught.value


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "zstd"])
def test_e6_records_that_are_claimed_and_not_there_take_no_memory(raw: bool, tmp_path: Path):
    """6.4 thousand million of them, the footer agreeing with itself: refused within 200 MB."""
    path = tmp_path / "a.parquet"
    parquet_files.write(path, row_group_size=100, raw=raw, **({} if raw else {"compression": "zstd"}))
    assert amend(path, b"\x16" + zigzag(100), b"\x16" + zigzag(6_400_000_000)) >= 4
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for options in ({}, {"fields": ["label"]}, {"fields": ["image"]}):
        assert "6,400,000,000" in str(refused(path, **options))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_e3_a_footer_and_pages_that_disagree_on_records_are_refused(tmp_path: Path):
    """More than the pages hold, and fewer: raw ones at open, others when their row group is read."""
    path = tmp_path / "a.parquet"
    for raw in (True, False):
        for claimed in (99, 101):
            parquet_files.write(path, row_group_size=100, raw=raw, **({} if raw else {"compression": "zstd"}))
            amend(path, b"\x16" + zigzag(100), b"\x16" + zigzag(claimed))
            error = refused(path, fields=["image"])
            assert isinstance(error, CorruptDataError)
            assert error.path == str(path)
            assert f"the footer says {claimed}" in str(error) or "end at byte" in str(error)


def test_e5_a_page_that_unpacks_to_more_than_the_footer_admits_is_never_unpacked(tmp_path: Path):
    """64 MB of zeros, 1 KB of them admitted."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.zeros(2**23)}), path, compression="zstd", use_dictionary=False, row_group_size=2**23)
    whole = pq.read_metadata(path).row_group(0).column(0).total_uncompressed_size
    amend(path, b"\x16" + zigzag(whole), b"\x16" + zigzag(1000))
    assert "more than its column chunk has left" in str(refused(path))


LAYOUTS: dict[str, dict[str, Any]] = {
    "raw": {"compression": "none", "use_dictionary": False},
    "snappy": {"compression": "snappy"},
    "zstd": {"compression": "zstd", "use_dictionary": False},
    "pages of version 2": {"compression": "snappy", "data_page_version": "2.0"},
}


@pytest.mark.parametrize("claimed", [0, 1, -5, 2**29], ids=["nothing", "too little", "less than nothing", "too much"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_unpacked_may_be_miscounted(layout: str, claimed: int, tmp_path: Path):
    """As old writers do: nothing is decoded by what the footer says of it, and pyarrow does not look at it either."""
    rng, path = np.random.default_rng(0), tmp_path / "a.parquet"
    words = Ragged.of([f"word {number % 7} " * int(number % 5) for number in range(400)])
    tokens = Ragged.of([rng.integers(0, 99, number % 6) for number in range(400)])
    table = {"x": pa.array(np.arange(400) % 50), "words": list(words), "tokens": [one.tolist() for one in tokens]}
    images = rng.integers(0, 256, (400, 100), dtype=np.uint8)
    pq.write_table(pa.table({**table, "image": parquet_files.binary(images)}), path, row_group_size=100, **LAYOUTS[layout])
    metadata = pq.read_metadata(path)
    chunks = [metadata.row_group(group).column(at) for group in range(4) for at in range(4)]
    for unpacked, stored in {(chunk.total_uncompressed_size, chunk.total_compressed_size) for chunk in chunks}:
        behind = b"\x16" + zigzag(stored)
        amend(path, b"\x16" + zigzag(unpacked) + behind, b"\x16" + zigzag(claimed) + behind)
    expected = {"x": np.arange(400) % 50, "words": words, "tokens": tokens, "image": images}
    assert_delivers(path, expected)
    if claimed > 1:
        return  # Windows would be as large as is claimed.
    with Loader(open_source(path), batch_size=30, shuffle=Block(window="60 KB"), num_workers=0) as loader:
        found = {int(number): text for batch in loader for number, text in zip(batch.records, batch["words"], strict=True)}
    assert [found[number] for number in range(400)] == list(words)


def test_pages_may_say_something_else_of_their_unpacked_size_where_nothing_is_packed(tmp_path: Path):
    """There is only one size then, and the values must fill it."""
    path = tmp_path / "a.parquet"
    expected = parquet_files.write(path, nullable=False)
    whole = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(0)
    header, _ = read_struct(bytes(whole[chunk.data_page_offset :][:400]))
    assert header[2] == header[3]
    at = whole.index(b"\x15" + zigzag(header[2]), chunk.data_page_offset)
    whole[at + 1] ^= 2
    path.write_bytes(whole)
    assert_delivers(path, expected)


def test_a_chunk_may_be_longer_than_its_pages_where_they_are_packed(tmp_path: Path):
    """What lies behind the last page is nobody's."""
    path = tmp_path / "a.parquet"
    expected = parquet_files.write(path, raw=False, compression="zstd", row_group_size=100, records=100)
    chunk = pq.read_metadata(path).row_group(0).column(0)
    amend(path, b"\x16" + zigzag(chunk.total_compressed_size), b"\x16" + zigzag(chunk.total_compressed_size + 7))
    assert_delivers(path, expected)
    parquet_files.write(path, row_group_size=100, records=100)
    size = pq.read_metadata(path).row_group(0).column(0).total_compressed_size
    amend(path, b"\x16" + zigzag(size), b"\x16" + zigzag(size + 7))
    assert "end at byte" in str(refused(path))


def test_e15_an_index_beyond_the_dictionary_is_an_error(tmp_path: Path):
    """Three values and two bits an index: the fourth index is nobody's."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(300) % 3}), path, compression="none", data_page_version="2.0")
    chunk = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    stop = chunk.dictionary_page_offset + chunk.total_compressed_size
    data[stop - 40 : stop] = b"\xff" * 40
    path.write_bytes(data)
    error = refused(path)
    assert isinstance(error, CorruptDataError)
    assert f"{path}: column 'x' cannot be read as Parquet:" in str(error)
    assert error.records == (0, 300)


@pytest.mark.parametrize(("number", "works"), [(3, False), (5, True), (4, True)], ids=["lzo", "lz4 of Hadoop", "brotli"])
def test_e17_a_codec_is_read_right_or_refused_by_name(number: int, works: bool, tmp_path: Path):
    """What the footer calls lzo cannot be unpacked; what it calls LZ4 or brotli and is not is damaged."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(300)}), path, compression="snappy", use_dictionary=False)
    amend(path, b"\x01x\x15\x02", b"\x01x\x15" + zigzag(number))
    error = refused(path)
    assert f"{path}: column 'x'" in str(error)
    assert isinstance(error, CorruptDataError if works else UnsupportedFeatureError)


def test_e22_the_order_of_a_folder_does_not_depend_on_how_it_is_listed(tmp_path: Path):
    """Written in any order, natural order is read; names that another writer left are no data; empty files are errors."""
    for number in (11, 3, 7):
        parquet_files.write(tmp_path / f"part-{number}.snappy.parquet", records=3, seed=number)
    for junk in ("_SUCCESS", "._SUCCESS.crc", ".part-3.snappy.parquet.crc", "_common_metadata", "_metadata"):
        (tmp_path / junk).write_bytes(b"")
    expected = np.concatenate([parquet_files.images(3, seed=number) for number in (3, 7, 11)])
    source = open_source(tmp_path)
    np.testing.assert_array_equal(source[:]["image"], expected)
    source.close()


def test_e23_links_in_circles_and_devices_are_no_files(tmp_path: Path):
    """Refused at once, by name: nothing waits for what they would give."""
    (tmp_path / "a.parquet").symlink_to(tmp_path / "a.parquet")
    with pytest.raises(StreamloadError, match=r"a\.parquet cannot be opened: Too many levels of symbolic links\."):
        open_source(tmp_path / "a.parquet")
    os.mkfifo(tmp_path / "b.parquet")
    for path in (tmp_path / "b.parquet", Path("/dev/zero")):
        with pytest.raises(ConfigError, match=r"is not a regular file, where a data file was expected\."):
            open_source(path)


# What is read


def read_nbytes(action: Callable[[], object]) -> int:
    """Bytes that this process asked the system for meanwhile."""

    def asked() -> int:
        return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])

    before = asked()
    action()
    return asked() - before


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two columns of 3 MB each, and labels, in ten row groups."""
    rng = np.random.default_rng(0)
    columns = {name: parquet_files.binary(rng.integers(0, 256, (1000, 3000), dtype=np.uint8)) for name in ("image", "mask")}
    schema = pa.schema([pa.field(name, pa.binary(3000), nullable=False) for name in columns] + [pa.field("label", pa.int64())])
    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    pq.write_table(
        pa.table([*columns.values(), pa.array(np.arange(1000))], schema=schema), tmp_path / "a.parquet", row_group_size=100, **options
    )
    return tmp_path / "a.parquet"


def test_only_the_columns_and_row_groups_that_are_needed_are_read(wide: Path):
    """A record costs its row group in its column, and opening costs the footer, whatever the file holds."""
    group = 100 * 3000
    opened: list[Any] = []
    open_source(wide).close()  # Modules are read once, too.
    assert read_nbytes(lambda: opened.append(open_source(wide, fields=["image"]))) < 300_000 + group  # One is looked at for images.
    source = opened[0]
    assert group < read_nbytes(lambda: source[[310, 399, 300]]) < 1.3 * group
    assert 3 * group < read_nbytes(lambda: source[[5, 501, 999, 6]]) < 3 * 1.3 * group
    assert 9 * group < read_nbytes(lambda: source[:]) < 11 * group  # The last row group that was read is kept.
    source.close()
    with_labels = open_source(wide, fields=["label", "mask"])
    assert group < read_nbytes(lambda: with_labels[77]) < 1.3 * group
    with_labels.close()


def test_a_column_that_is_not_asked_for_may_be_damaged(wide: Path):
    """Its bytes are never looked at."""
    column = pq.read_metadata(wide).row_group(4).column(1)
    with open(wide, "r+b") as file:
        file.seek(column.data_page_offset)
        file.write(b"\xff" * 5000)
    expected = np.random.default_rng(0).integers(0, 256, (1000, 3000), dtype=np.uint8)
    assert_delivers(wide, {"image": expected, "label": np.arange(1000)}, fields=["image", "label"])
    assert "column 'mask'" in str(refused(wide, fields=["mask"]))

"""Packed pages of Parquet files, unpacked without pyarrow: every codec, both versions, dictionaries, and what is wrong with them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parquet_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from hypothesis import given
from hypothesis import strategies as st

import streamload as sl
from streamload.errors import CorruptDataError
from streamload.formats.open import open_source
from streamload.formats.parquet import compressed_pages, row_groups
from streamload.formats.parquet.compressed_page_index import COUNT, INDEXED, NBYTES
from streamload.formats.parquet.compressed_pages import CompressedPages
from streamload.formats.parquet.page_headers import PageError
from streamload.formats.parquet.runs import indices_of
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles, fingerprint


def column_of(path: Path) -> Any:
    """The column of the images, once it is said how it is stored."""
    source = open_source(path)
    column: Any = source.columns[0]
    assert column.field.name == "image"
    assert column.describe() in repr(source)
    source.close()
    return column


@pytest.fixture(autouse=True)
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups are never decoded by pyarrow here."""

    gather = row_groups.RowGroupReader.gather

    def small_alone(self: Any, *arguments: Any) -> None:
        assert self._column.field.name == "label", "pyarrow was asked"
        gather(self, *arguments)

    monkeypatch.setattr(row_groups.RowGroupReader, "gather", small_alone)


WRITERS: list[dict[str, Any]] = [
    {},
    {"use_dictionary": False},
    {"write_page_checksum": True},
    {"data_page_size": 900, "write_batch_size": 7},
]


@pytest.mark.parametrize("nullable", [True, False], ids=["optional", "required"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "brotli", "lz4", "none"])
def test_pages_of_every_codec_are_unpacked(codec: str, version: str, nullable: bool, tmp_path: Path):
    """As pyarrow writes them: with dictionaries first, then without; with checksums; in pages of a few records."""
    for number, options in enumerate(WRITERS):
        if codec == "none" and options == {"use_dictionary": False}:
            continue  # That is raw.
        path = tmp_path / f"{number}.parquet"
        expected = parquet_files.write(path, raw=False, nullable=nullable, compression=codec, data_page_version=version, **options)
        column = column_of(path)
        assert isinstance(column, CompressedPages)
        assert column.cuts is not None
        assert column.cuts.tolist() == [0, 30, 60, 90, 100]
        assert_delivers(path, {"image": expected["image"]}, fields=["image"])


def test_repeated_records_lie_in_the_dictionary(tmp_path: Path):
    """Few different images: pages hold indices only, of any width."""
    for different in (1, 2, 3, 100, 300):
        data = np.tile(parquet_files.images(different), (-(-1000 // different), 1, 1, 1))[:1000]
        data = data[np.random.default_rng(0).permutation(1000)]
        schema = pa.schema([parquet_files.image_field()])
        path = tmp_path / f"{different}.parquet"
        pq.write_table(pa.table([parquet_files.binary(data)], schema=schema), path, compression="zstd", row_group_size=400)
        column = column_of(path)
        assert isinstance(column, CompressedPages)
        assert len(column.dictionaries) == 3
        assert_delivers(path, {"image": data})


def test_several_files_of_different_codecs_are_one_column(tmp_path: Path):
    """Raw ones and empty ones among them."""
    parts: list[np.ndarray] = []
    raw = {"compression": "none", "use_dictionary": False}
    for number, (records, options) in enumerate([(40, {"compression": "zstd"}), (0, {}), (33, raw), (7, {})]):
        parts.append(parquet_files.write(tmp_path / f"{number}.parquet", records=records, seed=number, raw=False, **options)["image"])
    assert isinstance(column_of(tmp_path), CompressedPages)
    assert_delivers(tmp_path, {"image": np.concatenate(parts)}, fields=["image"])


def test_large_row_groups_are_cut_at_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A window need not hold a row group of many megabytes."""
    monkeypatch.setattr("streamload.formats.parquet.planning.KEPT_NBYTES", 5000)
    options: dict[str, Any] = {
        "compression": "zstd",
        "row_group_size": 100,
        "data_page_size": 900,
        "write_batch_size": 7,
        "use_dictionary": False,
    }
    expected = parquet_files.write(tmp_path / "a.parquet", raw=False, **options)
    column = column_of(tmp_path / "a.parquet")
    assert column.cuts.tolist() == column.starts.tolist()
    assert len(column.cuts) > 5
    assert_delivers(tmp_path / "a.parquet", expected)


@given(st.integers(0, 20), st.lists(st.tuples(st.booleans(), st.integers(1, 70), st.integers(0, 2**32)), min_size=1, max_size=10))
def test_indices_are_what_was_written(width: int, runs: list[tuple[bool, int, int]]):
    """Runs of one index and stretches of packed bits, of any width."""
    data, wanted = bytearray([width]), []
    for dense, length, seed in runs:
        if dense:
            some = np.random.default_rng(seed).integers(0, 2**width, 8 * length)
            data += _varint(length << 1 | 1)
            bits = (some[:, None] >> np.arange(width)) & 1
            data += np.packbits(bits.astype("u1").reshape(-1), bitorder="little").tobytes()
            wanted += some.tolist()
        else:
            data += _varint(length << 1) + (seed % 2**width).to_bytes(-(-width // 8), "little")
            wanted += [seed % 2**width] * length
    found = indices_of(np.frombuffer(bytes(data), "u1"), len(wanted))
    np.testing.assert_array_equal(found, wanted)
    if width:
        with pytest.raises(PageError, match="indices end too soon"):
            indices_of(np.frombuffer(bytes(data), "u1"), len(wanted) + 1)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def test_indices_of_impossible_width_are_refused():
    """33 bits."""
    with pytest.raises(PageError, match="indices are 33 bits wide"):
        indices_of(np.array([33, 2, 0], "u1"), 1)


@pytest.mark.parametrize("codec", ["zstd", "snappy", "none"])
def test_pages_are_unpacked_from_where_the_file_is_mapped(codec: str, tmp_path: Path):
    """The same records, none of them read by a system call; pages that are cut short are named, not looked for beyond the file."""
    path = tmp_path / "a.parquet"
    expected = parquet_files.write(path, raw=False, compression=codec, write_page_checksum=True)
    column = column_of(path)
    files, meter, everything = OpenFiles([fingerprint(path)]), ReadStats(), np.arange(100)
    while not files.map(0).populated:
        assert files.map(0).populate()
    reader, out = column.reader(files, meter), np.zeros_like(expected["image"])
    reader.gather(everything, out, everything)
    files.verify()
    np.testing.assert_array_equal(out, expected["image"])
    assert meter.read_ns == 0
    assert meter.read_nbytes == column.pages[:, NBYTES].sum() + column.dictionaries[:, NBYTES].sum()
    end = path.stat().st_size
    found = [files.bytes_at(0, offset, nbytes) is None for offset, nbytes in [(end - 4, 4), (end - 4, 5), (-1, 1), (0, -1)]]
    assert found == [False, True, True, True]
    reader.close()
    files.close()


def test_a_loader_with_workers_maps_packed_pages(tmp_path: Path):
    """Where the file fits in memory, as raw records are; never in the user's own process."""
    parquet_files.write(tmp_path / "a.parquet", raw=False, compression="zstd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small windows are meant here
        for workers, reading in ((1, "mapped"), (0, "read")):
            with sl.Loader(sl.open(tmp_path / "a.parquet", fields=["image"]), batch_size=10, num_workers=workers) as loader:
                assert repr(loader).splitlines()[0].endswith(f"· files are {reading})")


def damaged(path: Path, change: Callable[[bytearray, Any], None], **options: Any) -> str:
    """The error of a file whose bytes were changed, given its column."""
    parquet_files.write(path, raw=False, **options)
    data = bytearray(path.read_bytes())
    change(data, column_of(path))
    path.write_bytes(data)
    with pytest.raises(CorruptDataError) as caught:
        open_source(path, fields=["image"], decode=False)[:]
    assert caught.value.records == (0, 30)
    return str(caught.value).split("'image' cannot be read: ")[1]


def _spoil(data: bytearray, column: Any) -> None:
    body, nbytes = column.pages[0, :2].tolist()
    data[body + 5 : body + nbytes] = b"\xff" * (nbytes - 5)


def _spoil_dictionary(data: bytearray, column: Any) -> None:
    body, nbytes = column.dictionaries[0, :2].tolist()
    data[body : body + nbytes] = bytes(nbytes)


def _null(data: bytearray, column: Any) -> None:
    body = column.pages[0, 0]
    assert data[body : body + 6] == b"\x02\x00\x00\x00\x3c\x01"
    data[body + 5] = 0


def _far(data: bytearray, column: Any) -> None:
    body = column.pages[0, 0]
    data[body : body + 4] = b"\xff" * 4


def _beyond(data: bytearray, column: Any) -> None:
    body, nbytes = column.pages[0, :2].tolist()
    data[body + 8 : body + nbytes] = b"\xff" * (nbytes - 8)


def test_damaged_pages_are_errors_with_their_records(tmp_path: Path):
    """Streams that do not unpack, nulls that the footer does not count, levels and indices that lead astray."""
    path = tmp_path / "a.parquet"
    assert damaged(path, _spoil, compression="zstd").startswith("a page cannot be unpacked: ")
    assert damaged(path, _spoil_dictionary, compression="zstd").startswith("a page cannot be unpacked: ")
    assert (
        damaged(path, _null, compression="none")
        == "a null stands where the footer counts none. The file is damaged or was cut short: fetch or write it again."
    )
    assert "of a dictionary of 30" in damaged(path, _beyond, compression="none")
    text = damaged(path, _far, compression="none")
    assert "the definition levels at byte" in text


@pytest.mark.filterwarnings("ignore:A window mixes only:UserWarning")
def test_a_mapped_file_that_shrinks_under_its_workers_is_named(tmp_path: Path):
    """Whether a worker dies of it or reads too little: an error that says what became of the file, and never other records."""
    path = tmp_path / "a.parquet"
    expected = parquet_files.write(path, records=3_000, raw=False, compression="zstd")
    with sl.Loader(sl.open(path, fields=["image"]), batch_size=10, shuffle=sl.Block(window="64 KB"), num_workers=2) as loader:
        epoch = iter(loader)
        batch = next(epoch)
        os.truncate(path, 4_096)
        right = ((batch["image"] == expected["image"][batch.records]).all() for batch in epoch)
        with pytest.raises((sl.WorkerCrashedError, sl.SourceChangedError), match="shrank from"):
            assert all(right)
        assert (batch["image"] == expected["image"][batch.records]).all()


@pytest.mark.parametrize("options", [{"use_dictionary": False}, {}], ids=["plain", "dictionary first"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@given(data=st.data())
def test_whole_pages_are_unpacked_in_place_and_nothing_around_them_changes(
    data: st.DataObject, version: str, options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
):
    """Levels come to lie before the values: only over a row that was written in the same call, and never for good."""
    path = tmp_path_factory.mktemp("whole") / "a.parquet"
    said = {"compression": "zstd", "data_page_size": 900, "write_batch_size": 7, "data_page_version": version}
    expected = parquet_files.write(path, raw=False, nullable=True, **said, **options)["image"]
    column = column_of(path)
    pages = data.draw(st.lists(st.integers(0, len(column.starts) - 2), unique=True, max_size=5))
    stretches = [np.arange(column.starts[page], column.starts[page + 1]) for page in sorted(pages)]
    records = np.concatenate([*stretches, np.array(data.draw(st.lists(st.integers(0, 99), max_size=5)), np.int64)]).astype(np.int64)
    first, gap = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 1))
    rows = first + np.arange(len(records)) + gap * (np.arange(len(records)) >= len(records) // 2)
    others = np.setdiff1d(np.arange(130), rows)
    out = np.full((130, *column.field.shape), 0xA5, np.uint8)
    reader = column.reader(OpenFiles([fingerprint(str(path))]), ReadStats())
    before = compressed_pages._decoded

    def watched(codec: str, stored: Any, room: Any) -> Any:
        found = before(codec, stored, room)
        assert (out[others] == 0xA5).all()  # not for a moment: another worker may be writing there
        return found

    compressed_pages._decoded = watched
    try:
        reader.gather(records, out, rows.astype(np.int64))
    finally:
        compressed_pages._decoded = before
        reader.close()
    assert (out[rows] == expected[records]).all()
    assert (out[others] == 0xA5).all()


def test_a_dictionary_of_different_records_is_unpacked_in_place_too(tmp_path: Path):
    """Given up after some records, as writers do with images: its page of indices counts up, and the others are plain."""
    path = tmp_path / "a.parquet"
    data = parquet_files.images(400)
    said: dict[str, Any] = {"compression": "zstd", "row_group_size": 200, "dictionary_pagesize_limit": 3000, "write_batch_size": 50}
    pq.write_table(pa.table([parquet_files.binary(data)], schema=pa.schema([parquet_files.image_field()])), path, **said)
    column = column_of(path)
    indexed = column.pages[:, INDEXED]
    assert len(column.dictionaries) == 2
    assert (column.pages[indexed >= 0, COUNT] == column.dictionaries[:, COUNT]).all()
    assert (indexed < 0).any()
    reader = column.reader(OpenFiles([fingerprint(str(path))]), ReadStats())
    out = np.zeros((200, *column.field.shape), np.uint8)
    for start in (0, 200):
        reader.gather(np.arange(start, start + 200), out, np.arange(200))
        assert (out == data[start : start + 200]).all()
        assert reader._dictionary == -1  # never needed as a dictionary
    reader.gather(np.array([3]), out, np.array([0]))
    assert (out[0] == data[3]).all()
    assert reader._dictionary == 0
    reader.close()
    assert_delivers(path, {"image": data})

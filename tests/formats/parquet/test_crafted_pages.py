"""Pages as other writers lay them out: levels in bits, several gzip members, pages without a value."""

from __future__ import annotations

import gzip
from pathlib import Path

import crafted_parquet
import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from crafted_parquet import Pack, page

from streamload.errors import CorruptDataError
from streamload.formats.open import open_source

WIDTH = 65
"""Bytes of a record: larger than what is held in memory."""


def records(count: int) -> np.ndarray:
    """Random bytes."""
    return np.random.default_rng(0).integers(0, 256, (count, WIDTH), dtype=np.uint8)


PACKS: dict[str, Pack] = {
    "none": bytes,
    "gzip": gzip.compress,
    "zstd": lambda body: bytes(imagecodecs.zstd_encode(body)),
}


def as_pyarrow_reads(path: Path) -> np.ndarray:
    """The records of a file."""
    return np.array([np.frombuffer(one, np.uint8) for one in pq.read_table(path)["x"].to_pylist()])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("codec", PACKS)
def test_levels_may_be_bits(codec: str, version: int, tmp_path: Path):
    """They are longer than a record then, and reach beyond the row before, whichever page is asked for behind which record."""
    data, path = records(2500), tmp_path / "a.parquet"
    pages = [page(data[first : first + 1000], PACKS[codec], bits=True, version=version) for first in (0, 1000, 2000)]
    crafted_parquet.write(path, pages, records=2500, width=WIDTH, codec=codec)
    np.testing.assert_array_equal(as_pyarrow_reads(path), data)
    source = open_source(path)
    for order in (np.r_[999, 1000:2000], np.r_[998:2500], np.r_[0:2500], np.r_[5, 999, 1000:2000, 1, 2]):
        np.testing.assert_array_equal(source[order]["x"], data[order])
    source.close()


def in_members(body: bytes) -> bytes:
    """Packed by gzip in three pieces, one of them of nothing."""
    return gzip.compress(body[:100]) + gzip.compress(b"") + gzip.compress(body[100:])


@pytest.mark.parametrize("version", [1, 2])
def test_a_page_may_be_several_gzip_members(version: int, tmp_path: Path):
    """As the format allows."""
    data, path = records(100), tmp_path / "a.parquet"
    pages = [page(data[:60], in_members, version=version), page(data[60:], gzip.compress, version=version)]
    crafted_parquet.write(path, pages, records=100, width=WIDTH, codec="gzip")
    np.testing.assert_array_equal(as_pyarrow_reads(path), data)
    assert_delivers(path, {"x": data})


@pytest.mark.parametrize(
    "pack",
    [lambda body: in_members(body)[:-9], lambda body: in_members(body) + b"x", lambda body: in_members(body + b"x")],
    ids=["cut short", "something behind", "too much"],
)
def test_gzip_members_that_are_damaged_are_refused(pack: Pack, tmp_path: Path):
    """None is taken for the whole page."""
    path = tmp_path / "a.parquet"
    crafted_parquet.write(path, [page(records(50), pack)], records=50, width=WIDTH, codec="gzip")
    with open_source(path) as source, pytest.raises(CorruptDataError, match="column 'x' cannot be read: a page cannot be unpacked: "):
        source[:]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "between", "last"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_pages_may_hold_no_value(codec: str, version: int, place: int, tmp_path: Path):
    """Wherever they stand in their column; pyarrow takes one that stands first for the end."""
    data, path = records(100), tmp_path / "a.parquet"
    pages = [page(data[:50], PACKS[codec], version=version), page(data[50:], PACKS[codec], version=version)]
    pages.insert(place, page(data[:0], PACKS[codec], version=version))
    crafted_parquet.write(path, pages, records=100, width=WIDTH, codec=codec)
    if place:
        np.testing.assert_array_equal(as_pyarrow_reads(path), data)
    assert_delivers(path, {"x": data})


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_pages_of_values_nobody_counted_are_refused_where_nothing_is_packed(codec: str, tmp_path: Path):
    """What is packed and not claimed is nobody's."""
    data, path = records(100), tmp_path / "a.parquet"
    pages = [page(data[:50], PACKS[codec]), page(data[50:], PACKS[codec])]
    crafted_parquet.write(path, pages, records=50, width=WIDTH, codec=codec)
    if codec != "none":
        assert_delivers(path, {"x": data[:50]})
        return
    with open_source(path) as source, pytest.raises(CorruptDataError, match="end at byte"):
        source[:]

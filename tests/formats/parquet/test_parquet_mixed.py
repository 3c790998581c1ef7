"""Pages of every kind side by side, in one file and over shards, read back and forth: what a reader keeps is never written again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import streamload as sl
from streamload.formats.open import open_source
from streamload.source import ReadStats
from streamload.storage.files import OpenFiles

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")

SMALL = {"data_page_size": 9000, "write_batch_size": 7, "dictionary_pagesize_limit": 30_000}
"""Pages of some 30 records, and a dictionary that is given up after some 100."""
KINDS: dict[str, dict[str, Any]] = {
    "a dictionary, then plain pages": {**SMALL},
    "the same uncompressed": {"compression": "none", **SMALL},
    "the same uncompressed, without dictionary, nullable": {"compression": "none", **SMALL, "use_dictionary": False},
    "snappy in one page": {"use_dictionary": False},
    "zstd in small pages": {"compression": "zstd", **SMALL, "use_dictionary": False},
    "gzip, version 2": {"compression": "gzip", "data_page_version": "2.0", **SMALL},
    "uncompressed, version 2": {"compression": "none", "data_page_version": "2.0", **SMALL},
    "many row groups": {"compression": "lz4", "row_group_size": 50},
}


def write(path: Path, data: np.ndarray, *, nullable: bool = True, **options: Any) -> None:
    """Records of bytes; nullable, as most writers have it."""
    values = pa.Array.from_buffers(pa.binary(data.shape[1]), len(data), [None, pa.py_buffer(np.ascontiguousarray(data))])
    schema = pa.schema([pa.field("image", values.type, nullable=nullable)])
    pq.write_table(pa.table([values], schema=schema), path, **options)


def images(records: int, seed: int = 0, different: int | None = None, nbytes: int = 300) -> np.ndarray:
    """Random records; of a few different ones, where that is said."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (different or records, nbytes), dtype=np.uint8)
    return data if different is None else data[rng.integers(0, different, records)]


def assert_reads(path: Path, expected: np.ndarray, *, mapped: bool) -> None:
    """One reader, for every two pages: a record of one, all of the other at once, and all of the first again."""
    with open_source(path) as source:
        files, column = OpenFiles(source.fingerprints), source.columns[0]
        for number in range(len(source.fingerprints)) if mapped else ():
            while not files.map(number).populated:
                assert files.map(number).populate()
        pages = [np.arange(start, stop) for start, stop in pairwise(getattr(column, "starts").tolist())]  # noqa: B009
        for kept in pages:
            reader = column.reader(files, ReadStats())
            for records in (one for other in pages for one in (kept[:1], other, kept)):
                out = np.zeros((len(records), expected.shape[1]), np.uint8)
                reader.gather(records, out, np.arange(len(records)))
                np.testing.assert_array_equal(out, expected[records])
            reader.close()
        files.close()


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("different", [None, 9], ids=["all different", "few different"])
def test_pages_of_one_file(kind: str, different: int | None, mapped: bool, tmp_path: Path) -> None:
    """A dictionary page that fills up and is given up for plain pages, among others."""
    data = images(600, different=different)
    write(tmp_path / "data.parquet", data, **KINDS[kind])
    assert_reads(tmp_path / "data.parquet", data, mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("nullable", [True, False], ids=["optional", "required"])
def test_shards_of_every_kind(nullable: bool, mapped: bool, tmp_path: Path) -> None:
    """Each kind beside each other."""
    parts = [images(80, seed, 9 if seed % 2 else None) for seed in range(2 * len(KINDS))]
    for number, (part, kind) in enumerate(zip(parts, [*KINDS, *reversed(KINDS)], strict=True)):
        write(tmp_path / f"{number:02}.parquet", part, nullable=nullable, **KINDS[kind])
    assert_reads(tmp_path, np.concatenate(parts), mapped=mapped)


@pytest.mark.parametrize(("workers", "io"), [(0, "read"), (2, "read"), (2, "mmap")])
@pytest.mark.parametrize("order", [False, True, sl.Exact()], ids=repr)
def test_epochs_over_a_dictionary_and_plain_pages_and_over_shards(
    order: Any, workers: int, io: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs of one file as pyarrow writes it, whose row groups are cut at pages, and of three shards of three codecs."""
    monkeypatch.setattr("streamload.formats.parquet.planning.KEPT_NBYTES", 5000)
    options = {"data_page_size": 90_000, "write_batch_size": 7, "dictionary_pagesize_limit": 300_000}
    parts = [images(140, seed, nbytes=3072) for seed in range(3)]
    write(tmp_path / "one.parquet", parts[0], **options)
    (tmp_path / "three").mkdir()
    for number, (part, codec) in enumerate(zip(parts, ("none", "zstd", "snappy"), strict=True)):
        write(tmp_path / "three" / f"{number}.parquet", part, nullable=False, compression=codec, use_dictionary=False)
    for path, expected in ((tmp_path / "one.parquet", parts[0]), (tmp_path / "three", np.concatenate(parts))):
        with sl.open(path) as data, sl.Loader(data, batch_size=33, shuffle=order, num_workers=workers, io=io) as loader:
            for epoch in loader.epochs(3):
                for batch in epoch:
                    np.testing.assert_array_equal(batch["image"], expected[batch.records])

"""Damaged Parquet, Arrow and NumPy files by the thousand: the same records, an error of ours, or what the format's own library reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import parquet_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults_hdf5.mutants import LIMIT_SECONDS, apart, flips, plain, same, streamloads, truncations
from time_limits import within

QUICK, MANY = 60, 150
"""Flips of one layout, and half as many swaps."""
RECORDS = 40
Arrays = dict[str, np.ndarray]


def pixels() -> np.ndarray:
    """Records that do not look alike, and that compress."""
    return ((np.arange(RECORDS)[:, None] * 7 + np.arange(108)[None, :] // 4) % 251).astype("u1").reshape(RECORDS, 6, 6, 3)


def table() -> pa.Table:
    """Images, labels, and vectors as lists."""
    image = pa.field("image", pa.binary(108), metadata={"shape": "[6, 6, 3]"})
    vectors = pa.array([[float(at), float(-at)] for at in range(RECORDS)], pa.list_(pa.float32()))
    schema = pa.schema([image, pa.field("label", pa.int64()), pa.field("vector", vectors.type)])
    return pa.table([parquet_files.binary(pixels()), pa.array(np.arange(RECORDS)), vectors], schema=schema)


def expected() -> Arrays:
    """The records of `table`."""
    at = np.arange(RECORDS)
    return {"image": pixels(), "label": at, "vector": np.stack([at, -at], axis=1).astype("f4")}


def parquet(**options: Any) -> Callable[[Path], None]:
    """A writer of Parquet."""
    return lambda path: pq.write_table(table(), path, **({"row_group_size": 16} | options))


def arrow(*, stream: bool, compression: str | None = None, dictionary: bool = False) -> Callable[[Path], None]:
    """A writer of Arrow, of labels as they are or in a dictionary."""

    def write(path: Path) -> None:
        written = table()
        if dictionary:
            written = written.set_column(1, "label", written["label"].combine_chunks().dictionary_encode())
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), written.schema, options=options) as writer:
            writer.write_table(written, max_chunksize=16)

    return write


def numpy_file(order: str) -> Callable[[Path], None]:
    """A writer of one array, of a structured one, or of an archive."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            if order == "structured":
                records = np.zeros(RECORDS, np.dtype([("image", "u1", (6, 6, 3)), ("label", "<i8"), ("vector", "<f4", (2,))]))
                for name, array in expected().items():
                    records[name] = array
                np.save(file, records)
            elif order == "archive":
                np.savez(file, **expected())
            else:
                np.save(file, np.asarray(pixels(), order=order))

    return write


PLAIN: dict[str, Any] = {"compression": "none", "use_dictionary": False}
LAYOUTS: dict[str, Callable[[Path], None]] = {
    "Parquet, raw": parquet(**PLAIN),
    "Parquet, raw, checked": parquet(**PLAIN, write_page_checksum=True),
    "Parquet, raw, version 2": parquet(**PLAIN, data_page_version="2.0"),
    "Parquet, dictionary, checked": parquet(compression="none", write_page_checksum=True),
    "Parquet, zstd": parquet(compression="zstd"),
    "Parquet, zstd, checked": parquet(compression="zstd", use_dictionary=False, write_page_checksum=True),
    "Parquet, snappy, version 2, checked": parquet(compression="snappy", data_page_version="2.0", write_page_checksum=True),
    "Arrow file": arrow(stream=False),
    "Arrow stream": arrow(stream=True),
    "Arrow stream, zstd": arrow(stream=True, compression="zstd"),
    "Arrow file, dictionary": arrow(stream=False, dictionary=True),
    "NumPy, C order": numpy_file("C"),
    "NumPy, Fortran order": numpy_file("F"),
    "NumPy, structured": numpy_file("structured"),
    "NumPy, archive": numpy_file("archive"),
}


def library(layout: str, path: Path, names: list[str]) -> Arrays:
    """What the format's own library reads."""
    if layout.startswith("NumPy"):
        found: Any = np.load(path, allow_pickle=False)
        return {names[0]: found} if isinstance(found, np.ndarray) and not found.dtype.names else {name: found[name] for name in names}
    if layout.startswith("Parquet"):
        columns = pq.read_table(path, columns=names, page_checksum_verification=True, use_threads=False)
    else:
        # A file is a stream with a footer, of which only the places of its batches are looked at.
        columns = pa.ipc.open_stream(path.read_bytes()[0 if "stream" in layout else 8 :]).read_all()
    columns.validate(full=True)
    return {name: plain(columns[name].to_pylist()) for name in names}


def agree(ours: Arrays, theirs: object) -> bool:
    """Whether both read the same numbers, whatever the shapes and widths."""
    return isinstance(theirs, dict) and all(
        np.array_equal(
            ours[name].reshape(-1), np.asarray(theirs[name]).astype(ours[name].dtype).reshape(-1), equal_nan=ours[name].dtype.kind == "f"
        )
        for name in ours
    )


def swaps(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """The file with two stretches of one length exchanged: pages, headers, anything."""
    chance = np.random.default_rng(seed)
    for _ in range(count):
        nbytes = int(chance.choice([4, 8, 64, 108, 16 * 108]))
        one, other = sorted(int(chance.integers(max(1, len(data) - nbytes))) for _ in range(2))
        if one + nbytes > other:
            continue
        mutant = bytearray(data)
        mutant[one : one + nbytes], mutant[other : other + nbytes] = data[other : other + nbytes], data[one : one + nbytes]
        if mutant != data:
            yield f"{nbytes} bytes at {one:,} and {other:,} exchanged", bytes(mutant)


def judge(layout: str, mutants: Iterable[tuple[str, bytes]], folder: Path) -> Counter[str]:
    """Read every mutant, and count what came of them. Fails at the first that is neither itself, nor refused, nor what it says now."""
    whole = expected()
    seen: Counter[str] = Counter()
    path = folder / ("image.npy" if layout.startswith("NumPy") else "image")
    for what, data in mutants:
        path.write_bytes(data)
        began = time.monotonic()
        outcome = streamloads(path)
        assert within(time.monotonic() - began, LIMIT_SECONDS), what
        if isinstance(outcome, str):
            seen[outcome] += 1
        elif same(outcome, {name: whole[name] for name in outcome if name in whole}):
            seen["the same records"] += 1
        else:
            seen["other records"] += 1
            names = list(outcome)
            # pyarrow may crash on such files, NumPy does not.
            theirs = library(layout, path, names) if layout.startswith("NumPy") else apart(lambda names=names: library(layout, path, names))
            if "exchanged" in what and "flatbuffers" in str(theirs):
                continue  # Of two places that are damaged at once, one is metadata that nothing here needs: the other is data.
            assert agree(outcome, theirs), f"{what}: streamload reads what the library does not: {str(theirs)[:300]}"
    return seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every layout's file."""
    folder = tmp_path_factory.mktemp("whole")
    for name, write in LAYOUTS.items():
        write(folder / name)
    return {name: (folder / name).read_bytes() for name in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_cut_at_any_percent_is_refused(layout: str, whole: dict[str, bytes], tmp_path: Path):
    """Never fewer records, never zeros."""
    seen = judge(layout, truncations(whole[layout]), tmp_path)
    assert seen["other records"] == 0
    assert seen["the same records"] == 0
    assert sum(seen.values()) == 100


@pytest.mark.parametrize("layout", LAYOUTS)
def test_changed_bytes_give_the_same_records_or_an_error(layout: str, whole: dict[str, bytes], tmp_path: Path):
    """In data and metadata alike; without checksums, at most what the damaged file says to the format's library too."""
    seen = judge(layout, flips(whole[layout], QUICK, 1), tmp_path)
    seen += judge(layout, swaps(whole[layout], QUICK // 2, 1), tmp_path)
    assert sum(seen.values()) > QUICK


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_changed_bytes_by_the_thousand(layout: str, whole: dict[str, bytes], tmp_path: Path):
    """The same, at length."""
    judge(layout, flips(whole[layout], MANY, 2), tmp_path)
    judge(layout, swaps(whole[layout], MANY // 2, 2), tmp_path)

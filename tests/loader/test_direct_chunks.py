"""Chunks read past the page cache while others are decoded: the same bytes, whatever was expected, and damage is named."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamload as sl
import streamload.storage.direct_io
from streamload.formats.columns.read_ahead import ReadAhead, ring_nbytes
from streamload.storage.direct_io import LEAST_RECORD_NBYTES, RING_NBYTES, DirectReads
from streamload.storage.files import OpenFiles, fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only:UserWarning")
WORKERS = pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
RECORDS, RECORD_NBYTES = 1_100, 12_288
KEEP = {"libver": ("earliest", "v110")}


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Noise, which does not shrink: a chunk is about as long stored as decoded."""
    return np.random.default_rng(7).integers(0, 256, (RECORDS, 64, 192), np.uint8)


def write(path: Path, values: np.ndarray, chunk: tuple[int, int, int]) -> Path:
    with h5py.File(path, "w", **KEEP) as file:
        file.create_dataset("image", data=values, chunks=chunk, compression="gzip", compression_opts=1)
        file.create_dataset("label", data=np.arange(len(values)), chunks=(100,), compression="gzip")
    return path


LAYOUTS = {
    "chunks of 16 records": (16, 64, 192),
    "chunks of 7 records, the last of one": (7, 64, 192),
    "half records, 12 a chunk": (12, 32, 192),
    "columns of records, 20 a chunk": (20, 64, 100),
    "all but a few in one chunk": (512, 64, 192),
}


@pytest.mark.parametrize("chunk", LAYOUTS.values(), ids=LAYOUTS.keys())
@WORKERS
def test_the_same_records_as_through_the_page_cache(tmp_path: Path, values: np.ndarray, chunk: tuple[int, int, int], workers: int) -> None:
    """Blocks in windows, records one by one, and both over several files; a second epoch, and one that is left half-way."""
    half = RECORDS // 2 - 3
    write(tmp_path / "0.h5", values[:half], chunk)
    write(tmp_path / "1.h5", values[half:], chunk)
    data = sl.open(str(tmp_path / "*.h5"))
    for shuffle in (sl.Block(window="4 MB" if chunk[0] < 500 else "30 MB"), False):
        with sl.Loader(data, batch_size=50, shuffle=shuffle, num_workers=workers, io="direct", memory="900 MB", seed=5) as loader:
            assert "read past the page cache" in repr(loader)
            next(iter(loader))
            for _ in range(2 if shuffle else 1):
                seen: list[int] = []
                for batch in loader:
                    assert (batch["image"] == values[batch.records]).all()
                    seen += batch.records.tolist()
                assert sorted(seen) == list(range(RECORDS))


def test_single_records_in_chunks_of_their_own_are_read_ahead_within_a_batch(tmp_path: Path, values: np.ndarray) -> None:
    large = np.ascontiguousarray(values[:1_000]).reshape(200, 320, 192)
    data = sl.open(write(tmp_path / "data.h5", large, (1, 320, 192)))
    with sl.Loader(data, batch_size=32, shuffle=sl.Exact(), num_workers=2, io="direct", memory="500 MB") as loader:
        assert "read past the page cache" in repr(loader)
        for batch in loader:
            assert (batch["image"] == large[batch.records]).all()


@WORKERS
def test_damage_is_named_with_its_records(tmp_path: Path, values: np.ndarray, workers: int) -> None:
    """A flipped byte in a chunk that was read ahead; what comes before it is whole."""
    path = write(tmp_path / "data.h5", values, (16, 64, 192))
    with h5py.File(path) as file:
        place = file["image"].id.get_chunk_info(40)
    with open(path, "r+b") as file:
        file.seek(place.byte_offset + place.size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    data = sl.open(path)
    with sl.Loader(data, batch_size=16, shuffle=False, num_workers=workers, io="direct", memory="500 MB") as loader:
        right = ((batch["image"] == values[batch.records]).all() for batch in loader)
        with pytest.raises(sl.CorruptDataError, match=r"the chunk of records 640:656 of 'image'"):
            assert all(right)


@WORKERS
def test_a_file_that_shrinks_is_an_error(tmp_path: Path, values: np.ndarray, workers: int) -> None:
    """While reads of what is gone are under way."""
    path = write(tmp_path / "data.h5", values, (16, 64, 192))
    with sl.Loader(
        sl.open(path), batch_size=8, shuffle=sl.Block(window="2 MB"), num_workers=workers, io="direct", memory="500 MB"
    ) as loader:
        epoch = iter(loader)
        next(epoch)
        os.truncate(path, 3_000_000)
        with pytest.raises(sl.SourceChangedError, match="shrank from"):
            deque(epoch, maxlen=0)


def test_where_the_system_has_no_such_reads_the_page_cache_serves(
    tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamload.storage.direct_io, "_NUMBERS", {})
    with pytest.raises(OSError, match="asynchronous reads are Linux's"):
        DirectReads()
    data = sl.open(write(tmp_path / "data.h5", values, (16, 64, 192)))
    with sl.Loader(data, batch_size=100, num_workers=0, io="direct", memory="500 MB") as loader:
        for batch in loader:
            assert (batch["image"] == values[batch.records]).all()


def test_small_chunks_and_small_fields_are_left_to_the_page_cache() -> None:
    """Chunks below 32 KB in the mean, or less than a ring of them; the ring holds four of the largest."""
    assert ring_nbytes([]) == 0
    assert ring_nbytes([np.full(10_000, LEAST_RECORD_NBYTES - 1)]) == 0
    assert ring_nbytes([np.full(10, LEAST_RECORD_NBYTES)]) == 0
    assert ring_nbytes([np.full(500, LEAST_RECORD_NBYTES), np.empty(0, np.int64)]) == RING_NBYTES
    assert ring_nbytes([np.array([20_000_000])]) >= 4 * 20_000_000


def test_any_order_of_taking_gives_the_right_bytes(tmp_path: Path) -> None:
    """Expected ones in another order, others that nobody expected, twice the same; files whose descriptors take turns."""
    rng = np.random.default_rng(11)
    wholes = [rng.integers(0, 256, 3_000_000, np.uint8) for _ in range(3)]
    paths = [tmp_path / str(number) for number in range(3)]
    for path, whole in zip(paths, wholes, strict=True):
        path.write_bytes(whole.tobytes())
    files = OpenFiles([fingerprint(path) for path in paths], limit=1, direct=True)
    if files.direct(0) is None:
        pytest.skip("this file system has no direct reads")
    ahead = ReadAhead.create(512 * 1024, files.direct)
    assert ahead is not None
    try:
        chunks = {(n, k): (n, int(rng.integers(0, 2_900_000)), int(rng.integers(1, 100_000))) for n in range(3) for k in range(30)}
        keys = [list(chunks)[k] for k in rng.permutation(len(chunks))]
        ahead.expect((key, chunks[key]) for key in keys)
        for key in keys[:20] + keys[25:50][::-1] + keys[50:80:2] + keys[:5]:
            number, offset, nbytes = chunks[key]
            came = ahead.take(key)
            assert came is None or (came == wholes[number][offset : offset + nbytes]).all()
            assert came is not None or key in keys[:50]
            ahead.done(key)
        ahead.expect([((9, 9), (0, 2_999_000, 5_000))])
        assert ahead.take((9, 9)) is None, "more was asked for than the file has"
    finally:
        ahead.close()
        files.close()

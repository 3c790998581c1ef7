"""Reading past the page cache: the same bytes, no page left behind, and only where it pays."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections import deque
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamload as sl
from streamload.memory.limits import available_nbytes
from streamload.storage.direct_io import LEAST_RECORD_NBYTES, PIECE_NBYTES, DirectReads

WORKERS = pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
KEEP = {"libver": ("earliest", "v110")}


def images(records: int, nbytes: int) -> np.ndarray:
    return np.random.default_rng(nbytes).integers(0, 256, (records, nbytes), np.uint8)


def write(path: Path, values: np.ndarray) -> Path:
    """Images, and labels that say which each is."""
    with h5py.File(path, "w", **KEEP) as file:
        file["image"], file["label"] = values, np.arange(len(values))
    return path


def passes_by(path: Path) -> bool:
    """Whether the file system of a path lets reads pass the page cache by."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def cached(path: Path) -> list[bool]:
    """For every page of a file, whether the page cache holds it; asking by reading would bring pages in."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        there = np.zeros(-(-len(mapping) // mmap.PAGESIZE), np.uint8)
        view = np.frombuffer(mapping, np.uint8)
        failed = ctypes.CDLL(None).mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(len(mapping)), ctypes.c_void_p(there.ctypes.data)
        )
        del view
    assert not failed
    return (there & 1).astype(bool).tolist()


@pytest.mark.parametrize(
    "nbytes", [LEAST_RECORD_NBYTES, LEAST_RECORD_NBYTES + 1, 150_528, PIECE_NBYTES, 2 * PIECE_NBYTES + 4097], ids="{:,} B".format
)
@WORKERS
def test_the_same_records_as_through_the_page_cache(tmp_path: Path, nbytes: int, workers: int) -> None:
    """Records of whole and of odd lengths, in pieces, up to the last byte of a file; several files; another byte order."""
    values = images(23, nbytes)
    wide = values[:, : nbytes // 2 * 2].view("<u2")
    write(tmp_path / "0.h5", values[:9])
    write(tmp_path / "1.h5", values[9:])
    for name, part in (("0.h5", wide[:9]), ("1.h5", wide[9:])):
        with h5py.File(tmp_path / name, "r+", **KEEP) as file:
            file["wide"] = part.astype(">u2")
    with sl.Loader(sl.open(str(tmp_path / "*.h5")), batch_size=5, num_workers=workers, io="direct", memory="500 MB") as loader:
        seen: list[int] = []
        for batch in loader:
            assert (batch["image"] == values[batch.records]).all()
            assert (batch["wide"] == wide[batch.records]).all()
            seen += batch.records.tolist()
        assert "read past the page cache" in repr(loader)
        assert loader.footprint().scratch > 0
    assert sorted(seen) == list(range(23))


@WORKERS
def test_nothing_is_left_in_the_page_cache(tmp_path: Path, workers: int) -> None:
    """After an epoch of direct reads fewer than one page in ten of the file is in memory (its header and labels are)."""
    path = write(tmp_path / "data.h5", images(40, 150_528))
    if not passes_by(path):
        pytest.skip("this file system has no direct reads")
    data = sl.open(path)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    with sl.Loader(data, batch_size=8, num_workers=workers, io="direct", memory="200 MB") as loader:
        assert sum(len(batch.records) for batch in loader) == 40
    there = cached(path)
    assert sum(there) < len(there) // 10


def test_auto_reads_directly_what_is_far_larger_than_memory_and_only_that(tmp_path: Path) -> None:
    """Large raw records in exact order; small ones, and raw ones in block order, go through the page cache."""
    path = tmp_path / "sparse.h5"
    many = 3 * available_nbytes() // 150_528
    with h5py.File(path, "w", **KEEP) as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        for name, shape in ((b"image", (many, 150_528)), (b"small", (many, 3_072))):
            h5py.h5d.create(file.id, name, h5py.h5t.STD_U8LE, h5py.h5s.create_simple(shape), plan)
    large, small = sl.open(path, fields=["image"]), sl.open(path, fields=["small"])
    for data, shuffle, word in (
        (large, sl.Exact(), "read past the page cache"),
        (large, sl.Block(), "read"),
        (large, False, "read past the page cache"),
        (small, sl.Exact(), "read"),
    ):
        with sl.Loader(data, batch_size=4, shuffle=shuffle, num_workers=1, memory="200 MB") as loader:
            assert f" · files are {word})\n" in repr(loader)
            assert not next(iter(loader))[data.schema.names[0]].any()


@WORKERS
def test_a_file_that_shrinks_is_an_error(tmp_path: Path, workers: int) -> None:
    path = write(tmp_path / "data.h5", images(64, 70_000))
    with sl.Loader(sl.open(path), batch_size=4, num_workers=workers, io="direct", memory="200 MB", seed=3) as loader:
        epoch = iter(loader)
        next(epoch)
        os.truncate(path, 3_000_000)
        with pytest.raises(sl.SourceChangedError, match="shrank from"):
            deque(epoch, maxlen=0)  # What was read before may be many batches.


def test_a_worker_killed_while_it_reads_is_named(tmp_path: Path) -> None:
    """The system ends its reads with it, and what it had read is not shown."""
    path = write(tmp_path / "data.h5", images(64, 70_000))
    with sl.Loader(sl.open(path), batch_size=4, num_workers=2, io="direct", memory="200 MB") as loader:
        epoch = iter(loader)
        next(epoch)
        for pid in loader.worker_pids:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(sl.WorkerCrashedError, match="SIGKILL"):
            deque(epoch, maxlen=0)


def test_what_could_not_be_read_is_said_record_by_record(tmp_path: Path) -> None:
    """Records beyond the end of a file are reported, the others are read."""
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(256)) * 1024)
    fd = os.open(path, os.O_RDONLY)
    reads = DirectReads()
    try:
        out = np.zeros((4, 100_000), np.uint8)
        offsets = np.array([1, 262_000, 100_001, 10**9])
        starts = np.array([3, 2, 1, 0]) * 100_000
        assert sorted(reads.read(fd, offsets, np.full(4, 100_000), out.reshape(-1), starts)) == [1, 3]
    finally:
        reads.close()
        os.close(fd)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    assert (out[3] == whole[1:100_001]).all()
    assert (out[1] == whole[100_001:200_001]).all()

"""Writes past the page cache: the bytes are those that were given, wherever they begin and however they come."""

from __future__ import annotations

import gc
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import image_folder
from hypothesis import given, settings
from hypothesis import strategies as st

import streamload
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.shuffle import WrittenOrder
from streamload.tools.convert.tasks import perform
from streamload.tools.convert.writers.registry import WriteOptions
from streamload.tools.files.direct_io import ALIGNMENT, DirectFile, DirectStream, aligned_empty, aligned_records, direct_descriptor

SIZES = st.lists(st.sampled_from([0, 1, 100, ALIGNMENT - 1, ALIGNMENT, 3 * ALIGNMENT, 50_000, 150_528]), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(begin=st.sampled_from([0, 1, 2048, ALIGNMENT, 5000]), sizes=SIZES, aligned=st.booleans(), past=st.booleans())
def test_bytes_stand_where_they_belong(begin: int, sizes: list[int], aligned: bool, past: bool, tmp_path_factory: pytest.TempPathFactory):
    """Of any sizes, from any place on, from aligned memory or not, past the page cache or through it; what is around stays."""
    path = tmp_path_factory.mktemp("stream") / "a"
    total = sum(sizes)
    data = np.random.default_rng(total).integers(0, 256, total, np.uint8)
    path.write_bytes(b"\xee" * (begin + total + 7000))
    fd = os.open(path, os.O_RDWR)
    direct = direct_descriptor(str(path), os.O_RDWR) if past else None
    stream = DirectStream(fd, direct, begin)
    told: list[tuple[int, int]] = []
    at = 0
    for size in sizes:
        memory = aligned_empty((max(size, 1 << 20),), np.dtype(np.uint8))[:size] if aligned else np.empty(size + 1, np.uint8)[1:]
        memory[:] = data[at : at + size]
        assert stream.write(memory.data) == size
        at += size
        assert stream.tell() == begin + at
        told += stream.settled()
        # What was told is there to stay, in order and without gaps; no part of it belongs to two writes.
        there = path.read_bytes()
        assert all(there[start:stop] == data[start - begin : stop - begin].tobytes() for start, stop in told)
    stream.flush()
    told += stream.settled()
    assert ([begin, *(stop for _, stop in told)] == [*(start for start, _ in told), begin + total]) if direct is not None else not told
    borders = set((begin + np.cumsum(sizes)).tolist())
    assert not any(start < border < stop for start, stop in told for border in borders)
    for one in (fd, direct):
        if one is not None:
            os.close(one)
    assert path.read_bytes() == b"\xee" * begin + data.tobytes() + b"\xee" * 7000


def test_a_file_is_whole_when_it_is_closed(tmp_path: Path):
    """More than is staged at a time, in pieces that fit nothing; a second close does nothing; an older file is not written over."""
    data = np.random.default_rng(0).integers(0, 256, 9_999_999, np.uint8)
    file = DirectFile(str(tmp_path / "a"))
    for at in range(0, len(data), 777_777):
        file.write(data[at : at + 777_777].data)
    assert file.tell() == len(data)
    file.close()
    file.close()
    assert (tmp_path / "a").read_bytes() == data.tobytes()
    with pytest.raises(FileExistsError):
        DirectFile(str(tmp_path / "a"))


def test_blocks_that_a_device_refuses_go_through_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A device that asks for more than the alignment that is kept to, here none at all: it answers EINVAL."""
    monkeypatch.setattr("streamload.tools.files.direct_io.ALIGNMENT", 1)
    path = tmp_path / "a"
    path.touch()
    direct = direct_descriptor(str(path), os.O_WRONLY)
    if direct is None:
        pytest.skip("this file system has no direct writes")
    fd = os.open(path, os.O_RDWR)
    try:
        data = np.random.default_rng(0).integers(0, 256, 1_000_003, np.uint8)
        with pytest.raises(OSError, match="Invalid argument"):
            os.pwrite(direct, data[3:].data, 0)
        stream = DirectStream(fd, direct, 0)
        for start in range(0, len(data), 333_333):
            stream.write(data[start : start + 333_333].data)
        stream.flush()
        assert stream.tell() == len(data)
        assert path.read_bytes() == data.tobytes()
    finally:
        os.close(fd)
        os.close(direct)


def test_memory_is_aligned_and_records_fill_blocks():
    """Large arrays begin at a block; as many records are taken at a time as fill whole ones, if so many may be taken."""
    assert aligned_empty((7, 224, 224, 3), np.dtype(np.uint8)).ctypes.data % ALIGNMENT == 0
    assert aligned_empty((0, 5), np.dtype(np.float32)).shape == (0, 5)
    assert aligned_records(111, 150_528) == 108
    assert aligned_records(85, 196_608) == 85
    assert aligned_records(3, 150_528) == 3
    assert aligned_records(8192, 0) == 8192


@pytest.mark.parametrize("target", ["hdf5", "parquet"])
def test_a_conversion_that_fails_leaves_no_descriptor(target: str, tmp_path: Path):
    """In a process that lives on, as those of a cluster do: an image in the second batch is none."""
    folder = tmp_path / "in"
    image_folder(folder, {"a": 30}, shape=(512, 512, 3))
    (folder / "a" / "029.png").write_bytes(b"no image")
    task: dict[str, Any] = {"streamload": streamload.__version__, "request": OpenRequest(path=str(folder)).plain(), "kind": "write"}
    task |= {"style": asdict(WriteOptions(format=target, codec="none", level=None, chunk_records=None)), "nbytes": 0, "threads": 2}
    task |= {"start": 0, "stop": 30, "part": "", "part_start": 0, "scattered": None, "total": 30, "buckets": 1}
    task |= {"order": WrittenOrder(ends=(30,), shuffle="no", seed=0).plain(), "path": str(tmp_path / "out")}

    def descriptors() -> set[str]:
        gc.collect()
        links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
        return {os.readlink(link) for link in links if os.path.lexists(link)}

    assert "029.png" in perform(task)["error"]["message"]
    assert not any(str(tmp_path) in one for one in descriptors())
    assert sorted(os.listdir(tmp_path)) == ["in"]

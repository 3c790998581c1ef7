"""Sources of very many small things: what is kept of each record in memory, and how many files are open at a time."""

from __future__ import annotations

import gzip
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from examples.lmdb import database
from examples.tar import png, write
from foreign_files import tfrecord

import streamload as sl
from streamload.loader.budget import index_nbytes
from streamload.storage.file_table import FileTable
from streamload.storage.files import MOST_DESCRIPTORS

MOST_NBYTES = 24
"""Of the index, for each record and field; names apart."""
IMAGE = png(np.zeros((4, 4, 3), np.uint8))


def folder(path: Path, count: int) -> None:
    """A file a record, in two classes."""
    for number in range(count):
        (path / str(number % 2)).mkdir(parents=True, exist_ok=True)
        (path / str(number % 2) / f"{number}.png").write_bytes(IMAGE)


def masks(path: Path, count: int) -> None:
    """Two files a record."""
    for kind in ("images", "masks"):
        (path / kind).mkdir(parents=True)
        for number in range(count):
            (path / kind / f"{number}.png").write_bytes(IMAGE)


def tar(path: Path, count: int) -> None:
    """Two members a record."""
    write(path, [(f"{number}.{ending}", data) for number in range(count) for ending, data in (("png", IMAGE), ("cls", b"1"))])


def packed_tar(path: Path, count: int) -> None:
    """The same, compressed as a whole."""
    tar(path, count)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


def examples(path: Path, count: int) -> None:
    """Images, whole numbers, fractions, texts, and lists of any length."""
    records = [
        {"image": [IMAGE], "label": [number % 3], "box": [0.5] * 4, "text": [b"%d" % number], "ids": list(range(number % 4))}
        for number in range(count)
    ]
    tfrecord(path, records)


def keys(path: Path, count: int) -> None:
    """Images and labels by key."""
    held = {b"num-samples": b"%d" % count}
    for number in range(1, count + 1):
        held |= {b"image-%09d" % number: IMAGE, b"label-%09d" % number: b"%d" % number}
    database(path, held)


KINDS: dict[str, Callable[[Path, int], None]] = {
    "folder": folder,
    "masks": masks,
    "tar": tar,
    "tar.gz": packed_tar,
    "TFRecord": examples,
    "LMDB": keys,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_takes_24_bytes_a_record_and_field(kind: str, tmp_path: Path):
    """At most, texts and names apart: what two hundred more records add to it."""
    sizes: list[int] = []
    for count in (100, 300):
        KINDS[kind](tmp_path / str(count), count)
        with sl.open(tmp_path / str(count), decode=False) as source:
            assert len(source) == count
            files = source.fingerprints
            arrays = (files.inodes, files.nbytes, files.mtimes_ns, files.devices) if isinstance(files, FileTable) else ()
            columns = [column for column in source.columns if column.field.name != "text"]
            sizes.append(index_nbytes(columns) + sum(array.nbytes for array in arrays))
            fields = len(columns)
    assert (sizes[1] - sizes[0]) / 200 / fields <= MOST_NBYTES


def chunks(path: Path, count: int) -> None:
    """A file a chunk, each of two records."""
    import zarr
    from zarr.core.sync import cleanup_resources

    zarr.create_array(store=str(path / "image"), data=np.arange(count * 4, dtype=np.int32).reshape(count * 2, 2), chunks=(2, 2))
    cleanup_resources()  # Its threads would be taken for what a test left behind.


def archives(path: Path, count: int) -> None:
    """An archive a record."""
    path.mkdir()
    for number in range(count):
        write(path / f"{number}.tar", [("0.png", IMAGE)])


@pytest.mark.parametrize("make", [folder, chunks, archives], ids=["files", "chunks", "archives"])
def test_few_files_are_open_at_a_time(make: Callable[[Path, int], None], tmp_path: Path):
    """However many there are: no more than a few beyond those that may be kept open."""
    count = MOST_DESCRIPTORS + 50
    make(tmp_path / "data", count)
    with sl.open(tmp_path / "data") as source:
        before, most = len(os.listdir("/proc/self/fd")), 0
        with sl.Loader(source, batch_size=64, shuffle=True, num_workers=0, memory="256 MB") as loader:
            for batch in loader:
                most = max(most, len(os.listdir("/proc/self/fd")))
                assert len(batch)
    assert len(source) in (count, 2 * count)
    assert most - before <= MOST_DESCRIPTORS + 32


@pytest.mark.parametrize("sources", [1, 5])
def test_few_files_are_open_where_the_system_allows_few(sources: int, tmp_path: Path):
    """A Mac allows 256; a mixture of many parts shares what one source has."""
    for number in range(110):
        np.save(tmp_path / f"{number:03}.npy", np.arange(4) + 4 * number)
    with sl.open(tmp_path) as source:
        data = source if sources == 1 else sl.mix({f"part {at}": (source, 4) for at in range(sources)})
        with sl.Loader(data, batch_size=4 * sources, shuffle=sl.Exact(), num_workers=0, memory="256 MB") as loader:
            next(iter(loader))  # What has to be imported is imported.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 90, hard))
        try:
            with (
                sl.open(tmp_path) as again,
                sl.Loader(data, batch_size=4 * sources, shuffle=sl.Exact(), num_workers=0, memory="256 MB") as loader,
            ):
                for batch in loader:
                    assert (batch["array"] == batch.records).all()
                assert again[:]["array"].tolist() == list(range(440))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

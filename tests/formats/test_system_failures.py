"""What the system refuses is said to be that, and no damage of a file."""

from __future__ import annotations

import errno
import gzip
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamload.errors import CorruptDataError, SourceError
from streamload.formats.hdf5.open_file import open_file
from streamload.formats.parquet import pyarrow_file
from streamload.formats.zarr.stores import ZipStore
from streamload.storage.compressed_file import CompressedFile


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def zipped(path: Path) -> str:
    """A store, and more behind it than a reader has at hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(".zarray", "{}")
        archive.writestr("0", bytes(1 << 20))
    return str(path)


def unpack(path: str) -> None:
    """Its first byte."""
    CompressedFile(path, "gzip").read(0, 1)


def open_parquet(path: str) -> None:
    """As readers do."""
    try:
        pyarrow_file.open_file(path)
    except pyarrow_file.FAILURES as error:
        raise pyarrow_file.unreadable(path, error) from error


OPENED: dict[str, Callable[[str], object]] = {"h5": open_file, "parquet": open_parquet, "gz": unpack, "zip": ZipStore}


@pytest.mark.parametrize("kind", OPENED)
def test_too_many_open_files_are_no_damage(kind: str, tmp_path: Path):
    """And a file that is damaged still is."""
    path = str(tmp_path / f"a.{kind}")
    h5py.File(tmp_path / "a.h5", "w").close()
    pq.write_table(pa.table({"x": np.arange(3)}), tmp_path / "a.parquet")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x"))
    zipped(tmp_path / "a.zip")
    with no_descriptors(), pytest.raises(SourceError) as caught:
        OPENED[kind](path)
    assert caught.type is SourceError
    assert caught.value.message == f"{path} cannot be read: Too many open files."
    assert caught.value.hint == "Check its permissions, the disk and `ulimit -n`."
    assert caught.value.details["errno"] == errno.EMFILE
    Path(path).write_bytes(b"nonsense" * 100)
    with pytest.raises(CorruptDataError):
        OPENED[kind](path)


def test_a_member_that_the_system_cannot_read_is_no_damage(tmp_path: Path):
    """A folder stands where the file was, of which nothing can be read."""
    store = ZipStore(zipped(tmp_path / "a.zip"))
    assert store._archive.fp is not None
    folder = os.open(tmp_path, os.O_RDONLY)
    os.dup2(folder, store._archive.fp.fileno())
    os.close(folder)
    with pytest.raises(SourceError) as caught:
        store.read(".zarray")
    store.close()
    assert caught.type is SourceError
    assert caught.value.message == f"{tmp_path / 'a.zip'} cannot be read: Is a directory."

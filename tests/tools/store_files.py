"""Makes Zarr stores and LMDB databases with their own libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import numcodecs
import numpy as np
import pytest
import zarr

numcodecs.Blosc().encode(b"0123456789")  # it makes a lock that lasts as long as the process: before the first test


@pytest.fixture(autouse=True)
def _end_threads():
    """The library keeps threads of its own until the process ends; here they end with the test."""
    yield
    from zarr.core.sync import cleanup_resources

    cleanup_resources()


def zarr_store(path: Path, held: dict[str, np.ndarray], **options: Any) -> Path:
    """A group with an array a field; options go to the images."""
    group = zarr.open_group(path, mode="w", zarr_format=options.get("zarr_format", 3))
    for name, values in held.items():
        more = {key: value for key, value in options.items() if key != "zarr_format"} if values.ndim > 1 else {"chunks": (4,)}
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, **more)
        array[...] = values
    return path


def database(path: Path, held: dict[bytes, bytes], *, folder: bool = True) -> Path:
    """A database with keys and values."""
    with lmdb.open(str(path), subdir=folder, map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, value in held.items():
            transaction.put(key, value)
    return path

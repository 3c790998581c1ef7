"""Zarr stores for the contract, as the library zarr writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from zarr.core.sync import cleanup_resources

RECORDS = 50

numcodecs.Blosc().encode(b"0123456789")  # it makes a lock that lasts as long as the process: before the first test


def held() -> dict[str, np.ndarray]:
    """Images and labels."""
    images = np.random.default_rng(0).integers(0, 256, (RECORDS, 8, 6, 3), dtype=np.uint8)
    return {"image": images, "label": np.arange(RECORDS, dtype=np.int32)}


def write(path: Path | zarr.storage.StoreLike, arrays: dict[str, np.ndarray], version: int = 3, **options: Any) -> None:
    """A group with an array a field; the options are those of arrays of more than one axis."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    for name, values in arrays.items():
        more = options if values.ndim > 1 else {"chunks": (16,)}
        group.create_array(name, shape=values.shape, dtype=values.dtype, **more)[...] = values
    cleanup_resources()  # the library keeps threads of its own until the process ends


def _of(version: int, **options: Any) -> Callable[[Path], dict[str, np.ndarray]]:
    def make(path: Path) -> dict[str, np.ndarray]:
        write(path, held(), version, **options)
        return held()

    return make


EXAMPLES = {
    "version 3": _of(3, chunks=(16, 8, 6, 3)),
    "version 3, shards": _of(3, chunks=(5, 8, 3, 3), shards=(20, 8, 6, 3)),
    "version 3, not packed": _of(3, chunks=(16, 8, 6, 3), compressors=None),
    "version 2, Fortran order": _of(2, chunks=(16, 5, 6, 3), order="F"),
}

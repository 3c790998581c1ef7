"""Files whose records differ in length, in every format that has such, and what they must deliver."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamload.ragged import Ragged

Expected = dict[str, Any]


def values(records: int = 100, *, seed: int = 0, scale: int = 1) -> Expected:
    """Bytes, text, arrays of numbers and of points, some of them empty; text short enough to be held; labels."""
    rng = np.random.default_rng(seed)

    def sizes(most: int) -> list[int]:
        return (rng.integers(0, most * scale, records) * (rng.random(records) < 0.9)).tolist()

    return {
        "blob": Ragged.of([rng.bytes(size) for size in sizes(600)]),
        "caption": Ragged.of(["".join(rng.choice(list("abc dé€"), size)) for size in sizes(180)]),
        "name": Ragged.of([f"{number}.jpg" for number in range(records)]),
        "tokens": Ragged.of([rng.integers(0, 999, size).astype(np.int32) for size in sizes(80)]),
        "points": Ragged.of([rng.random((size, 3)).astype(np.float32) for size in sizes(30)]),
        "label": np.arange(records, dtype=np.int64),
    }


def table(expected: Expected) -> pa.Table:
    """The records as an Arrow table, with 32-bit offsets where Arrow has them by default."""
    return pa.table(
        {
            "blob": pa.array(list(expected["blob"]), pa.binary()),
            "caption": pa.array(list(expected["caption"]), pa.string()),
            "name": pa.array(list(expected["name"]), pa.large_string()),
            "tokens": pa.array([one.tolist() for one in expected["tokens"]], pa.list_(pa.int32())),
            "points": pa.array([one.tolist() for one in expected["points"]], pa.large_list(pa.list_(pa.float32(), 3))),
            "label": pa.array(expected["label"]),
        }
    )


def write_arrow(path: Path, expected: Expected | None = None, *, compression: str | None = None, size: int = 16) -> Expected:
    """Batches of `size` records: raw, or compressed."""
    expected = values() if expected is None else expected
    found = table(expected)
    with pa.ipc.new_file(str(path), found.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(found, max_chunksize=size)
    return expected


def write_parquet(path: Path, expected: Expected | None = None, *, size: int = 16, **options: Any) -> Expected:
    """Row groups of `size` records."""
    expected = values() if expected is None else expected
    pq.write_table(table(expected), path, row_group_size=size, **options)
    return expected


def write_hdf5(path: Path, expected: Expected | None = None, **options: Any) -> Expected:
    """Variable-length strings, bytes and numbers; HDF5 has no arrays of points of variable length."""
    expected = {name: one for name, one in (values() if expected is None else expected).items() if name != "points"}
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        for name, one in expected.items():
            if not isinstance(one, Ragged):
                file[name] = one
                continue
            kind = h5py.string_dtype() if one.kind == "text" else h5py.vlen_dtype(one.dtype)
            dataset = file.create_dataset(name, (len(one),), kind, **options)
            for number, record in enumerate(one):
                dataset[number] = np.frombuffer(record, np.uint8) if isinstance(record, bytes) else record
    return expected


WRITERS = {
    "arrow raw": write_arrow,
    "arrow lz4": partial(write_arrow, compression="lz4"),
    "parquet dictionary": write_parquet,
    "parquet zstd": partial(write_parquet, use_dictionary=False, compression="zstd"),
    "hdf5 contiguous": write_hdf5,
    "hdf5 gzip": partial(write_hdf5, chunks=(16,), compression="gzip"),
}
"""By what a test calls it, a way to write these records."""

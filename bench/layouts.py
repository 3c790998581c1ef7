"""The records of a benchmark's contiguous file in other formats, as their own libraries write them, made once and kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.data import Made
from bench.peers.source import Records, records_of

GROUP_RECORDS = 4_096
"""Records of a row group or a record batch."""


def parquet(made: Made, *, codec: str) -> Made:
    """A column of fixed-size binary and one of labels; `codec` is "none" (then without dictionaries) or what pyarrow calls it."""

    def write(path: Path, records: Records) -> None:
        options: dict[str, Any] = {"compression": "none", "use_dictionary": False} if codec == "none" else {"compression": codec}
        with pq.ParquetWriter(path, _schema(made), **options) as writer:
            for batch in _batches(made, records):
                writer.write_batch(batch)

    return _written(made, f"{codec}.parquet", write)


def arrow(made: Made) -> Made:
    """An Arrow stream of record batches."""

    def write(path: Path, records: Records) -> None:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, _schema(made)) as writer:
            for batch in _batches(made, records):
                writer.write_batch(batch)

    return _written(made, "stream.arrow", write)


def npy(made: Made) -> Made:
    """One array, under the name by which its field is called."""

    def write(path: Path, records: Records) -> None:
        out = np.lib.format.open_memmap(path, "w+", np.uint8, records.images.shape)
        for start in range(0, len(records), GROUP_RECORDS):
            out[start : start + GROUP_RECORDS] = records.images[start : start + GROUP_RECORDS]
        out.flush()

    return _written(made, "image.npy", write)


def _schema(made: Made) -> pa.Schema:
    said = {"shape": str(list(made.shape))}
    return pa.schema([pa.field("image", pa.binary(made.record_nbytes), metadata=said), pa.field("label", pa.int64())])


def _batches(made: Made, records: Records) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(records), GROUP_RECORDS):
        images: NDArray[np.uint8] = np.ascontiguousarray(records.images[start : start + GROUP_RECORDS])
        column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(made.record_nbytes), len(images), [None, pa.py_buffer(images)])
        yield pa.record_batch([column, pa.array(records.labels[start : start + GROUP_RECORDS])], schema=_schema(made))


def _written(made: Made, name: str, write: Any) -> Made:
    """The file, written under another name first, so that half a file is never taken for a whole one."""
    folder = made.path.with_suffix(".as")
    folder.mkdir(exist_ok=True)
    path = folder / name
    if not path.exists():
        print(f"making {path.parent.name}/{path.name} ...", flush=True)
        partial = path.with_name(f"{os.getpid()}.partial")
        write(partial, records_of({"path": str(made.path)}))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(path)
    return replace(made, path=path, stored_nbytes=path.stat().st_size)

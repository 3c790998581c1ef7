"""What Arrow and Parquet files hold of each kind, in every encoding that pyarrow writes, read back with pyarrow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinds import values
from streamload.ragged import Ragged

PLAIN = (
    "i1",
    "u1",
    "i2",
    "u2",
    "i4",
    "u4",
    "i8",
    "u8",
    "f2",
    "f4",
    "f8",
    "M8[s]",
    "M8[ms]",
    "M8[us]",
    "M8[ns]",
    "m8[s]",
    "m8[us]",
    "m8[ns]",
)


def column(array: np.ndarray) -> pa.Array:
    """Values in Arrow's own type, records of a shape as nested lists of fixed size."""
    if array.dtype.kind == "b":
        made = pa.array(array.reshape(-1))
    else:
        made = pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), array.size, [None, pa.py_buffer(np.ascontiguousarray(array))])
    for length in reversed(array.shape[1:]):
        made = pa.FixedSizeListArray.from_arrays(made, length)
    return made


def packed(array: np.ndarray) -> pa.Array:
    """Values as binary of fixed size."""
    width = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    return pa.Array.from_buffers(pa.binary(width), len(array), [None, pa.py_buffer(np.ascontiguousarray(array))])


def _said(array: np.ndarray) -> dict[str, str]:
    return {"shape": json.dumps(list(array.shape[1:])), "dtype": array.dtype.str.replace("|", "")}


def table(*, records: int = values.RECORDS, seed: int = 0, large: bool = False) -> tuple[pa.Table, dict[str, Any]]:
    """Columns of every kind, and what their records are; `large` gives records of 40 KB each instead of small ones."""
    fields: list[pa.Field] = []
    columns: list[pa.Array] = []
    expected: dict[str, Any] = {}

    def add(name: str, made: pa.Array, wanted: Any, metadata: dict[str, str] | None = None, *, nullable: bool = True) -> None:
        fields.append(pa.field(name, made.type, nullable=nullable, metadata=metadata))
        columns.append(made)
        expected[name] = wanted

    for number, kind in enumerate((*PLAIN, "?")[:: 3 if large else 1]):
        shape = (40_000 // np.dtype(kind).itemsize,) if large else (2, 3) if number % 2 else ()
        array = values.fixed(kind, shape, records=records, seed=seed)
        add(f"{kind} {'x'.join(map(str, shape))}".strip(), column(array), array)
    for kind in ("f4", "c8", "c16", "i2"):
        array = values.fixed(kind, (5_000,) if large else (2, 3), records=records, seed=seed)
        add(f"{kind} packed", packed(array), array, _said(array), nullable=kind != "i2")
    array = values.fixed("S40000" if large else "S5", records=records, seed=seed)
    add("bytes of one length", packed(array), array.view("u1").reshape(records, -1))
    if large:
        return pa.table(columns, schema=pa.schema(fields)), expected
    array = values.fixed("i8", records=records, seed=seed) % 5
    add("numbers in a dictionary", pa.array(array).dictionary_encode(), array)
    for kind in (*PLAIN[::2], "u1", "f4", "?"):
        found = values.ragged(kind, records=records, seed=seed)
        add(f"ragged {kind}", pa.LargeListArray.from_arrays(pa.array(found.offsets), column(found.values)), found)
    found = values.ragged("f4", (3,), records=records, seed=seed)
    add("ragged points", pa.ListArray.from_arrays(pa.array(found.offsets, pa.int32()), column(found.values)), found)
    found = values.ragged("u1", (3,), records=records, seed=seed)
    add("ragged bytes of one length", pa.LargeListArray.from_arrays(pa.array(found.offsets), packed(found.values)), found)
    text, blob = values.texts(records=records, seed=seed), values.blobs(records=records, seed=seed)
    add("text", pa.array(text, pa.string()), Ragged.of(text))
    add("large text", pa.array(text, pa.large_string()), Ragged.of(text))
    add("text views", pa.array(text, pa.string_view()), Ragged.of(text))
    add("bytes", pa.array(blob, pa.binary()), Ragged.of(blob))
    return pa.table(columns, schema=pa.schema(fields)), expected


def write_arrow(path: Path, held: pa.Table, *, stream: bool = False, compression: str | None = None, size: int = 13) -> None:
    """Record batches of `size` records."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), held.schema, options=options) as writer:
        writer.write_table(held, max_chunksize=size)


def write_parquet(path: Path, held: pa.Table, **options: Any) -> None:
    """Row groups of 13 records, without moments in seconds, which Parquet does not have."""
    held = held.drop_columns([name for name in held.column_names if "M8[s]" in name])
    pq.write_table(held, path, **({"row_group_size": 13} | options))


SPLIT = {"column_encoding": "BYTE_STREAM_SPLIT", "use_dictionary": False}
LAYOUTS: dict[str, Callable[[Path, pa.Table], None]] = {
    "arrow": write_arrow,
    "arrow stream, lz4": lambda path, held: write_arrow(path, held, stream=True, compression="lz4"),
    "arrow zstd": lambda path, held: write_arrow(path, held, compression="zstd", size=7),
    "parquet raw": lambda path, held: write_parquet(path, held, compression="none", use_dictionary=False),
    "parquet as written by default": write_parquet,
    "parquet zstd, version 2, checksums": lambda path, held: write_parquet(
        path, held, compression="zstd", data_page_version="2.0", write_page_checksum=True, data_page_size=200, write_batch_size=3
    ),
}

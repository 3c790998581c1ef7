"""Parquet files of every layout that pyarrow writes, each with the arrays that a reader must deliver."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Arrays = dict[str, np.ndarray]
SHAPE = (7, 6, 3)


def images(records: int = 100, *, seed: int = 0) -> np.ndarray:
    """Random images."""
    return np.random.default_rng(seed).integers(0, 256, (records, *SHAPE), dtype=np.uint8)


def binary(data: np.ndarray) -> pa.Array:
    """Arrays as fixed-size binary."""
    width = data[0].nbytes if len(data) else int(np.prod(data.shape[1:]) * data.itemsize)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(data), [None, pa.py_buffer(np.ascontiguousarray(data))])


def image_field(name: str = "image", *, nullable: bool = True) -> pa.Field:
    """A field of images whose shape stands in its metadata."""
    return pa.field(name, pa.binary(int(np.prod(SHAPE))), nullable=nullable, metadata={"shape": "[7, 6, 3]"})


def write(path: Path, *, nullable: bool = True, records: int = 100, seed: int = 0, raw: bool = True, **options: Any) -> Arrays:
    """A file of images and labels; raw unless options say otherwise."""
    data, labels = images(records, seed=seed), np.arange(records) % 10
    schema = pa.schema([image_field(nullable=nullable), pa.field("label", pa.int64(), nullable=nullable)])
    table = pa.table([binary(data), pa.array(labels)], schema=schema)
    plain = {"compression": "none", "use_dictionary": False} if raw else {}
    pq.write_table(table, path, **(plain | {"row_group_size": 30} | options))
    return {"image": data, "label": labels}


def numbers(path: Path, **options: Any) -> Arrays:
    """A column of each plain type."""
    rng = np.random.default_rng(3)
    kinds = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
    arrays: Arrays = {}
    for kind in kinds:
        dtype = np.dtype(kind)
        if dtype.kind == "f":
            arrays[kind] = rng.normal(size=100).astype(dtype)
        else:
            info = np.iinfo(dtype)
            arrays[kind] = rng.integers(info.min, info.max, 100, dtype=dtype, endpoint=True)
    pq.write_table(pa.table({name: pa.array(array) for name, array in arrays.items()}), path, **({"row_group_size": 30} | options))
    return arrays


def bools(path: Path) -> Arrays:
    """Booleans are packed bits."""
    data = np.random.default_rng(1).integers(0, 2, 100).astype(bool)
    pq.write_table(pa.table({"flag": data}), path, compression="none", use_dictionary=False)
    return {"flag": data}


def lists(path: Path) -> Arrays:
    """Lists of one length, nested and fixed, of several element types."""
    data = images(50)
    floats = np.random.default_rng(1).normal(size=(50, 4)).astype("f4")
    nested = pa.array([[[row.tolist() for row in plane] for plane in one] for one in data], pa.list_(pa.list_(pa.list_(pa.uint8()))))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(floats.reshape(-1)), 4)
    pairs = pa.array([[float(x) for x in pair] for pair in floats.reshape(-1, 2)], pa.large_list(pa.float32()))
    mixed = pa.FixedSizeListArray.from_arrays(pairs, 2)
    pq.write_table(pa.table({"nested": nested, "fixed": fixed, "mixed": mixed}), path, row_group_size=20)
    return {"nested": data, "fixed": floats, "mixed": floats.reshape(50, 2, 2)}


def tensors(path: Path) -> Arrays:
    """arrow.fixed_shape_tensor, with its axes in order and permuted."""
    data = images(50)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), data[0].size)
    straight = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), SHAPE), storage)
    turned = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), SHAPE, permutation=[2, 0, 1]), storage)
    pq.write_table(pa.table({"straight": straight, "turned": turned}), path, row_group_size=20)
    return {"straight": data, "turned": data.transpose(0, 3, 1, 2)}


def ray(path: Path) -> Arrays:
    """Ray's tensors, by their storage and JSON, in a process that does not know Ray."""
    data = images(20)
    storage = pa.array([one.reshape(-1).tolist() for one in data], pa.list_(pa.uint8()))
    metadata = {"ARROW:extension:name": "ray.data.arrow_tensor", "ARROW:extension:metadata": "[7, 6, 3]"}
    field = pa.field("image", storage.type, metadata=metadata)
    pq.write_table(pa.table([storage], schema=pa.schema([field])), path)
    return {"image": data}


def dictionaries(path: Path) -> Arrays:
    """Numbers in dictionaries are themselves, of the type that the dictionary has."""
    codes = np.random.default_rng(2).integers(0, 3, 100)
    arrays = {"half": np.array([0.5, 1.5, 2.5], "f4")[codes], "far": np.array([-7, 2**40, 0])[codes]}
    table = pa.table({name: pa.array(array).dictionary_encode() for name, array in arrays.items()})
    pq.write_table(table, path, row_group_size=30)
    return arrays


def times(path: Path) -> Arrays:
    """Moments without a time zone, and durations."""
    moments = np.arange(100).astype("M8[us]")
    pq.write_table(pa.table({"at": moments, "took": np.arange(100).astype("m8[ms]")}), path)
    return {"at": moments, "took": np.arange(100).astype("m8[ms]")}


RAW: dict[str, Callable[[Path], Arrays]] = {
    "required": lambda path: write(path, nullable=False),
    "optional": lambda path: write(path),
    "pages of version 2": lambda path: write(path, data_page_version="2.0"),
    "required, version 2": lambda path: write(path, nullable=False, data_page_version="2.0"),
    "many small pages": lambda path: write(path, data_page_size=500, write_batch_size=3),
    "one row group": lambda path: write(path, row_group_size=1000),
    "with checksums": lambda path: write(path, write_page_checksum=True, data_page_size=500, write_batch_size=3),
    "no statistics": lambda path: write(path, write_statistics=False),
    "page index": lambda path: write(path, write_page_index=True),
    "numbers": lambda path: numbers(path, compression="none", use_dictionary=False),
}
"""Layouts whose largest field is read by offset."""

DECODED: dict[str, Callable[[Path], Arrays]] = {
    **{codec: partial(write, raw=False, compression=codec) for codec in ("snappy", "gzip", "zstd", "lz4", "brotli")},
    "dictionary": lambda path: write(path, compression="none", use_dictionary=True),
    "pages of version 2, zstd": lambda path: write(path, raw=False, compression="zstd", data_page_version="2.0"),
    "checksums, zstd": lambda path: write(path, raw=False, compression="zstd", write_page_checksum=True),
    "byte stream split": lambda path: numbers(path, use_dictionary=False, column_encoding="BYTE_STREAM_SPLIT"),
    "delta": lambda path: numbers_of(path, ("i4", "i8"), use_dictionary=False, column_encoding="DELTA_BINARY_PACKED"),
    "booleans": bools,
    "lists": lists,
    "tensors": tensors,
    "ray": ray,
    "numbers in dictionaries": dictionaries,
    "times": times,
}
"""Layouts that pyarrow must decode."""


def numbers_of(path: Path, kinds: tuple[str, ...], **options: Any) -> Arrays:
    """Columns of a few types."""
    arrays = {kind: np.random.default_rng(3).integers(-1000, 1000, 100).astype(kind) for kind in kinds}
    pq.write_table(pa.table({name: pa.array(array) for name, array in arrays.items()}), path, **({"row_group_size": 30} | options))
    return arrays


def footer(path: Path) -> tuple[int, int]:
    """Where the footer of a file begins and ends."""
    whole = path.read_bytes()
    nbytes = struct.unpack("<I", whole[-8:-4])[0]
    return len(whole) - 8 - nbytes, len(whole) - 8

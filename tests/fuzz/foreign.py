"""Random records in files that other libraries write, in whatever way these have: orders of bytes and axes, chunks, filters, pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kinds.arrow_kinds import column

from fuzz.datasets import Records
from streamload.ragged import Ragged
from streamload.schema import BYTES, TEXT

WAYS = ("npy", "npz", "npz compressed", "h5py", "h5py compound", "pyarrow parquet", "pyarrow arrow")
TABLE = "table"
"""What the dataset of a compound is called."""
ENDINGS = {"npy": ".npy", "npz": ".npz", "npz compressed": ".npz"}


def held(records: Records, way: str) -> dict[str, Any]:
    """The fields that a library has a type for, and a single one a name; members of a compound under the name of its dataset."""
    found = {name: one for name, one in records.items() if _has(one, way)}
    if way == "h5py compound":
        return {f"{TABLE}.{name}": one for name, one in found.items()}
    return {} if way == "npy" and len(found) < 2 else found


def _has(one: Any, way: str) -> bool:
    if way.startswith(("npy", "npz")):
        return not isinstance(one, Ragged) or one.kind == TEXT
    if way == "h5py compound":
        return not isinstance(one, Ragged) and one.dtype.kind in "biufcS" and 0 not in one.shape[1:]
    if way == "h5py":
        plain = one.dtype.kind in "biufcSMm"
        return plain and (
            not isinstance(one, Ragged)
            or one.kind != "array"
            or (one.values.ndim == 1 and one.dtype.kind not in "Mm" and one.dtype != np.uint8)
        )
    numbers = (one.dtype.kind in "biuf" and one.dtype.itemsize <= 8) or (
        one.dtype.kind in "Mm" and np.datetime_data(one.dtype)[0] in ("s", "ms", "us", "ns")
    )
    numbers = numbers and not (one.dtype.kind in "Mm" and (np.datetime_data(one.dtype)[1] != 1 or "parquet" in way))
    if isinstance(one, Ragged):
        return one.kind != "array" or (numbers and one.values.ndim == 1 and len(set(one.lengths.tolist())) > 1)
    return numbers and 0 not in one.shape[1:]


def write(path: Path, records: Records, way: str, rng: np.random.Generator) -> None:
    """Such records, each field in a way of its own."""
    if way == "h5py":
        _write_hdf5(path, records, rng)
    elif way == "h5py compound":
        _write_compound(path, records, rng)
    elif way.startswith("pyarrow"):
        _write_arrow(path, records, way, rng)
    else:
        _write_numpy(path, records, way, rng)


def _turned(one: Any, rng: np.random.Generator) -> np.ndarray:
    """The same values in either order of bytes; texts of one width; sometimes bytes that mean nothing."""
    if isinstance(one, Ragged):
        return np.array(one.to_list(), f"{'<>'[rng.integers(0, 2)]}U{max(1, one.lengths.max(initial=0))}")
    if one.dtype == np.uint8 and one.ndim == 2 and one.size and rng.integers(0, 2):
        return np.ascontiguousarray(one).view(f"V{one.shape[1]}")[:, 0]
    return one.astype(one.dtype.newbyteorder()) if rng.integers(0, 3) == 0 else one


def _write_numpy(path: Path, records: Records, way: str, rng: np.random.Generator) -> None:
    turned = {name: _turned(one, rng) for name, one in records.items()}
    if way == "npy":
        table = np.zeros(len(next(iter(turned.values()))), [(name, one.dtype, one.shape[1:]) for name, one in turned.items()])
        for name, one in turned.items():
            table[name] = one
        np.save(path, table)
        return
    arrays = {name: np.asfortranarray(one) if rng.integers(0, 2) else one for name, one in turned.items()}
    with open(path, "wb") as file:
        (np.savez_compressed if "compressed" in way else np.savez)(file, **arrays)


def _write_hdf5(path: Path, records: Records, rng: np.random.Generator) -> None:
    filters: tuple[dict[str, Any], ...] = ({}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}, {"fletcher32": True})
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        for name, one in records.items():
            if isinstance(one, Ragged):
                kind = h5py.string_dtype() if one.kind == TEXT else h5py.vlen_dtype(one.dtype)
                more = {"chunks": (int(rng.integers(1, min(8, len(one)) + 1)),)} if len(one) and rng.integers(0, 2) else {}
                dataset = file.create_dataset(name, (len(one),), kind, **more)
                for at, record in enumerate(one):
                    dataset[at] = np.frombuffer(record, np.uint8) if one.kind == BYTES else record
                continue
            turned, kind = _turned(one, rng), None
            if turned.dtype.kind in "Mm":
                kind = h5py.opaque_dtype(turned.dtype)
            elif turned.dtype.kind in "iu" and rng.integers(0, 4) == 0:
                kind = h5py.enum_dtype({"CAT": 0, "DOG": 1}, turned.dtype)
            chunked = bool(rng.integers(0, 3)) and one.size > 0
            shape = tuple(int(rng.integers(1, max(1, side) + 1)) for side in turned.shape)
            more = {"chunks": shape, **filters[int(rng.integers(0, len(filters)))]} if chunked else {}
            file.create_dataset(name, data=turned if kind is None else turned.astype(kind), dtype=kind, **more)


def _write_compound(path: Path, records: Records, rng: np.random.Generator) -> None:
    turned = {name.removeprefix(f"{TABLE}."): _turned(one, rng) for name, one in records.items()}
    table = np.zeros(len(next(iter(turned.values()))), [(name, one.dtype, one.shape[1:]) for name, one in turned.items()])
    for name, one in turned.items():
        table[name] = one
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        more = {"chunks": (int(rng.integers(1, len(table) + 1)),), "compression": "gzip"} if rng.integers(0, 2) else {}
        file.create_dataset(TABLE, data=table, **more)


def _write_arrow(path: Path, records: Records, way: str, rng: np.random.Generator) -> None:
    columns = {name: _arrow(one) for name, one in records.items()}
    table, size = pa.table(columns), int(rng.integers(1, 20))
    if "parquet" in way:
        codec = ("none", "zstd", "snappy")[int(rng.integers(0, 3))]
        version = ("1.0", "2.0")[int(rng.integers(0, 2))]
        pages = {"data_page_size": int(rng.integers(20, 500)), "write_batch_size": int(rng.integers(1, 9)), "data_page_version": version}
        pq.write_table(table, path, row_group_size=size, compression=codec, use_dictionary=bool(rng.integers(0, 2)), **pages)
        return
    options = pa.ipc.IpcWriteOptions(compression=(None, "zstd", "lz4")[int(rng.integers(0, 3))])
    with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=size)


def _arrow(one: Any) -> pa.Array:
    if not isinstance(one, Ragged):
        made = column(one)
        return made.dictionary_encode() if one.ndim == 1 and one.dtype.kind in "iu" and len(one) % 4 == 1 else made
    if one.kind != "array":
        return pa.array(one.to_list(), pa.string() if one.kind == TEXT else pa.binary())
    return pa.ListArray.from_arrays(pa.array(one.offsets, pa.int32()), column(one.values))

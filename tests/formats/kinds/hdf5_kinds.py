"""What HDF5 files hold of each kind, and every layout that they can have it in, written and read back with h5py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kinds import values
from streamload.ragged import Ragged

WRITTEN = {"libver": ("earliest", "v110")}
NUMBERS = ("i1", "u1", "<i2", ">u2", "<i4", ">i4", "<u8", ">i8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16")
FIXED: dict[str, Any] = {
    **{kind: np.dtype(kind) for kind in NUMBERS},
    "long double": np.dtype("g"),
    "bool": np.dtype("?"),
    "enum": h5py.enum_dtype({"CAT": 0, "DOG": -7, "BIRD": 30000}, "<i2"),
    "enum big-endian": h5py.enum_dtype({"CAT": 0, "DOG": 1}, ">i4"),
    "S1": np.dtype("S1"),
    "S5": np.dtype("S5"),
    "S70": np.dtype("S70"),
    "opaque": np.dtype("V6"),
    **{f"opaque {kind}": h5py.opaque_dtype(np.dtype(kind)) for kind in ("<M8[s]", ">M8[ns]", "<m8[25us]")},
    "structure": np.dtype([("a", ">i4"), ("b", "S3"), ("c", "<f2", (2,)), ("d", [("e", "<c8"), ("f", "?")])]),
}
"""By name, the dtype of records that all have one length."""
RAGGED: dict[str, Any] = {
    "text": h5py.string_dtype(),
    "bytes": h5py.vlen_dtype(np.dtype("u1")),
    **{
        f"ragged {kind}": h5py.vlen_dtype(np.dtype(kind))
        for kind in ("?", "i1", "<i2", ">i4", "<u8", "<f2", ">f4", "<f8", "<c8", ">c16", "g", "S3")
    },
    "ragged enum": h5py.vlen_dtype(h5py.enum_dtype({"CAT": 0, "DOG": -7}, "<i2")),
}
"""By name, the dtype of records of any length."""


def shapes_of(name: str, dtype: Any, *, large: bool) -> list[tuple[int, ...]]:
    """Shapes of the records of a kind: strings as such and in rows, of others every second in rows; `large`: some kinds, of 40 KB each."""
    if large:
        return [(1 + 40_000 // dtype.itemsize,)] * (list(FIXED).index(name) % 3 == 1)
    return [(), (2, 3)] if dtype.kind in "SV" else [(2, 3) if list(FIXED).index(name) % 2 else ()]


def arrays(*, records: int = values.RECORDS, seed: int = 0, large: bool = False) -> dict[str, tuple[Any, Any]]:
    """By name of the dataset, what to write, and its dtype; `large` gives records of 40 KB each instead of small ones."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, dtype in FIXED.items():
        for shape in shapes_of(name, dtype, large=large):
            found[f"{name} {'x'.join(map(str, shape))}".strip()] = values.fixed(dtype, shape, records=records, seed=seed), dtype
    if not large:
        found |= {"empty": (np.zeros((records, 0), "f4"), "f4"), "empty rows": (np.zeros((records, 3, 0), "u1"), "u1")}
    for name, dtype in {} if large else RAGGED.items():
        inner = h5py.check_vlen_dtype(dtype)
        if name == "text":
            found[name] = values.texts(records=records, seed=seed), dtype
        elif name == "bytes":
            found[name] = [np.frombuffer(one, np.uint8) for one in values.blobs(records=records, seed=seed)], dtype
        else:
            found[name] = list(values.ragged(inner, records=records, seed=seed)), dtype
    return found


def write(path: Path, held: Mapping[str, tuple[Any, Any]], **keywords: Any) -> None:
    """A dataset each; `chunks` says the records of a chunk, and `boxes` that chunks cut records too."""
    boxes = keywords.pop("boxes", False)
    with h5py.File(path, "w", **WRITTEN) as file:
        for name, (given, dtype) in held.items():
            options, fixed = dict(keywords), isinstance(given, np.ndarray)
            if "chunks" in options:
                shape = given.shape[1:] if fixed else ()
                options["chunks"] = (options["chunks"], *((side + 1) // 2 if boxes else side for side in shape))
            if fixed and not given[0].size:
                options = {}  # A chunk holds something.
            if not fixed:
                options.pop("fletcher32", None)  # HDF5 has no checksums of variable lengths.
            dataset = file.create_dataset(name, (len(given), *(given.shape[1:] if fixed else ())), dtype, **options)
            if fixed:
                dataset[...] = given
                continue
            for number, record in enumerate(given):
                dataset[number] = record


def write_virtual(path: Path, held: Mapping[str, tuple[Any, Any]]) -> None:
    """Virtual datasets over a file beside it."""
    fixed = {name: pair for name, pair in held.items() if isinstance(pair[0], np.ndarray)}
    write(path.with_name(path.name + ".dat"), fixed, chunks=7, compression="gzip")
    with h5py.File(path, "w", **WRITTEN) as file:
        for name, (given, dtype) in fixed.items():
            layout = h5py.VirtualLayout(given.shape, dtype)
            layout[...] = h5py.VirtualSource(path.name + ".dat", name, given.shape, dtype)
            file.create_virtual_dataset(name, layout)


def expected(path: Path) -> dict[str, Any]:
    """What h5py reads, by the name of the field that delivers it."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        for name, dataset in file.items():
            inner = h5py.check_vlen_dtype(dataset.dtype)
            if h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype.hasobject:
                found[name] = Ragged.of([one.decode() for one in dataset[:]])
            elif inner is not None:
                records = [np.asarray(one, inner.newbyteorder("=")) for one in dataset[:]]
                found[name] = Ragged.of([one.tobytes() for one in records] if inner == np.uint8 else records)
            else:
                found |= _members(name, dataset[()])
    return {name: values.native(one) for name, one in found.items()}


def _members(name: str, table: np.ndarray) -> dict[str, np.ndarray]:
    if table.dtype.kind == "V" and table.dtype.names is None:
        return {name: np.ascontiguousarray(table[..., None]).view(np.uint8)}
    if table.dtype.names is None:
        return {name: table}
    return {key: one for member in table.dtype.names for key, one in _members(f"{name}.{member}", table[member]).items()}


LAYOUTS: dict[str, Callable[[Path, Mapping[str, tuple[Any, Any]]], None]] = {
    "hdf5 contiguous": write,
    "hdf5 chunks": lambda path, held: write(path, held, chunks=7),
    "hdf5 gzip, shuffle": lambda path, held: write(path, held, chunks=7, compression="gzip", shuffle=True),
    "hdf5 lzf, checksums, boxes": lambda path, held: write(path, held, chunks=9, boxes=True, compression="lzf", fletcher32=True),
    "hdf5 virtual": write_virtual,
}

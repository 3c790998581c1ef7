"""What .npy and .npz files hold of each kind, in every way that NumPy writes them, read back with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinds import values
from kinds.hdf5_kinds import NUMBERS
from streamload.ragged import Ragged

FIXED: dict[str, np.dtype] = {
    **{kind: np.dtype(kind) for kind in NUMBERS},
    "long double": np.dtype("g"),
    "bool": np.dtype("?"),
    "S1": np.dtype("S1"),
    "S5": np.dtype("S5"),
    "S70": np.dtype("S70"),
    "V6": np.dtype("V6"),
    "<U4": np.dtype("<U4"),
    ">U3": np.dtype(">U3"),
    **{kind: np.dtype(kind) for kind in ("<M8[D]", "<M8[s]", ">M8[us]", "<M8[ns]", "<m8[ms]", ">m8[ns]")},
}


def shapes_of(name: str, dtype: np.dtype, *, large: bool) -> list[tuple[int, ...]]:
    """Shapes of the records of a kind: strings as such and in rows, of others every second in rows; `large`: some kinds, of 40 KB each."""
    if large:
        return [(1 + 40_000 // dtype.itemsize,)] * (list(FIXED).index(name) % 3 == 1)
    if dtype.kind == "U":
        return [()]
    return [(), (2, 3)] if dtype.kind in "SV" else [(2, 3) if list(FIXED).index(name) % 2 else ()]


def arrays(*, records: int = values.RECORDS, seed: int = 0, large: bool = False) -> dict[str, np.ndarray]:
    """By name, what to write; records of no bytes among them. `large` gives records of 40 KB each instead of small ones."""
    found: dict[str, np.ndarray] = {}
    for name, dtype in FIXED.items():
        for shape in shapes_of(name, dtype, large=large):
            text = dtype.kind == "U"
            given = values.texts(records=records, seed=seed) if text else values.fixed(dtype, shape, records=records, seed=seed)
            found[f"{name} {'x'.join(map(str, shape))}".strip()] = np.array(given, dtype)
    return found if large else found | {"empty": np.zeros((records, 0), "f4"), "empty rows": np.zeros((records, 3, 0), "u1")}


def write_structure(path: Path, held: Mapping[str, np.ndarray]) -> None:
    """One .npy of a structure a record, every field a member, not aligned."""
    table = np.zeros(len(next(iter(held.values()))), [(name, array.dtype, array.shape[1:]) for name, array in held.items()])
    for name, array in held.items():
        table[name] = array
    with open(path, "wb") as file:
        np.save(file, table)


def write_npz(path: Path, held: Mapping[str, np.ndarray], *, compressed: bool = False, fortran: bool = False) -> None:
    """A member each."""
    with open(path, "wb") as file:
        turned = {name: np.asfortranarray(array) if fortran else array for name, array in held.items()}
        (np.savez_compressed if compressed else np.savez)(file, **turned)


def expected(path: Path) -> dict[str, Any]:
    """What NumPy reads, by the name of the field that delivers it."""
    with open(path, "rb") as file:
        loaded = np.load(file)
        names = loaded.dtype.names if isinstance(loaded, np.ndarray) else loaded.files
        return {name: _delivered(np.ascontiguousarray(loaded[name])) for name in names}


def _delivered(found: np.ndarray) -> Any:
    """Text of any length, opaque values as the bytes that they are, and anything else in the machine's byte order."""
    if found.dtype.kind == "U":
        return Ragged.of(found.tolist())
    return np.ascontiguousarray(found[..., None]).view(np.uint8) if found.dtype.kind == "V" else values.native(found)


LAYOUTS: dict[str, Callable[[Path, Mapping[str, np.ndarray]], None]] = {
    "npy of a structure": write_structure,
    "npz": write_npz,
    "npz in Fortran order": lambda path, held: write_npz(path, held, fortran=True),
    "npz compressed": lambda path, held: write_npz(path, held, compressed=True),
}

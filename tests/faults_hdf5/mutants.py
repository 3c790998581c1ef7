"""Small files of every layout, ways to damage them, and what may come of it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from time_limits import GUARD_SECONDS

import streamload as sl

RECORDS = 40
LIMIT_SECONDS = 10.0
Arrays = dict[str, np.ndarray]


def pixels() -> np.ndarray:
    """Records that do not look alike, and that compress."""
    return ((np.arange(RECORDS)[:, None] * 7 + np.arange(108)[None, :] // 4) % 251).astype("u1").reshape(RECORDS, 6, 6, 3)


def _write(path: Path, libver: object = ("earliest", "v110"), **keywords: Any) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("image", data=pixels(), **keywords)
        file.create_dataset("label", data=np.arange(RECORDS), **{key: keywords[key] for key in ("fletcher32",) if key in keywords})


CHUNKS = {"chunks": (8, 6, 6, 3)}
CHECKED = {"libver": ("v110", "v110"), **CHUNKS, "fletcher32": True}
LAYOUTS: dict[str, Callable[[Path], None]] = {
    "contiguous": lambda path: _write(path),
    "chunks": lambda path: _write(path, **CHUNKS),
    "gzip": lambda path: _write(path, **CHUNKS, compression="gzip"),
    "lzf with shuffle": lambda path: _write(path, **CHUNKS, compression="lzf", shuffle=True),
    "gzip in boxes": lambda path: _write(path, chunks=(5, 4, 4, 2), compression="gzip"),
    "scale-offset": lambda path: _write(path, **CHUNKS, scaleoffset=8),
    "checked": lambda path: _write(path, **CHECKED),
    "checked gzip": lambda path: _write(path, **CHECKED, compression="gzip"),
    "checked lzf": lambda path: _write(path, **CHECKED, compression="lzf", shuffle=True),
}
"""Writers. In the checked ones, all data and nearly all metadata have checksums."""
LIBRARY = frozenset(("scale-offset",))
"""Read by the HDF5 library itself: records are read in a process of their own, since the library may crash."""


def truncations(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The file cut at each percent."""
    for percent in range(100):
        yield f"cut at {percent} %", data[: len(data) * percent // 100]


def flips(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """The file with a bit, a byte or a few bytes changed, anywhere."""
    chance = np.random.default_rng(seed)
    for _ in range(count):
        mutant = bytearray(data)
        place = int(chance.integers(len(data)))
        kind = int(chance.integers(4))
        if kind == 0:
            mutant[place] ^= 1 << int(chance.integers(8))
        elif kind == 1:
            mutant[place] = int(chance.choice([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == 2:
            mutant[place : place + 8] = chance.bytes(len(mutant[place : place + 8]))
        else:
            mutant[place : place + 4] = mutant[place : place + 4][::-1]
        if mutant != data:
            yield f"kind {kind} at byte {place:,}", bytes(mutant)


def streamloads(path: Path) -> Arrays | str:
    """What streamload makes of a file: its records, or the name of an error of its own. Anything else is raised."""
    try:
        source = sl.open(path)
        try:
            return {name: plain(field.to_list()) if isinstance(field, sl.Ragged) else field for name, field in source[:].items()}
        finally:
            source.close()
    except sl.StreamloadError as error:
        return type(error).__name__


def opens(path: Path) -> str | None:
    """The name of the error of opening alone."""
    try:
        sl.open(path).close()
    except sl.StreamloadError as error:
        return type(error).__name__
    return None


def h5pys(path: Path, names: list[str]) -> Arrays:
    """What the HDF5 library reads; a name that is no text any more is written as streamload writes it."""
    with h5py.File(path, "r") as file:
        root = h5py.h5g.open(file.id, b"/")
        return {name: h5py.Dataset(h5py.h5d.open(root, one))[()] for one in root if (name := one.decode(errors="replace")) in names}


def apart(action: Callable[[], Any]) -> Any:
    """What an action gives in a process of its own: its result, or how that process ended."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ours)
            signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)  # its own processor time: others do not count
            signal.alarm(int(GUARD_SECONDS / 2))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                result = pickle.dumps(action())
            except Exception as error:
                result = pickle.dumps(f"{type(error).__name__}: {error}")
            with open(theirs, "wb") as file:
                file.write(result)
        finally:
            os._exit(0)
    os.close(theirs)
    data = bytearray()
    deadline = time.monotonic() + GUARD_SECONDS
    while select.select([ours], [], [], max(0, deadline - time.monotonic()))[0] and (piece := os.read(ours, 1 << 20)):
        data += piece
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return pickle.loads(bytes(data)) if data else f"ended with {status}"


def plain(records: list[Any]) -> np.ndarray:
    """Records as one array; where they differ in length, all lengths and then all elements."""
    rows = [list(record) if isinstance(record, (bytes, np.ndarray)) else record for record in records]
    try:
        return np.array(rows)
    except ValueError:
        return np.array([*map(len, rows), *(element for row in rows for element in row)])


def same(one: Arrays | str, other: Arrays | str) -> bool:
    """Whether both are records, and the same ones."""
    if isinstance(one, str) or isinstance(other, str) or set(one) != set(other):
        return False
    return all(one[name].shape == other[name].shape and one[name].tobytes() == other[name].tobytes() for name in one)

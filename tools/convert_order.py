"""In which order records are written, and into which part: shuffled, split, and moved within bounded memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.errors import ConfigError
from streamload.order import layout_of
from streamload.schema import Schema

BUCKET_NBYTES = 128 * 1024**2
"""Records of neighbouring places are gathered in memory, so many bytes at a time."""
PART_NAMES = {1: ("",), 2: ("train", "test"), 3: ("train", "validation", "test")}


class Numbers:
    """Which record of the origin stands at each position: all in order, or as a file says."""

    def __init__(self, path: str | None) -> None:
        self._held: NDArray[np.int64] | None = None if path is None else np.load(path, mmap_mode="r")

    def at(self, start: int, stop: int) -> NDArray[np.int64]:
        """Record numbers at positions [start, stop)."""
        return np.arange(start, stop, dtype=np.int64) if self._held is None else np.array(self._held[start:stop], np.int64)

    def inverse(self, records: int) -> NDArray[np.int64]:
        """The position of each record; -1 for one that is left out."""
        places = np.full(records, -1, np.int64)
        if self._held is None:
            return np.arange(records, dtype=np.int64)
        places[self._held] = np.arange(len(self._held), dtype=np.int64)
        return places


def permuted(records: int, seed: int) -> NDArray[np.int64]:
    """All record numbers in the exact order of epoch 0 under a seed."""
    layout = layout_of(np.array([0, records], np.int64), cuts=None, record_nbytes=1, addressable=True)
    return streamload.Exact().bind(layout, seed).records(0, 0, records)


def shares_in(text: str | None) -> list[float]:
    """ "0.8,0.1,0.1" as numbers that add up to 1."""
    if text is None:
        return [1.0]
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or min(shares) <= 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-9):
        raise ConfigError(f"--split {text} cannot be made.", hint="Give two or three shares that add up to 1: 0.8,0.1,0.1.")
    return shares


def arranged(
    kept: NDArray[np.int64], *, shares: list[float], shuffle: bool, seed: int, strata: NDArray[Any] | None
) -> tuple[NDArray[np.int64], list[int]]:
    """Record numbers in the order in which they are written, and where each part ends.

    `kept` are the records that are to be written, ascending. With `strata` (a label for each of them) every label is
    dealt to the parts by itself.
    """
    mixed = kept[permuted(len(kept), seed)] if shuffle or len(shares) > 1 else kept
    if len(shares) == 1:
        return mixed, [len(mixed)]
    part_of = np.empty(len(mixed), np.int64)
    if strata is None:
        groups = [np.arange(len(mixed))]
    else:
        labels = strata[np.searchsorted(kept, mixed)]
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for group in groups:
        ends = np.round(np.cumsum(shares) * len(group)).astype(int)
        part_of[group] = np.searchsorted(ends, np.arange(len(group)), side="right").clip(max=len(shares) - 1)
    parts = [mixed[part_of == part] for part in range(len(shares))]
    parts = parts if shuffle else [np.sort(part) for part in parts]
    return np.concatenate(parts), np.cumsum([len(part) for part in parts]).tolist()


class Buckets:
    """Files that each hold the records of a stretch of positions: filled in any order, read in that of the positions."""

    def __init__(self, folder: str, schema: Schema, total: int, *, count: int) -> None:
        self._folder = folder
        self._kind = np.dtype([("position", "<i8"), *((f.name, f.dtype, f.shape) for f in schema)])
        self._names = schema.names
        self._stretch = max(1, -(-total // count))
        self._files: dict[int, Any] = {}

    def _path(self, bucket: int) -> str:
        return os.path.join(self._folder, f"bucket-{bucket:05d}")

    def scatter(self, positions: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> None:
        """Put records into the buckets of their positions; those at -1 are left out."""
        rows = np.empty(len(positions), self._kind)
        rows["position"] = positions
        for name in self._names:
            rows[name] = taken[name]
        rows = rows[np.argsort(positions, kind="stable")]
        rows = rows[np.searchsorted(rows["position"], 0) :]
        buckets = rows["position"] // self._stretch
        for bucket in np.unique(buckets).tolist():
            if bucket not in self._files:
                self._files[bucket] = open(self._path(bucket), "wb", buffering=0)  # noqa: SIM115
            rest = memoryview(rows[buckets == bucket].view(np.uint8).data)
            while rest:
                rest = rest[self._files[bucket].write(rest) :]

    def close(self) -> None:
        """Finish the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def gathered(self, start: int, stop: int, batch: int) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Records at positions [start, stop), in order: one bucket in memory at a time."""
        at = start
        while at < stop:
            bucket = at // self._stretch
            rows = np.fromfile(self._path(bucket), self._kind)
            places = np.argsort(rows["position"])
            end = min(stop, (bucket + 1) * self._stretch)
            for first in range(at, end, batch):
                chosen = rows[places[first - bucket * self._stretch : min(first + batch, end) - bucket * self._stretch]]
                yield first, {name: np.ascontiguousarray(chosen[name]) for name in self._names}
            at = end


def bucket_count(record_nbytes: int, total: int) -> int:
    """How many buckets keep each within bounded memory; each is an open file while records are scattered."""
    return max(1, min(512, -(-record_nbytes * total // BUCKET_NBYTES)))

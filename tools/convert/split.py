"""Which records are written, and into which part: found by passes over small fields, in memory that does not grow with the records."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamload.tools.convert.shuffle import Arrangement

from streamload.errors import ConfigError
from streamload.order.permutation import EXACT, LRU, Permutation, key
from streamload.storage.owned_files import anonymous_file, replace_file

PART_NAMES = {1: ("",), 2: ("train", "test"), 3: ("train", "validation", "test")}
MOST_LABELS = 65_536
"""Values that differ more often than this are no labels."""
BUCKETS = 1 << 20
COUNTED = 1 << 24
"""Groups are told apart by a hash; so many counts, of hashes and labels, are held at most."""
HELD_RECORDS = 1 << 22
"""Permutations of labels are tables while they are small: of so many records at a time."""
LABELS = 7
"""The purpose of the keys by which the records of each label are dealt."""

Batches = Callable[[], Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]]
"""Begins a pass over all records that are written: their numbers, ascending, and the fields that were asked for."""


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


def ends_of(shares: Sequence[float], count: int) -> NDArray[np.int64]:
    """Where parts of so many records end."""
    return np.round(np.cumsum(shares) * count).astype(np.int64)


class LabelCounts:
    """The values of a field, numbered as they are met, and how many records have each."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: dict[Any, int] = {}
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The number of each value."""
        distinct, inverse = np.unique(values, return_inverse=True)
        numbers = [self._known.setdefault(value, len(self._known)) for value in distinct.tolist()]
        if len(self._known) > MOST_LABELS:
            raise ConfigError(
                f"--stratify {self._name}: there are more than {MOST_LABELS:,} values.",
                hint="Name a field of labels, not one of measurements.",
            )
        return np.array(numbers, np.int64)[inverse.reshape(-1)]

    def count(self, values: NDArray[Any]) -> None:
        """Count records."""
        found = np.bincount(self.codes(values), minlength=len(self._known))
        self.counts = found + np.pad(self.counts, (0, len(found) - len(self.counts)))


def hashed(values: NDArray[Any], seed: int, buckets: int) -> NDArray[np.int64]:
    """A bucket for each value; equal values have the same one, whatever their type is called."""
    distinct, inverse = np.unique(values, return_inverse=True)
    prefix = str(seed).encode()
    found = [hashlib.blake2b(prefix + b"\0" + str(one).encode(), digest_size=8).digest() for one in distinct.tolist()]
    return (np.frombuffer(b"".join(found), "<u8") % np.uint64(buckets)).astype(np.int64)[inverse.reshape(-1)]


def by_position(shares: list[float], count: int, seed: int) -> Callable[[NDArray[np.int64], dict[str, NDArray[Any]]], NDArray[np.int64]]:
    """Deals records without regard to what they are; each part has its share to a record."""
    permutation, ends = Permutation(count, key(seed, 0, EXACT, 0)), ends_of(shares, count)
    at = 0

    def dealt(numbers: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        nonlocal at
        places = permutation.inverse(np.arange(at, at + len(numbers), dtype=np.int64))
        at += len(numbers)
        return np.searchsorted(ends, places, side="right")

    return dealt


def by_label(shares: list[float], batches: Batches, name: str, seed: int) -> Callable[..., NDArray[np.int64]]:
    """Deals the records of each label by themselves; each part has its share of each, to a record."""
    labels = LabelCounts(name)
    for _, taken in batches():
        labels.count(taken[name])
    counts = labels.counts
    seen = np.zeros(len(counts), np.int64)
    held = max(16, HELD_RECORDS * len(counts) // max(1, int(counts.sum())))
    permutations = LRU[Permutation](limit=held)

    def dealt(numbers: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        codes = labels.codes(taken[name])
        parts = np.empty(len(codes), np.int64)
        order = np.argsort(codes, kind="stable")
        edges = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            rows = order[first:last]
            label = int(codes[rows[0]])
            count = int(counts[label])
            permutation = permutations.get(label, lambda which: Permutation(int(counts[which]), key(seed, 0, LABELS, which)))
            places = permutation.inverse(np.arange(seen[label], seen[label] + len(rows), dtype=np.int64))
            parts[rows] = np.searchsorted(ends_of(shares, count), places, side="right")
            seen[label] += len(rows)
        return parts

    return dealt


def by_group(shares: list[float], batches: Batches, group: str, label: str | None, seed: int) -> Callable[..., NDArray[np.int64]]:
    """Deals groups as wholes, in an order of chance, each to the part that lacks most of what it holds."""
    labels = LabelCounts(label or group)
    width = 1
    if label is not None:
        for _, taken in batches():
            labels.count(taken[label])
        width = max(1, len(labels.counts))
    buckets = max(1, min(BUCKETS, COUNTED // width))
    counts = np.zeros(buckets * width, np.uint32)
    for _, taken in batches():
        codes = labels.codes(taken[label]) if label is not None else 0
        found, many = np.unique(hashed(taken[group], seed, buckets) * width + codes, return_counts=True)
        counts[found] += many.astype(np.uint32)
    table = counts.reshape(buckets, width)
    totals = np.maximum(1, table.sum(axis=0, dtype=np.int64))
    # Shares of each label that a part still lacks; the hash has put the groups into an order of chance.
    lacking = np.tile(np.array(shares)[:, None], (1, width))
    part_of = np.zeros(buckets, np.int64)
    for bucket in np.flatnonzero(table.any(axis=1)).tolist():
        held = table[bucket] / totals
        part_of[bucket] = part = int(np.argmax((lacking * held).sum(axis=1)))
        lacking[part] -= held

    def dealt(numbers: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        return part_of[hashed(taken[group], seed, buckets)]

    return dealt


def write_parts(path: str, batches: Batches, parts: int, dealt: Callable[..., NDArray[np.int64]]) -> tuple[int, ...]:
    """Write record numbers part by part, each ascending, and say where each part ends."""
    counts = [0] * parts
    with ExitStack() as held:
        files = [held.enter_context(anonymous_file(os.path.dirname(path))) for _ in range(parts)]
        for numbers, taken in batches():
            where = dealt(numbers, taken)
            for part, file in enumerate(files):
                mine = numbers[where == part]
                file.write(mine.astype(np.int64).tobytes())
                counts[part] += len(mine)
        whole = held.enter_context(replace_file(path))
        for file in files:
            file.seek(0)
            shutil.copyfileobj(file, whole, 1 << 20)
        whole.flush()
        os.fsync(whole.fileno())
    return tuple(int(end) for end in np.cumsum(counts))


def arranged(
    count: int,
    batches: Batches,
    *,
    path: str,
    kept: str | None,
    shares: list[float],
    shuffle: bool,
    seed: int,
    label: str | None,
    group: str | None,
) -> Arrangement:
    """The order of `count` records, and their parts; `kept` is a file of their numbers, where these are not 0, 1, 2 and so on.

    A file is written at `path` where the arithmetic of an order does not tell which records a part has.
    """
    if not count or len(shares) == 1 or (shuffle and label is None and group is None):
        ends = tuple(int(end) for end in ends_of(shares, count))
        return Arrangement(ends=ends, shuffle="whole" if shuffle and count else "no", seed=seed, file=kept)
    if group is not None:
        dealt = by_group(shares, batches, group, label, seed)
    elif label is not None:
        dealt = by_label(shares, batches, label, seed)
    else:
        dealt = by_position(shares, count, seed)
    ends = write_parts(path, batches, len(shares), dealt)
    return Arrangement(ends=ends, shuffle="parts" if shuffle else "no", seed=seed, file=path)

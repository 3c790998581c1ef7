"""Which part of a split each record goes to: by chance alone, each label alike, groups as wholes; the same on every machine.

Records come in passes, a stretch at a time, so that memory does not grow with their number. What is dealt depends on the seed, and on
how many records there are, of each label, and in which groups: never on how they are stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.order.permutation import EXACT, LABELS, Permutation, key
from streamload.reuse.lru import LRU

MOST_LABELS = 65_536
"""Values that differ more often than this are no labels."""
BUCKETS = 1 << 20
COUNTED = 1 << 24
"""Groups are told apart by a hash; so many counts, of hashes and labels, are held at most."""
HELD_RECORDS = 1 << 22
"""Permutations of labels are tables while they are small: of so many records at a time."""

Batches = Callable[[], Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]]
"""Begins a pass over all records: their numbers, ascending, and the fields that were asked for."""
Partition = Callable[[NDArray[np.int64], dict[str, NDArray[Any]]], NDArray[np.int64]]
"""The part of each record, given the stretches of a pass in their order."""


def ends_of(shares: Sequence[float], count: int) -> NDArray[np.int64]:
    """Where parts of so many records end."""
    ends = np.round(np.cumsum(shares) * count).astype(np.int64)
    ends[-1] = count
    return ends


def ends_by_label(shares: Sequence[float], counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Where parts end among the records of each label, of which there are `counts`: each part has its share of each, to a record.

    Each label is rounded by itself, as long as that leaves every part within a twentieth of its share of all. Where it does not, as
    where labels have few records each, what rounding gives to a part or takes from it is carried on from label to label.
    """
    alone = [ends_of(shares, int(count)) for count in counts]
    wanted = np.array(shares) * counts.sum()
    sizes = np.sum([np.diff(ends, prepend=0) for ends in alone], axis=0)
    if (np.abs(sizes - wanted) <= np.maximum(wanted / 20, 1)).all():
        return alone
    carried: list[NDArray[np.int64]] = []
    given, seen = np.zeros(len(shares), np.int64), 0
    for count in counts.tolist():
        seen += count
        whole = np.floor(np.array(shares) * count).astype(np.int64)
        lacking = np.array(shares) * seen - given - whole
        whole[np.argsort(-lacking, kind="stable")[: count - int(whole.sum())]] += 1
        given += whole
        carried.append(np.cumsum(whole))
    return carried


class Labels:
    """The values of a field, and how many records have each. `said` names the field in errors."""

    def __init__(self, said: str) -> None:
        self._said = said
        self._known: dict[Any, int] = {}
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The number of each value. Raises ConfigError for values that cannot be labels: too many, or not equal to themselves."""
        distinct, inverse = np.unique(values, return_inverse=True)
        if distinct.dtype.kind in "fcmM" and (distinct != distinct).any():
            nothing = "NaT" if distinct.dtype.kind in "mM" else "NaN"
            raise ConfigError(f"{self._said}: some values are {nothing}.", hint="Name a field of labels, or leave those records out.")
        numbers = [self._known.setdefault(value, len(self._known)) for value in distinct.tolist()]
        if len(self._known) > MOST_LABELS:
            raise ConfigError(
                f"{self._said}: there are more than {MOST_LABELS:,} values.",
                hint="Name a field of labels, not one of measurements.",
            )
        return np.array(numbers, np.int64)[inverse.reshape(-1)]

    def count(self, values: NDArray[Any]) -> None:
        """Count records."""
        found = np.bincount(self.codes(values), minlength=len(self._known))
        self.counts = found + np.pad(self.counts, (0, len(found) - len(self.counts)))

    def settle(self) -> None:
        """Number the values that were counted as they are sorted, in whatever order they were met."""
        values = sorted(self._known, key=lambda value: (value.real, value.imag) if isinstance(value, complex) else value)
        self.counts = self.counts[[self._known[value] for value in values]]
        self._known = {value: number for number, value in enumerate(values)}


def hashed(values: NDArray[Any], seed: int, buckets: int) -> NDArray[np.int64]:
    """A bucket for each value; equal values have the same one, whatever their type is called."""
    distinct, inverse = np.unique(values, return_inverse=True)
    if distinct.dtype.kind in "fc":
        distinct = distinct + 0.0  # Which of 0.0 and -0.0 stands for both depends on which is met first.
    prefix = str(seed).encode()
    found = [hashlib.blake2b(prefix + b"\0" + str(one).encode(), digest_size=8).digest() for one in distinct.tolist()]
    return (np.frombuffer(b"".join(found), "<u8") % np.uint64(buckets)).astype(np.int64)[inverse.reshape(-1)]


def by_position(shares: Sequence[float], count: int, seed: int) -> Partition:
    """Deals records without regard to what they are; each part has its share to a record."""
    permutation, ends = Permutation(count, key(seed, 0, EXACT, 0)), ends_of(shares, count)
    at = 0

    def parts_of(numbers: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        nonlocal at
        places = permutation.inverse(np.arange(at, at + len(numbers), dtype=np.int64))
        at += len(numbers)
        return np.searchsorted(ends, places, side="right")

    return parts_of


def by_label(shares: Sequence[float], batches: Batches, name: str, seed: int, *, said: str) -> Partition:
    """Deals the records of each label by themselves; each part has its share of each, to a record."""
    labels = Labels(said)
    for _, taken in batches():
        labels.count(taken[name])
    labels.settle()
    counts = labels.counts
    ends = ends_by_label(shares, counts)
    seen = np.zeros(len(counts), np.int64)
    held = max(16, HELD_RECORDS * len(counts) // max(1, int(counts.sum())))
    permutations = LRU[int, Permutation](limit=held)

    def parts_of(numbers: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        codes = labels.codes(taken[name])
        parts = np.empty(len(codes), np.int64)
        order = np.argsort(codes, kind="stable")
        edges = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            rows = order[first:last]
            label = int(codes[rows[0]])
            permutation = permutations.get(label, lambda which: Permutation(int(counts[which]), key(seed, 0, LABELS, which)))
            places = permutation.inverse(np.arange(seen[label], seen[label] + len(rows), dtype=np.int64))
            parts[rows] = np.searchsorted(ends[label], places, side="right")
            seen[label] += len(rows)
        return parts

    return parts_of


def by_group(shares: Sequence[float], batches: Batches, group: str, label: str | None, seed: int, *, said: str) -> Partition:
    """Deals groups as wholes, in an order of chance, each to the part that lacks most of what it holds."""
    labels = Labels(said)
    width = 1
    if label is not None:
        for _, taken in batches():
            labels.count(taken[label])
        labels.settle()
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

    def parts_of(numbers: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        return part_of[hashed(taken[group], seed, buckets)]

    return parts_of


def partition_by(
    shares: Sequence[float], count: int, batches: Batches, *, seed: int, label: str | None, group: str | None, said: str
) -> Partition:
    """The rule: groups as wholes where there is a field that names them, else each label alike, else by chance alone.

    `said` names the field of labels in errors.
    """
    if group is not None:
        return by_group(shares, batches, group, label, seed, said=said)
    if label is not None:
        return by_label(shares, batches, label, seed, said=said)
    return by_position(shares, count, seed)

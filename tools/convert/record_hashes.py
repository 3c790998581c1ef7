"""Hashes of records, by which datasets are told apart whatever their formats: of small records a whole array at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.ragged import Ragged
from streamload.tools.files.checksums import quick_hash

MODULUS = 1 << 128
JOINED_NBYTES = 4096
SMALL_NBYTES = 256
"""Records up to this size are hashed word by word, all records at once: a call for each would cost more than its bytes."""
MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93], np.uint64)
"""Odd, so that no two words of a record, and no two states before it, lead to the same."""
FIRST, SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)


class Content:
    """A digest of records that depends on their values and numbers alone: not on format, files, or how they were read.

    Records of one dataset may be added in any order and in any number of processes; the sums then add up. `version` is that
    of the manifest.
    """

    def __init__(self, version: int) -> None:
        self._version = version
        self.numbered = 0
        """The sum over all records of a hash of the record and its number."""
        self.unnumbered = 0
        """The same without the number: equal for the same records in another order."""

    def add(self, taken: Mapping[str, NDArray[Any]], first: int) -> None:
        """Add records with consecutive numbers; `taken` holds every field, records along the first axis."""
        if self._version > 2 and (small := _small(taken)) is not None:
            hashes = small_hashes(small)
            numbers = _mixed(np.arange(first, first + len(hashes), dtype=np.int64).view(np.uint64) + MULTIPLIERS[0])
            self.unnumbered += _sum(hashes)
            self.numbered += _sum(_mixed(hashes ^ numbers[:, None]))
        else:
            for number, one in enumerate(record_hashes(taken, self._version), start=first):
                self.unnumbered += int.from_bytes(one, "little")
                again = hashlib.sha256(one + number.to_bytes(8, "little")).digest()[:16]
                self.numbered += int.from_bytes(again, "little")
        self.unnumbered %= MODULUS
        self.numbered %= MODULUS

    def __str__(self) -> str:
        return f"{self.numbered:032x}"


def record_hashes(taken: Mapping[str, NDArray[Any] | Ragged], version: int = 3) -> list[bytes]:
    """A hash of 16 bytes for each record: over its fields, by name, as little-endian bytes; of large ones, over checksums of these."""
    if any(isinstance(values, Ragged) for values in taken.values()):
        return _ragged_hashes(taken)
    if version > 2 and (small := _small(taken)) is not None:
        return small_hashes(small).view("V16")[:, 0].tolist()
    rows = [_bytes_of(taken[name]) for name in sorted(taken)]
    count = len(rows[0]) if rows else 0
    if len(rows) > 1 and sum(one.shape[1] for one in rows) <= JOINED_NBYTES:
        # One call for a small record costs less than one for each of its fields; a large one is not worth a copy.
        rows = [np.concatenate(rows, axis=1)]
    flat = [(memoryview(np.ascontiguousarray(one).reshape(-1)), one.shape[1]) for one in rows]
    hashes: list[bytes] = []
    for at in range(count):
        # SHA-256, since processors have instructions for it; for large records that is still slower than any disk.
        made = hashlib.sha256()
        for data, width in flat:
            one = data[at * width : (at + 1) * width]
            made.update(one if width <= JOINED_NBYTES else quick_hash(one))
        hashes.append(made.digest()[:16])
    return hashes


def small_hashes(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes of records of a few bytes, shape (records, nbytes); shape (records, 2). No secret: whoever wants to can make equal ones."""
    count, nbytes = rows.shape
    words = np.zeros((count, -(-nbytes // 8)), np.uint64)
    words.view(np.uint8)[:, :nbytes] = rows
    made = np.full((count, 2), nbytes, np.uint64)
    made ^= MULTIPLIERS[::-1]
    for at in range(words.shape[1]):
        made ^= words[:, at, None]
        made *= MULTIPLIERS
        made ^= made >> np.array([32, 29], np.uint64)
    made[:, 0] += made[:, 1]
    made = _mixed(made)
    made[:, 1] += made[:, 0]
    return _mixed(made)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each value as another, one to one, such that every bit of it depends on every bit."""
    values = values ^ values >> np.uint64(33)
    values *= FIRST
    values ^= values >> np.uint64(33)
    values *= SECOND
    values ^= values >> np.uint64(33)
    return values


def _sum(hashes: NDArray[np.uint64]) -> int:
    """The sum of numbers of 128 bits, of shape (records, 2), the lower half of each first."""
    quarters = np.ascontiguousarray(hashes).view(np.uint32).sum(axis=0, dtype=np.uint64).tolist()
    return sum(one << 32 * at for at, one in enumerate(quarters))


def _small(taken: Mapping[str, NDArray[Any] | Ragged]) -> NDArray[np.uint8] | None:
    """The bytes of records, shape (records, nbytes), fields by name; None where records are larger, or differ in length."""
    if any(isinstance(values, Ragged) for values in taken.values()):
        return None
    if sum(values.dtype.itemsize * int(np.prod(values.shape[1:], dtype=np.int64)) for values in taken.values()) > SMALL_NBYTES:
        return None
    rows = [_bytes_of(taken[name]) for name in sorted(taken)]
    return np.concatenate(rows, axis=1) if len(rows) != 1 else rows[0]


def _ragged_hashes(taken: Mapping[str, Any]) -> list[bytes]:
    """Hashes of records that differ in length: the length of each such field goes before it."""
    columns = [(taken[name], None if isinstance(taken[name], Ragged) else _bytes_of(taken[name])) for name in sorted(taken)]
    hashes: list[bytes] = []
    for at in range(len(columns[0][0])):
        made = hashlib.sha256()
        for values, rows in columns:
            if rows is not None:
                made.update(memoryview(rows[at]))
                continue
            data = values.values[int(values.offsets[at]) : int(values.offsets[at + 1])]
            made.update(len(data).to_bytes(8, "little"))
            made.update(memoryview(np.ascontiguousarray(data).reshape(-1).view(np.uint8)))
        hashes.append(made.digest()[:16])
    return hashes


def _bytes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    width = values.dtype.itemsize * int(np.prod(values.shape[1:], dtype=np.int64))
    return little.view(np.uint8).reshape(len(values), width) if little.size else np.zeros((len(values), width), np.uint8)

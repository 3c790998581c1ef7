"""Where the chunks of an array lie: each in a file of its own, or in shards behind an index."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ChecksumError, CorruptDataError, SourceError, StreamloadError, UnsupportedFeatureError, damaged
from streamload.formats.columns.chunk_reader import IN_SHARD
from streamload.formats.zarr.codecs import Sharding
from streamload.formats.zarr.metadata import ArrayInfo
from streamload.formats.zarr.stores import Store, Stored
from streamload.kernels import checksum_kernels
from streamload.omissions import MOST_NAMED
from streamload.storage.files import open_unchanged

MOST_CHUNKS = 50_000_000
"""Of one array."""
MISSING = np.uint64((1 << 64) - 1)
"""What an index says of a chunk that is not there."""


Table = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]
"""Of each chunk the number of its file, its offset, and its length in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Places:
    """Where chunks lie, in C order of their grid."""

    numbers: NDArray[np.int32]
    """Of their files, as in the store; 0 where there is none."""
    offsets: NDArray[np.int64]
    """-1 where there is no file for a chunk, IN_SHARD where its shard is there, and lacks it."""
    nbytes: NDArray[np.int64]
    strays: tuple[str, ...]
    """Keys below the array that are no chunks of it, up to MOST_NAMED."""
    stray_count: int
    """How many there are of them."""


def grid_of(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """How many chunks there are along each axis."""
    return tuple(-(-side // box) for side, box in zip(shape, chunk, strict=True))


def places_of(store: Store, info: ArrayInfo) -> Places:
    """The chunks of an array. Raises UnsupportedFeatureError where there are too many, CorruptDataError for a damaged index."""
    count = math.prod(grid_of(info.shape, info.chunk))
    if count > MOST_CHUNKS:
        raise UnsupportedFeatureError(f"is cut into {count:,} chunks, and more than {MOST_CHUNKS:,} are not read")
    numbers, offsets, nbytes = np.zeros(count, np.int32), np.full(count, -1, np.int64), np.zeros(count, np.int64)
    table = numbers, offsets, nbytes
    outer = info.chunk if info.sharding is None else info.sharding.shard
    grid = grid_of(info.shape, outer)
    strays: list[str] = []
    stray_count = 0
    found: list[tuple[int, ...]] = []
    stored: list[Stored] = []
    is_chunk = _pattern(info, len(grid)).fullmatch
    skipped = len(info.prefix) + len(info.separator) if info.prefix else 0
    for key, one in store.chunks(info.key):
        place = tuple(map(int, key[skipped:].split(info.separator))) if is_chunk(key) else None
        if place is None or any(at >= side for at, side in zip(place, grid, strict=True)):
            stray_count += 1
            strays += [key] if len(strays) < MOST_NAMED else []
        else:
            found.append(place)
            stored.append(one)
    if info.sharding is not None:
        for place, one in zip(found, stored, strict=True):
            _add_shard(store, info, info.sharding, place, one, table)
    elif found:
        at = np.ravel_multi_index(tuple(np.array(found, np.int64).T), grid)
        numbers[at], offsets[at], nbytes[at] = np.array(stored, np.int64).T
    return Places(numbers=numbers, offsets=offsets, nbytes=nbytes, strays=tuple(sorted(strays)), stray_count=stray_count)


def _pattern(info: ArrayInfo, axes: int) -> re.Pattern[str]:
    """What the keys of chunks look like below their array."""
    separator = re.escape(info.separator)
    numbers = separator.join(["(?:0|[1-9][0-9]{0,17})"] * axes)
    return re.compile(f"{info.prefix}{separator}{numbers}" if info.prefix else numbers)


def _add_shard(store: Store, info: ArrayInfo, sharding: Sharding, place: tuple[int, ...], stored: Stored, table: Table) -> None:
    """Note where the chunks of a shard lie, in a table of numbers of files, offsets and lengths."""
    inner = grid_of(sharding.shard, sharding.chunk)
    index = _index(store, info, sharding, math.prod(inner), stored)
    whole = grid_of(info.shape, sharding.chunk)
    firsts = [at * count for at, count in zip(place, inner, strict=True)]
    sides = [min(count, all_of - first) for count, all_of, first in zip(inner, whole, firsts, strict=True)]
    within = np.indices(sides).reshape(len(sides), -1)
    chunks: NDArray[np.int64] = np.asarray(np.ravel_multi_index(tuple(within + np.array(firsts)[:, None]), whole), np.int64)
    offsets, nbytes = index[np.ravel_multi_index(tuple(within), inner)].T
    there = (offsets != MISSING) | (nbytes != MISSING)
    ends = offsets.astype(np.float64) + nbytes.astype(np.float64)
    if bool((ends[there] > stored.nbytes).any()):
        raise _damaged(store, info, stored, "its index leads behind its end")
    chosen = chunks[there]
    table[0][chunks], table[1][chunks] = stored.number, IN_SHARD
    table[1][chosen] = stored.offset + offsets[there].astype(np.int64)
    table[2][chosen] = nbytes[there].astype(np.int64)


def _index(store: Store, info: ArrayInfo, sharding: Sharding, count: int, stored: Stored) -> NDArray[np.uint64]:
    """Offset and length of each chunk in a shard, shape (chunks, 2)."""
    nbytes = 16 * count + 4 * sharding.checked
    if nbytes > stored.nbytes:
        raise _damaged(store, info, stored, f"it is shorter than the index of its {count:,} chunks")
    was = store.files[stored.number]
    try:
        fd = open_unchanged(was)
        try:
            data = os.pread(fd, nbytes, stored.offset + (stored.nbytes - nbytes if sharding.at_end else 0))
        finally:
            os.close(fd)
    except OSError as error:
        if isinstance(error, StreamloadError):
            raise
        raise SourceError(
            f"{was.path} cannot be read: {error.strerror}.", hint="Check its permissions and the disk.", path=was.path
        ) from error
    if len(data) < nbytes:
        raise _damaged(store, info, stored, "it was cut short")
    if sharding.checked and checksum_kernels().crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise damaged(
            f"{was.path}: the checksum of the index of a shard of '{info.key}' is wrong.",
            path=was.path,
            dataset=info.key,
            kind=ChecksumError,
        )
    return np.frombuffer(data, "<u8", 2 * count).reshape(count, 2)


def _damaged(store: Store, info: ArrayInfo, stored: Stored, why: str) -> CorruptDataError:
    path = store.files[stored.number].path
    return damaged(f"{path}, a shard of '{info.key}', cannot be read: {why}.", path=path, dataset=info.key)

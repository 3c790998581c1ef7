"""In which order records are written: as they are, or shuffled without a table, and moved within bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from streamload.order.permutation import EXACT, Permutation, key
from streamload.ragged import Ragged
from streamload.schema import Field, Schema
from streamload.storage.owned_files import Folder

BUCKET_NBYTES = 128 * 1024**2
"""Records of neighbouring places are moved through files of so many bytes."""
MOST_BUCKETS = 512
"""Each is an open file while records are scattered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenOrder:
    """Which record stands at each position: worked out where it is asked for, so that it takes no memory for any number of records."""

    ends: tuple[int, ...]
    """Where each part ends."""
    shuffle: str
    """ "no", "whole" (all records in one order, cut into parts) or "parts" (each part by itself)."""
    seed: int
    file: str | None = None
    """Record numbers, 8 bytes each, ascending within each part; all records as they are where there is none."""

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> WrittenOrder:
        """What `plain` wrote down."""
        return cls(**{**plain, "ends": tuple(plain["ends"])})

    def __len__(self) -> int:
        return self.ends[-1]


class WrittenOrderIndex:
    """Looks up positions and records of an order in which records are written."""

    def __init__(self, arrangement: WrittenOrder) -> None:
        self._arrangement = arrangement
        filed = arrangement.file is not None and len(arrangement) > 0
        self._held: NDArray[np.int64] | None = np.memmap(arrangement.file, np.int64, mode="r") if filed else None
        self._permutations: dict[int, Permutation] = {}

    def _stretch(self, part: int) -> tuple[int, int]:
        """The positions that are shuffled together with those of a part."""
        ends = self._arrangement.ends
        if self._arrangement.shuffle != "parts":
            return 0, ends[-1]
        return (ends[part - 1] if part else 0), ends[part]

    def _permutation(self, part: int) -> Permutation:
        if part not in self._permutations:
            start, stop = self._stretch(part)
            words = key(self._arrangement.seed, 0, EXACT, part + 1 if self._arrangement.shuffle == "parts" else 0)
            self._permutations[part] = Permutation(stop - start, words)
        return self._permutations[part]

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The part of each stretch of positions that is shuffled by itself."""
        if self._arrangement.shuffle != "parts":
            yield 0, start, stop
            return
        begin = 0
        for part, end in enumerate(self._arrangement.ends):
            if max(start, begin) < min(stop, end):
                yield part, max(start, begin), min(stop, end)
            begin = end

    def at(self, start: int, stop: int) -> NDArray[np.int64]:
        """Record numbers at positions [start, stop)."""
        if stop <= start:
            return np.zeros(0, np.int64)
        if self._arrangement.shuffle == "no":
            places = np.arange(start, stop, dtype=np.int64)
        else:
            shuffled: list[NDArray[np.int64]] = []
            for part, first, last in self._pieces(start, stop):
                begin, _ = self._stretch(part)
                shuffled.append(begin + self._permutation(part).forward(first - begin, last - begin))
            places = np.concatenate(shuffled)
        return places if self._held is None else np.array(self._held[places], np.int64)

    def written(self, start: int, stop: int) -> NDArray[np.int64]:
        """Those of the records [start, stop) that have a position, ascending."""
        if self._arrangement.file is None:
            return np.arange(start, min(stop, len(self._arrangement)), dtype=np.int64)
        found = [np.zeros(0, np.int64)]
        begin = 0
        for end in self._arrangement.ends if self._held is not None else ():
            assert self._held is not None
            part = self._held[begin:end]  # Records ascend within a part.
            first, last = np.searchsorted(part, [start, stop])
            found.append(np.array(part[first:last]))
            begin = end
        return np.sort(np.concatenate(found))

    def positions(self, batches: Iterator[tuple[int, int]]) -> Iterator[NDArray[np.int64]]:
        """The position of each record of [start, stop), for stretches that follow each other from 0 on; -1 for one that is left out."""
        whole = self._arrangement.shuffle == "whole"
        ends = (len(self._arrangement),) if whole else self._arrangement.ends
        seen = [0, *ends[:-1]]
        for start, stop in batches:
            if self._arrangement.file is None:
                yield self._moved(np.arange(start, stop, dtype=np.int64), 0)
                continue
            found = np.full(stop - start, -1, np.int64)
            for part, end in enumerate(ends if self._held is not None else ()):
                assert self._held is not None
                # Records ascend within a part, so those of this stretch stand together where the last ones ended.
                ahead = np.array(self._held[seen[part] : min(end, seen[part] + stop - start)])
                count = int(np.searchsorted(ahead, stop))
                found[ahead[:count] - start] = self._moved(np.arange(seen[part], seen[part] + count, dtype=np.int64), part)
                seen[part] += count
            yield found

    def _moved(self, places: NDArray[np.int64], part: int) -> NDArray[np.int64]:
        """Where a shuffle puts what stands at these places."""
        if self._arrangement.shuffle == "no" or not len(places):
            return places
        part = part if self._arrangement.shuffle == "parts" else 0
        begin, _ = self._stretch(part)
        return begin + self._permutation(part).inverse(places - begin)


class Buckets:
    """Files that each hold the records of a stretch of positions: filled in any order, read in that of the positions."""

    def __init__(self, folder: Folder, schema: Schema, total: int, *, count: int) -> None:
        self._folder = folder
        """Its owner's."""
        self._kind = np.dtype([(f.name, f.dtype, f.shape) for f in schema if not f.ragged])
        self._schema = schema
        self._stretch = max(1, -(-total // count))
        self._files: dict[int, dict[str, BinaryIO]] = {}
        """By bucket, its files by what they hold: places, records of one length, and lengths and values of each other field."""

    def _path(self, bucket: int, what: str) -> str:
        return self._folder.held_path(f"{what}-{bucket:05d}")

    def _created(self, bucket: int, what: str) -> BinaryIO:
        """A new file, in place of one of an earlier try."""
        name = f"{what}-{bucket:05d}"
        self._folder.claim(name)
        self._folder.delete(name)
        return os.fdopen(self._folder.create(name), "wb", buffering=0)

    def scatter(self, positions: NDArray[np.int64], taken: dict[str, NDArray[Any]]) -> None:
        """Put records into the buckets of their positions; those at -1 are left out."""
        order = np.argsort(positions, kind="stable")
        order = order[np.searchsorted(positions[order], 0) :]
        sorted_positions = positions[order]
        buckets = sorted_positions // self._stretch
        for bucket in np.unique(buckets).tolist():
            first, last = np.searchsorted(buckets, [bucket, bucket + 1])
            for what, values in {"places": sorted_positions[first:last], **self._parts(taken, order[first:last])}.items():
                file = self._files.setdefault(bucket, {}).get(what)
                if file is None:
                    file = self._files[bucket][what] = self._created(bucket, what)
                rest = memoryview(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
                while rest:
                    rest = rest[file.write(rest) :]

    def _parts(self, taken: Mapping[str, Any], rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Some records as they are put into files."""
        table = np.empty(len(rows), self._kind)
        for name in self._kind.names or ():
            table[name] = taken[name][rows]
        parts: dict[str, NDArray[Any]] = {"records": table} if self._kind.itemsize else {}
        for number, field in enumerate(self._schema):
            if field.ragged:
                some: Ragged = taken[field.name][rows]
                parts |= {f"lengths{number}": some.lengths, f"values{number}": some.values}
        return parts

    def close(self) -> None:
        """Finish the files."""
        for files in self._files.values():
            for file in files.values():
                file.close()
        self._files.clear()

    def gathered(self, start: int, stop: int, batch: int) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Records at positions [start, stop), in order: of a bucket, its places are in memory, and a batch of records."""
        at = start
        while at < stop:
            bucket = at // self._stretch
            places = np.argsort(np.fromfile(self._path(bucket, "places"), np.int64))
            held = {field.name: self._held(bucket, number, field) for number, field in enumerate(self._schema) if field.ragged}
            rows = self._mapped(bucket, "records", self._kind) if self._kind.itemsize else np.empty(len(places), self._kind)
            end = min(stop, (bucket + 1) * self._stretch)
            for first in range(at, end, batch):
                chosen = places[first - bucket * self._stretch : min(first + batch, end) - bucket * self._stretch]
                table = rows[chosen]
                own = {field.name: held[field.name][chosen] for field in self._schema.ragged}
                yield first, {name: own[name] if name in own else np.ascontiguousarray(table[name]) for name in self._schema.names}
            at = end

    def _held(self, bucket: int, number: int, field: Field) -> Ragged:
        """A ragged field of a bucket, in the order in which its records came."""
        lengths = np.fromfile(self._path(bucket, f"lengths{number}"), np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        elements = np.dtype((field.dtype, field.shape))
        values = self._mapped(bucket, f"values{number}", elements) if elements.itemsize else np.empty(int(offsets[-1]), elements)
        return Ragged(values, offsets, field.ragged)

    def _mapped(self, bucket: int, what: str, kind: np.dtype) -> NDArray[Any]:
        """The values in a file, which may hold none."""
        path = self._path(bucket, what)
        if not os.path.getsize(path):
            return np.empty(0, kind)
        base, shape = kind.subdtype or (kind, ())
        return np.memmap(path, base, mode="r").reshape(-1, *shape)


def bucket_count(record_nbytes: int, total: int, *, ragged: int = 0) -> int:
    """How many buckets keep each small; beyond the most there are, memory grows by 8 bytes for each record of a bucket.

    Each of the `ragged` fields has files of its own in every bucket.
    """
    return max(1, min(MOST_BUCKETS // (1 + ragged), -(-record_nbytes * total // BUCKET_NBYTES)))

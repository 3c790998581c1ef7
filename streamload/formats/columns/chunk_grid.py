"""The geometry of chunks: which of them hold the wanted records, and where each one's elements belong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMALL_NBYTES = 16384
"""The largest chunk, as stored, that is read with others from all over the file."""
_ELEMENTS = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16), 4: np.dtype(np.uint32), 8: np.dtype(np.uint64)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkSelection:
    """The chunks that hold some records, one line a chunk; records of one band of chunks are one run."""

    chunks: NDArray[np.int64]
    """Number of each chunk in C order of the grid."""
    places: NDArray[np.int64]
    """The byte of `out` at which the whole chunk may be decoded; -1 where its records have to be copied out."""
    runs: NDArray[np.int64]
    """The run that each chunk serves."""
    edges: NDArray[np.int64]
    """Where runs begin in `local` and `rows`, their length last."""
    local: NDArray[np.int64]
    """Records of the file, band after band."""
    rows: NDArray[np.int64]
    """The row for each."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grid:
    """How the records of one dataset are cut into bands of some records, and a band into boxes, each one chunk."""

    chunk_shape: tuple[int, ...]
    """Records of a band first."""
    shape: tuple[int, ...]
    """Of one record."""
    total: int
    """Records in the file."""
    element: np.dtype
    """Stands for an element of the same size while bytes are moved."""
    boxes: int
    """Chunks in a band."""
    axis: int = 0
    """Where the axis of records stands in a chunk as it is stored."""

    @classmethod
    def of(cls, *, chunk_shape: tuple[int, ...], shape: tuple[int, ...], total: int, itemsize: int, axis: int = 0) -> Grid:
        """The grid of `total` records of `shape` in chunks of `chunk_shape`, whose axis of records is stored as number `axis`."""
        if len(chunk_shape) - 1 != len(shape) and math.prod(chunk_shape[1:]) == math.prod(shape):
            shape = chunk_shape[1:]
        boxes = math.prod(-(-side // box) for side, box in zip(shape, chunk_shape[1:], strict=True))
        element = _ELEMENTS.get(itemsize, np.dtype(f"V{itemsize}"))
        return cls(chunk_shape=chunk_shape, shape=shape, total=total, element=element, boxes=boxes, axis=axis)

    @property
    def band_records(self) -> int:
        """Records in a band; the last band may have fewer."""
        return self.chunk_shape[0]

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of a decoded chunk, padding included."""
        return math.prod(self.chunk_shape) * self.element.itemsize

    @property
    def record_nbytes(self) -> int:
        """Bytes of a record."""
        return math.prod(self.shape) * self.element.itemsize

    @property
    def whole(self) -> bool:
        """Whether a chunk holds its records whole and without padding between them."""
        return not self.axis and self.chunk_shape[1:] == self.shape

    @property
    def slabs(self) -> bool:
        """Whether a chunk is one stretch of one record."""
        return not self.axis and self.band_records == 1 and len(self.shape) > 0 and self.chunk_shape[2:] == self.shape[1:]

    def seen(self, chunk: NDArray[np.uint8]) -> NDArray[np.generic]:
        """A decoded chunk as elements, records first."""
        if not self.axis:
            return chunk.view(self.element).reshape(self.chunk_shape)
        stored = (*self.chunk_shape[1 : self.axis + 1], self.chunk_shape[0], *self.chunk_shape[self.axis + 1 :])
        return np.moveaxis(chunk.view(self.element).reshape(stored), self.axis, 0)

    def records_in(self, chunk: int) -> int:
        """How many records a chunk holds."""
        return min(self.band_records, self.total - chunk // self.boxes * self.band_records)

    def cutouts(self, box: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """For box number `box` of a band: the part of a record that it holds, and the part of the chunk that holds it."""
        counts = [-(-side // step) for side, step in zip(self.shape, self.chunk_shape[1:], strict=True)]
        place = np.unravel_index(box, counts)
        starts = [int(p) * step for p, step in zip(place, self.chunk_shape[1:], strict=True)]
        stops = [min(start + step, side) for start, step, side in zip(starts, self.chunk_shape[1:], self.shape, strict=True)]
        return (
            tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True)),
            tuple(slice(0, stop - start) for start, stop in zip(starts, stops, strict=True)),
        )

    def table(self, out: NDArray[np.generic]) -> NDArray[np.generic]:
        """`out`, the records' rows, as elements that are only moved."""
        return out.reshape(-1).view(np.uint8).view(self.element).reshape(len(out), *self.shape)

    def wanted(self, local: NDArray[np.int64], rows: NDArray[np.int64]) -> ChunkSelection:
        """The chunks that hold records `local` of the file, which go to `rows`; sorted by band unless they are already."""
        if self.whole and self.band_records > 1:
            if _is_run(local) and _is_run(rows):
                return self._wanted_run(local, rows)
            if (bands := self._wanted_bands(local, rows)) is not None:
                return bands
        bands = local // self.band_records
        if len(bands) > 1 and bool((bands[1:] < bands[:-1]).any()):
            order = np.argsort(bands, kind="stable")
            local, rows, bands = local[order], rows[order], bands[order]
        edges = np.concatenate(([0], np.flatnonzero(bands[1:] != bands[:-1]) + 1, [len(bands)]))
        firsts = edges[:-1]
        chunks = bands[firsts]
        places = np.full(len(firsts), -1, np.int64)
        direct = self._direct(local, rows, edges)
        places[direct] = rows[firsts[direct]] * self.record_nbytes
        runs = np.arange(len(firsts))
        if not self.whole:
            inner = np.arange(self.boxes)
            steps = inner * self.chunk_nbytes
            if self.slabs and self.shape[0] % self.chunk_shape[1]:
                steps[-1] = -(2**62)
            chunks = (chunks[:, None] * self.boxes + inner).reshape(-1)
            places = np.maximum(np.where(places[:, None] < 0, -1, places[:, None] + steps), -1).reshape(-1)
            runs = np.repeat(runs, self.boxes)
        return ChunkSelection(chunks=chunks, places=places, runs=runs, edges=edges, local=local, rows=rows)

    def _wanted_run(self, local: NDArray[np.int64], rows: NDArray[np.int64]) -> ChunkSelection:
        """The same for one record after the other into one row after the other, of chunks that hold records whole."""
        first, count = int(local[0]), len(local)
        chunks = np.arange(first // self.band_records, (first + count - 1) // self.band_records + 1)
        starts = chunks * self.band_records - first
        inside = (starts >= 0) & (starts <= count - self.band_records)
        places = np.where(inside, (starts + int(rows[0])) * self.record_nbytes, -1)
        edges = np.empty(len(chunks) + 1, np.int64)
        edges[:-1], edges[0], edges[-1] = starts, 0, count
        return ChunkSelection(chunks=chunks, places=places, runs=np.arange(len(chunks)), edges=edges, local=local, rows=rows)

    def _wanted_bands(self, local: NDArray[np.int64], rows: NDArray[np.int64]) -> ChunkSelection | None:
        """The same for bands that are wanted whole, in any order, each once and into one row after the other, of chunks that hold
        records whole; None where it is not that. So are blocks decoded, and nothing has to be found out for each record of them."""
        size = self.band_records
        if len(local) % size or (local[::size] % size).any():
            return None
        within, records, places = np.arange(size), local.reshape(-1, size), rows.reshape(-1, size)
        if (records - records[:, :1] != within).any() or (places - places[:, :1] != within).any():
            return None
        chunks = records[:, 0] // size
        if (chunks[1:] <= chunks[:-1]).any():
            order = chunks.argsort(kind="stable")
            chunks, records, places = chunks[order], records[order], places[order]
            if (chunks[1:] == chunks[:-1]).any():
                return None
        count = len(chunks)
        return ChunkSelection(
            chunks=chunks,
            places=places[:, 0] * self.record_nbytes,
            runs=np.arange(count),
            edges=np.arange(count + 1) * size,
            local=records.reshape(-1),
            rows=places.reshape(-1),
        )

    def _direct(self, local: NDArray[np.int64], rows: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each run, whether its chunks lie in `out` as they are decoded: whole bands in order, or single records."""
        counts = edges[1:] - edges[:-1]
        if self.band_records == 1:
            return (counts == 1) & (self.slabs or self.whole)
        if not self.whole:
            return np.zeros(len(counts), np.bool_)
        direct = counts == self.band_records
        if direct.any():
            breaks = np.concatenate(([0], np.cumsum((local[1:] - local[:-1] != 1) | (rows[1:] - rows[:-1] != 1))))
            direct &= breaks[edges[1:] - 1] == breaks[edges[:-1]]
        return direct


def _is_run(numbers: NDArray[np.int64]) -> bool:
    """Whether each number follows the one before."""
    return int(numbers[-1]) - int(numbers[0]) == len(numbers) - 1 and bool((numbers[1:] - numbers[:-1] == 1).all())


def together(offsets: NDArray[np.int64], nbytes: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chunks that are neighbours in the file, up to `most` bytes (or one chunk): firsts and stops of the groups."""
    apart = offsets[1:] != offsets[:-1] + nbytes[:-1]
    if apart.all():
        firsts = np.arange(len(offsets))
        return firsts, firsts + 1
    if int(nbytes.sum()) <= most and not apart.any():
        return np.zeros(1, np.int64), np.array([len(offsets)])
    before = np.cumsum(nbytes) - nbytes
    heads = np.concatenate(([0], np.flatnonzero(apart) + 1))
    part = (before - np.repeat(before[heads], np.diff(np.append(heads, len(offsets))))) // most
    breaks = np.flatnonzero(apart | (part[1:] != part[:-1])) + 1
    return np.concatenate(([0], breaks)), np.append(breaks, len(offsets))


def reads(
    offsets: NDArray[np.int64], nbytes: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """How chunks are brought in: firsts and stops of groups, where in its group's buffer each chunk begins, and a stride.

    Groups are neighbours in the file, read as one (stride 0). Where few chunks have a neighbour and all are small, a group
    is any chunks, each read as `stride` bytes: one compiled loop reads more bytes than needed in less time than Python
    takes to ask for each chunk.
    """
    firsts, stops = together(offsets, nbytes, most)
    stride = int(nbytes.max())
    count = len(offsets)
    if 2 * len(firsts) > count > 1 and stride <= SMALL_NBYTES and stride * count <= 2 * int(nbytes.sum()):
        size = max(1, most // stride)
        firsts = np.arange(0, count, size)
        return firsts, np.minimum(firsts + size, count), np.arange(count) % size * stride, stride
    return firsts, stops, offsets - np.repeat(offsets[firsts], stops - firsts), 0

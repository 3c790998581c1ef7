"""What a dataset claims, held against what its file can hold."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import numpy as np

from streamload.errors import UnsupportedFeatureError, damaged
from streamload.formats.hdf5.metadata import CHUNKED, CONTIGUOUS, ChunkIndex, DatasetInfo
from streamload.sizes import format_nbytes

LARGEST_CHUNK_NBYTES = 1024**3
"""Decoded bytes of a chunk above which a dataset is refused."""
UNWRITTEN_NBYTES = 4 * 1024**2
"""What is made of fill values at a time."""
REWRITTEN_CHUNK_NBYTES = 4 * 1024**2
"""Of a chunk as it is advised to be written."""
MOST_CHUNKS = 2**27
"""Chunks in the grid of one dataset: their index takes 20 bytes each."""


def unwritten(stored: DatasetInfo) -> tuple[DatasetInfo, ChunkIndex]:
    """A dataset without data, as chunks none of which is stored."""
    records = max(1, UNWRITTEN_NBYTES // stored.stride_nbytes)
    count = -(-stored.records // records)
    index = ChunkIndex(offsets=np.full(count, -1, np.int64), nbytes=np.zeros(count, np.int64), masks=np.zeros(count, np.uint32))
    chunk = (records, *stored.shape[1:])
    return replace(stored, layout=CHUNKED, chunk=chunk, chunks=0, offset=None, filters=(), listed=True), index


def refuse_impossible(stored: DatasetInfo, path: str, file_nbytes: int) -> None:
    """Raise where the file cannot hold what the dataset's shape says, or only at a cost nobody means."""
    where = f"{path}: dataset '{stored.key}'"
    details: dict[str, Any] = {"path": path, "dataset": stored.key}
    if not stored.records:
        return
    if stored.nbytes >= 2**63:
        raise damaged(f"{where} claims {stored.records:,} records, {stored.nbytes:,} bytes.", **details)
    if not stored.written:
        return
    if stored.layout == CONTIGUOUS:
        stop = (stored.offset or 0) + stored.records * stored.stride_nbytes
        if stop > file_nbytes:
            raise damaged(f"{where} ends at byte {stop:,}, and the file has {file_nbytes:,} bytes.", **details)
    if stored.layout == CHUNKED:
        chunk_nbytes = int(np.prod(stored.chunk, dtype=np.float64)) * stored.dtype.itemsize
        if chunk_nbytes > LARGEST_CHUNK_NBYTES:
            raise UnsupportedFeatureError(
                f"{where} has chunks of {format_nbytes(chunk_nbytes)} {stored.chunk}; the limit is {format_nbytes(LARGEST_CHUNK_NBYTES)}.",
                hint=_in_chunks("smaller", stored, path),
                **details,
            )
        grid = int(np.prod(stored.grid, dtype=np.float64))
        if grid > MOST_CHUNKS:
            raise UnsupportedFeatureError(
                f"{where} is cut into {grid:,} chunks, of which {stored.chunks:,} are stored; the limit is {MOST_CHUNKS:,}.",
                hint=_in_chunks("larger", stored, path),
                **details,
            )


def _in_chunks(how: str, stored: DatasetInfo, path: str) -> str:
    """How to have it in chunks of some MB. What is refused here is not converted either, so it is HDF5's own program that rewrites it."""
    sides, element_nbytes = list(stored.shape[: len(stored.chunk)]), stored.dtype.itemsize
    for axis in range(len(sides)):
        rest_nbytes = int(np.prod(sides[axis + 1 :], dtype=np.float64)) * element_nbytes
        sides[axis] = max(1, min(sides[axis], REWRITTEN_CHUNK_NBYTES // max(1, rest_nbytes)))
    sides.insert(stored.axis or 0, sides.pop(0))
    asked = shlex.quote(f"{stored.place}:CHUNK={'x'.join(map(str, sides))}")
    return f"Write it in {how} chunks: `h5repack -l {asked} {shlex.quote(path)} new.h5`."

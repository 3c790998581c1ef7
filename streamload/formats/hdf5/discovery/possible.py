"""What a dataset claims, held against what its file can hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamload.errors import CorruptDataError, UnsupportedFeatureError
from streamload.formats.hdf5.metadata import CHUNKED, CONTIGUOUS, ChunkIndex, DatasetInfo
from streamload.sizes import format_nbytes

LARGEST_CHUNK_NBYTES = 1024**3
"""Decoded bytes of a chunk above which a dataset is refused."""
UNWRITTEN_NBYTES = 4 * 1024**2
"""What is made of fill values at a time."""
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
    details = {"path": path, "dataset": stored.key}
    if not stored.records:
        return
    if stored.nbytes >= 2**63:
        raise CorruptDataError(f"{where} claims {stored.records:,} records, {stored.nbytes:,} bytes.", hint="Write it again.", **details)
    if not stored.written:
        return
    if stored.layout == CONTIGUOUS:
        stop = (stored.offset or 0) + stored.records * stored.stride_nbytes
        if stop > file_nbytes:
            raise CorruptDataError(
                f"{where} ends at byte {stop:,}, and the file has {file_nbytes:,} bytes.",
                hint="The file is damaged or was cut short; fetch or write it again.",
                **details,
            )
    if stored.layout == CHUNKED:
        chunk_nbytes = int(np.prod(stored.chunk, dtype=np.float64)) * stored.dtype.itemsize
        if chunk_nbytes > LARGEST_CHUNK_NBYTES:
            raise UnsupportedFeatureError(
                f"{where} has chunks of {format_nbytes(chunk_nbytes)} {stored.chunk}; the limit is {format_nbytes(LARGEST_CHUNK_NBYTES)}.",
                hint="Write it in smaller chunks: `streamload convert --chunk-records 1`.",
                **details,
            )
        grid = int(np.prod(stored.grid, dtype=np.float64))
        if grid > MOST_CHUNKS:
            raise UnsupportedFeatureError(
                f"{where} is cut into {grid:,} chunks, of which {stored.chunks:,} are stored; the limit is {MOST_CHUNKS:,}.",
                hint="Write it in larger chunks: `streamload convert --chunk-records 64`.",
                **details,
            )

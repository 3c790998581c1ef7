"""A digest of some records of a source, spread over it: tells other data of the same length apart, at the cost of a few blocks."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError
from streamload.ragged import Ragged
from streamload.source import Column, ReadStats, Source, read_records, stored_column, stored_nbytes
from streamload.storage.files import OpenFiles

MOST_RECORDS = 16
MOST_NBYTES = 64 * 1024**2
"""Of blocks that are decoded for it: where they are large, fewer records are looked at, but at least two."""


def contents_digest(source: Source) -> str | None:
    """Sixteen hexadecimal digits over the stored values of a few records, the first and the last among them; None if they cannot be read.

    It depends on the values alone, not on how they are stored in files; of encoded images, on their stored bytes.
    """
    digest = hashlib.blake2b(digest_size=8)
    numbers = spread(len(source), _how_many(source))
    files = OpenFiles(source.fingerprints)
    try:
        for column in map(stored_column, source.columns):
            digest.update(f"{column.field};".encode())
            for part in _parts(column, files, numbers):
                digest.update(part.tobytes())
        files.verify()
    except (StreamloadError, OSError):
        return None  # Whoever reads all records will say what is wrong.
    finally:
        files.close()
    return digest.hexdigest()


def spread(n: int, count: int) -> NDArray[np.int64]:
    """`count` of n record numbers, evenly apart, the first and the last among them; all where there are no more."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(np.int64)) if n else np.empty(0, np.int64)


def _how_many(source: Source) -> int:
    """How many records to look at: as the layout of the data has it, the same on every machine."""
    largest = 1
    for column in source.columns:
        if column.cuts is not None and len(column.cuts) > 1:
            largest = max(largest, int(np.diff(column.cuts).max()) * stored_nbytes(column))
    return min(MOST_RECORDS, max(2, MOST_NBYTES // largest))


def _parts(column: Column, files: OpenFiles, numbers: NDArray[np.int64]) -> list[NDArray[Any]]:
    reader = column.reader(files, ReadStats())
    try:
        found = read_records(column, reader, numbers)
    finally:
        reader.close()
    return [found.offsets, found.values] if isinstance(found, Ragged) else [found]

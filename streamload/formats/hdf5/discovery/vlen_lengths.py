"""Lengths of variable-length records, without reading them: each is stored as a reference that begins with how long it is."""

from __future__ import annotations

import os
from typing import Any

import h5py
import numpy as np
from h5py import h5d  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from streamload.codecs import FilterPipeline, supported
from streamload.errors import damaged

REFERENCE_NBYTES = 16
"""Four bytes of length, eight of address, four of a number within the heap there."""
STRETCH = 1 << 20
"""References that are read at a time."""
SOME = 64
"""Records that are read, at each of three places, where references cannot be."""


def lengths_of(file_path: str, path: str, dataset: h5d.DatasetID, itemsize: int) -> NDArray[np.int64] | None:
    """Elements of every record; None where references cannot be read by themselves. Raises CorruptDataError for impossible ones."""
    plist = dataset.get_create_plist()
    count, kind = int(dataset.shape[0]), dataset.get_type()
    if kind.get_size() != REFERENCE_NBYTES or dataset.get_storage_size() == 0:
        return None
    if plist.get_layout() == h5d.CONTIGUOUS:
        found = _contiguous(file_path, int(dataset.get_offset() or 0), count)
    elif plist.get_layout() == h5d.CHUNKED:
        found = _chunked(dataset, plist, count)
    else:
        return None
    nbytes = os.path.getsize(file_path)
    if found is not None and len(found) and int(found.max()) * itemsize > nbytes:
        record = int(found.argmax())
        raise damaged(
            f"{file_path}: record {record:,} of dataset '{path}' claims {int(found[record]):,} elements, "
            f"and the file has {nbytes:,} bytes.",
            path=file_path,
            dataset=path,
        )
    return found


def some_lengths(dataset: h5d.DatasetID, member: tuple[str, ...]) -> NDArray[np.int64]:
    """Elements of some records, read whole: at the beginning, in the middle, at the end. `member` names that of a compound."""
    whole = h5py.Dataset(dataset)
    seen = whole.fields(list(member[:1])) if member else whole
    if whole.shape == ():
        return np.array([len(_of(seen[()], member))], np.int64)
    count = len(whole)
    places = sorted({0, max(0, count // 2 - SOME // 2), max(0, count - SOME)})
    return np.array([len(one) for place in places for one in _of(seen[place : place + SOME], member).reshape(-1)], np.int64)


def _of(values: Any, member: tuple[str, ...]) -> Any:
    for name in member:
        values = values[name]
    return values


def _contiguous(file_path: str, offset: int, count: int) -> NDArray[np.int64] | None:
    found = np.empty(count, np.int64)
    fd = os.open(file_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for first in range(0, count, STRETCH):
            wanted = min(STRETCH, count - first) * REFERENCE_NBYTES
            data = os.pread(fd, wanted, offset + first * REFERENCE_NBYTES)
            if len(data) != wanted:
                return None
            found[first : first + STRETCH] = _first_words(np.frombuffer(data, np.uint8))
    finally:
        os.close(fd)
    return found


def _chunked(dataset: h5d.DatasetID, plist: h5py.h5p.PropDCID, count: int) -> NDArray[np.int64] | None:
    steps = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    pipeline = tuple((int(number), tuple(int(value) for value in values)) for number, _, values, _ in steps)
    kind = np.dtype(f"S{REFERENCE_NBYTES}")
    if pipeline and not supported(pipeline, kind):
        return None
    records = int(plist.get_chunk()[0])
    # Every filter of one chunk may be left out; a record of a chunk that was never written is empty.
    found = np.zeros(-(-count // records) * records, np.int64)
    decode = FilterPipeline(pipeline, REFERENCE_NBYTES, records * REFERENCE_NBYTES).decode if pipeline else None
    corners: list[tuple[int, ...]] = []

    def note(chunk: h5d.StoreInfo) -> None:
        corners.append(tuple(chunk.chunk_offset))

    dataset.chunk_iter(note)
    for corner in corners:
        mask, data = dataset.read_direct_chunk(corner)
        plain = np.frombuffer(data, np.uint8) if decode is None else decode(np.frombuffer(data, np.uint8), mask)
        if len(plain) != records * REFERENCE_NBYTES or not 0 <= corner[0] < len(found):
            return None
        found[corner[0] : corner[0] + records] = _first_words(plain)
    return found[:count]


def _first_words(references: NDArray[np.uint8]) -> NDArray[np.int64]:
    return references.reshape(-1, REFERENCE_NBYTES)[:, :4].copy().view("<u4").reshape(-1).astype(np.int64)

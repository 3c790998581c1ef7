"""Small fields, read whole: each dataset once, however many of its members are fields, and in large pieces whatever its chunks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError
from streamload.formats.columns.raw import RawRecords
from streamload.formats.hdf5.columns.h5py_column import H5pyColumn, H5pyReader, plain_values
from streamload.ragged import Ragged
from streamload.source import Column, ReadStats, read_records
from streamload.storage.files import Fingerprint, OpenFiles, short_read

PIECE_NBYTES = 4 * 1024**2
"""What is read at a time."""
MANY = 1000
"""Runs above which each is read by one call, and nothing more is done about it."""


def read_small(
    columns: Mapping[int, Column], records: int, fingerprints: Sequence[Fingerprint], beat: Callable[[], None]
) -> dict[int, NDArray[np.generic] | Ragged]:
    """All records of each column, by its number. `beat` is called at each piece. Members of one compound dataset are read together."""
    files = OpenFiles(fingerprints)
    found: dict[int, NDArray[np.generic] | Ragged] = {}
    try:
        for group in _together(columns):
            first = group[min(group)]
            rooms = {number: one.field for number, one in group.items() if not one.field.ragged}
            values: dict[int, Any] = {number: np.empty((records, *field.shape), field.dtype) for number, field in rooms.items()}
            if isinstance(first, RawRecords):
                _read_runs(group, files, values, beat)
            elif isinstance(first, H5pyColumn):
                _read_datasets(group, files, values, beat)
            else:
                beat()
                reader = first.reader(files, ReadStats())
                try:
                    values = {number: read_records(one, reader, np.arange(records, dtype=np.int64)) for number, one in group.items()}
                finally:
                    reader.close()
            found |= values
        files.verify()
    finally:
        files.close()
    return found


def _together(columns: Mapping[int, Column]) -> Iterator[dict[int, Any]]:
    """Columns in groups, those of the same datasets together."""
    groups: dict[object, dict[int, Any]] = {}
    for number, column in columns.items():
        key: object = number
        if isinstance(column, H5pyColumn):
            key = column.parts
        elif isinstance(column, RawRecords) and len(column.offsets) and (column.strides != column.field.nbytes).any():
            # Members of one compound dataset have the same runs, which begin within one record of each other.
            same = column.starts, column.numbers, column.strides, column.offsets - column.offsets[0]
            key = tuple(array.tobytes() for array in same)
        groups.setdefault(key, {})[number] = column
    for group in groups.values():
        yield from _within_a_record(group) if isinstance(next(iter(group.values())), RawRecords) else [group]


def _within_a_record(group: dict[int, RawRecords]) -> Iterator[dict[int, Any]]:
    """Columns with the same runs, in groups that lie within one record of a dataset each."""
    left = sorted(group.items(), key=lambda pair: int(pair[1].offsets[0]) if len(pair[1].offsets) else 0)
    while left:
        begin = int(left[0][1].offsets[0]) if len(left[0][1].offsets) else 0
        stride = int(left[0][1].strides[0]) if len(left[0][1].strides) else 0
        some = [(number, column) for number, column in left if begin + stride >= _end(column) or column is left[0][1]]
        yield dict(some)
        left = left[len(some) :]


def _end(column: RawRecords) -> int:
    """The byte behind the first record."""
    return int(column.offsets[0]) + column.field.nbytes if len(column.offsets) else 0


def _read_runs(
    group: Mapping[int, RawRecords], files: OpenFiles, values: Mapping[int, NDArray[np.generic]], beat: Callable[[], None]
) -> None:
    """Read raw records in pieces: a call for each record would be slow before kernels are compiled."""
    first = group[min(group)]
    if len(group) == 1 and len(first.offsets) > MANY and (first.strides == first.field.nbytes).all():
        (values_of,) = values.values()
        _read_many(first, files, values_of, beat)
        return
    bytes_of = {number: one.reshape(len(one), -1).view(np.uint8) for number, one in values.items() if one.size}
    if not bytes_of:
        return
    low = min(int(group[number].offsets[0]) for number in bytes_of)
    places = {number: int(group[number].offsets[0]) - low for number in bytes_of}
    # From the first member's first byte to the last one's last: never more than a stride, which is one record of the dataset.
    extent = max(places[number] + table.shape[1] for number, table in bytes_of.items())
    for run, file in enumerate(first.numbers.tolist()):
        stride, start, stop = int(first.strides[run]), int(first.starts[run]), int(first.starts[run + 1])
        offset = int(first.offsets[run]) - int(first.offsets[0]) + low
        step = max(1, PIECE_NBYTES // stride)
        for at in range(start, stop, step):
            beat()
            count = min(step, stop - at)
            piece = np.empty((count, stride), np.uint8)
            _read(files, file, piece.reshape(-1)[: (count - 1) * stride + extent], offset + (at - start) * stride, first.field.name)
            for number, table in bytes_of.items():
                table[at : at + count] = piece[:, places[number] : places[number] + table.shape[1]]
    for number, one in values.items():
        if not group[number].stored.isnative:
            one.byteswap(inplace=True)


def _read_many(column: RawRecords, files: OpenFiles, values: NDArray[np.generic], beat: Callable[[], None]) -> None:
    """Read many short runs."""
    out = values.reshape(-1).view(np.uint8)
    sizes = (np.diff(column.starts) * column.field.nbytes).tolist()
    pieces: list[bytes] = []
    for number, offset, nbytes in zip(column.numbers.tolist(), column.offsets.tolist(), sizes, strict=True):
        pieces.append(os.pread(files.descriptor(number), nbytes, offset))
        if len(pieces[-1]) != nbytes:
            raise short_read(files.fingerprints[number], offset, nbytes)
        if not len(pieces) % 4096:
            beat()
    out[:] = np.frombuffer(b"".join(pieces), np.uint8)
    if not column.stored.isnative:
        values.byteswap(inplace=True)


def _read(files: OpenFiles, number: int, out: NDArray[np.uint8], offset: int, name: str) -> None:
    """Fill `out` from a byte of a file."""
    done = 0
    while done < len(out):
        try:
            got = os.preadv(files.descriptor(number), [out[done:].data], offset + done)
        except OSError as error:
            path = files.fingerprints[number].path
            raise SourceError(
                f"{path}: reading '{name}' at offset {offset + done:,} failed: {error.strerror}.",
                hint="Check the disk and the system log; a copy of the file on another disk may help.",
                path=path,
                dataset=name,
                errno=error.errno,
            ) from error
        if not got:
            raise short_read(files.fingerprints[number], offset + done, len(out) - done)
        done += got


def _read_datasets(
    group: Mapping[int, H5pyColumn], files: OpenFiles, values: Mapping[int, NDArray[np.generic]], beat: Callable[[], None]
) -> None:
    """Read datasets through the HDF5 library, whole chunks at a time, many where they are small."""
    first = group[min(group)]
    members = tuple(dict.fromkeys(one.member[0] for one in group.values() if one.member))
    reader = H5pyReader(first, files, ReadStats())
    try:
        begin = 0
        for part in first.parts:
            step = part.span * max(1, PIECE_NBYTES // math.prod((part.span, first.stride_nbytes)))
            for at in range(0, part.records, step):
                beat()
                stop = min(at + step, part.records)
                taken = reader.stretch(part, at, stop, members)
                for number, column in group.items():
                    one = taken
                    for name in column.member:
                        one = one[name]
                    values[number][begin + at : begin + stop] = plain_values(one).reshape(stop - at, *column.field.shape)
            begin += part.records
    finally:
        reader.close()

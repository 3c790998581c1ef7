"""From facts to columns: raw records where bytes allow it, chunks to decode, and the HDF5 library for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamload.formats.columns.chunk_reader import ChunkedFile
from streamload.formats.columns.chunked import ChunkedColumn
from streamload.formats.columns.raw import RawRecords
from streamload.formats.columns.transposed import TransposedColumn, TransposedFile
from streamload.formats.hdf5 import filters
from streamload.formats.hdf5.columns.h5py_column import H5pyColumn, H5pyDataset
from streamload.formats.hdf5.columns.vlen import VlenColumn
from streamload.formats.hdf5.metadata import CHUNKED, CONTIGUOUS, RUNS, VIRTUAL, ChunkIndex, DatasetInfo, Piece
from streamload.schema import Field
from streamload.sizes import format_nbytes
from streamload.source import Column, Lengths

BLOCK_NBYTES = 4 * 1024**2
"""Blocks that a contiguous file is cut into where other files of the source are chunked."""
SPAN_NBYTES = 1024**2
"""What the HDF5 library reads at a time where there are no chunks."""
MOST_SPAN_NBYTES = 64 * 1024**2
"""What the HDF5 library reads at a time at most, where chunks are boxes in a wide band of records."""

LARGE_CHUNK_NBYTES = 64 * 1024**2
"""Chunks above this show their size: a window must hold several of them."""


def column_of(field: Field, parts: Sequence[Piece], numbers: Mapping[str, int]) -> Column:
    """The fastest way to read one field of all files, whose numbers by path are `numbers`."""
    some = [part for part in parts if part.stored.records]
    if field.ragged:
        return _vlen(field, some or parts, numbers)
    if all(_runs_of(part) is not None for part in some) and len({part.stored.dtype for part in some}) <= 1:
        return _raw_records(field, some or parts)
    if all(part.stored.axis and part.stored.raw and part.stored.packed and part.stored.layout == CONTIGUOUS for part in some):
        return _transposed(field, some)
    if all(_decodable(field, part) for part in some):
        return ChunkedColumn(
            field=field,
            parts=tuple(_chunked(field, part) for part in some),
            label=label([part.stored for part in some]),
        )
    return _foreign(field, some, numbers)


def _runs_of(part: Piece) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """First record and byte offset of each run of raw records in a file; None where records are not raw."""
    stored = part.stored
    if stored.layout == RUNS:
        assert part.index is not None
        counts = part.index.nbytes // stored.stride_nbytes
        some = np.flatnonzero(counts)
        return (np.cumsum(counts) - counts)[some], part.index.offsets[some]
    if not (stored.raw and stored.together) or stored.filters:
        return None
    if stored.layout == CONTIGUOUS:
        if stored.offset is None:
            return None
        return np.zeros(1, np.int64), np.array([stored.offset], np.int64) + stored.member_offset
    index = part.index
    if stored.layout != CHUNKED or index is None or stored.chunk[1:] != stored.shape[1:]:
        return None
    if (index.nbytes != stored.chunk[0] * stored.stride_nbytes).any() or (index.offsets < 0).any():
        return None
    return np.arange(len(index.offsets), dtype=np.int64) * stored.chunk[0], index.offsets + stored.member_offset


def _raw_records(field: Field, parts: Sequence[Piece]) -> RawRecords:
    blocks = any(part.stored.layout in (CHUNKED, RUNS) for part in parts)
    starts: list[NDArray[np.int64]] = []
    offsets: list[NDArray[np.int64]] = []
    numbers: list[NDArray[np.int32]] = []
    strides: list[NDArray[np.int64]] = []
    first = 0
    for part in parts:
        if not part.stored.records:
            continue
        runs = _runs_of(part)
        assert runs is not None
        begin, at = _cut(part.stored, *runs) if blocks and part.stored.layout == CONTIGUOUS else runs
        starts.append(begin + first)
        offsets.append(at)
        numbers.append(np.full(len(at), part.file, np.int32))
        strides.append(np.full(len(at), part.stored.stride_nbytes, np.int64))
        first += part.stored.records
    return RawRecords(
        field=field,
        stored=parts[0].stored.dtype,
        starts=np.concatenate([*starts, np.array([first], np.int64)]),
        numbers=np.concatenate(numbers) if numbers else np.zeros(0, np.int32),
        offsets=np.concatenate(offsets) if offsets else np.zeros(0, np.int64),
        strides=np.concatenate(strides) if strides else np.zeros(0, np.int64),
        blocks=blocks,
        label=label([part.stored for part in parts]),
    )


def _transposed(field: Field, parts: Sequence[Piece]) -> TransposedColumn:
    """Raw datasets along another axis than their first."""
    files: list[TransposedFile] = []
    for part in parts:
        stored, axis = part.stored, part.stored.axis or 0
        after = stored.shape[axis + 1 :]
        files.append(
            TransposedFile(
                number=part.file,
                records=stored.records,
                offset=(stored.offset or 0) + stored.member_offset,
                stored=stored.dtype,
                before=stored.shape[1 : axis + 1],
                after=after,
                stride=math.prod(after) * stored.dtype.itemsize,
            )
        )
    return TransposedColumn(field=field, parts=tuple(files), label=label([part.stored for part in parts]))


def _cut(stored: DatasetInfo, begin: NDArray[np.int64], at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A contiguous run cut into blocks."""
    firsts = np.arange(0, stored.records, max(1, BLOCK_NBYTES // stored.stride_nbytes), dtype=np.int64)
    return begin[0] + firsts, at[0] + firsts * stored.stride_nbytes


def _decodable(field: Field, part: Piece) -> bool:
    """Whether a file's chunks can be decoded here, or its records are raw."""
    if _runs_of(part) is not None:
        return not part.stored.member
    stored, index = part.stored, part.index
    return (
        index is not None
        and not stored.member
        and stored.layout == CHUNKED
        and (bool(stored.fill) or bool((index.offsets >= 0).all()))
        and (stored.shape[1:] == field.shape or math.prod(stored.chunk[1:]) == 1)
    )


def _chunked(field: Field, part: Piece) -> ChunkedFile:
    """The chunks of a file; a contiguous one is seen as chunks without filters, of a number of records that divides it."""
    stored, index = part.stored, part.index
    if index is None:
        most = max(1, BLOCK_NBYTES // stored.stride_nbytes)
        records = next(count for count in range(min(most, stored.records), 0, -1) if stored.records % count == 0)
        begin = np.arange(0, stored.records, records, dtype=np.int64)
        index = ChunkIndex(
            offsets=(stored.offset or 0) + begin * stored.stride_nbytes,
            nbytes=np.full(len(begin), records * stored.stride_nbytes, np.int64),
            masks=np.zeros(len(begin), np.uint32),
        )
        chunk_shape = records, *field.shape
    else:
        chunk_shape = stored.chunk[: 1 + len(field.shape)] if not stored.axis else stored.chunk
    return ChunkedFile(
        number=part.file,
        records=stored.records,
        chunk_shape=chunk_shape,
        offsets=index.offsets,
        nbytes=index.nbytes,
        masks=index.masks,
        filters=filters.pipeline(stored),
        stored=stored.dtype,
        fill=stored.fill,
        axis=stored.axis or 0,
    )


def _foreign(field: Field, parts: Sequence[Piece], numbers: Mapping[str, int]) -> H5pyColumn:
    first = parts[0].stored
    pieces: list[H5pyDataset] = []
    cache_nbytes = 0
    for part in parts:
        stored = part.stored
        if stored.datasets > 1:
            raise RuntimeError(f"'{stored.key}' stands for {stored.datasets:,} datasets, of which the HDF5 library would read one.")
        span = max(1, SPAN_NBYTES // stored.stride_nbytes)
        if stored.chunk:
            span = max(1, min(stored.chunk[0], MOST_SPAN_NBYTES // stored.stride_nbytes))
            if stored.chunk != (span, *stored.shape[1:]):
                itemsize = stored.stride_nbytes if stored.ragged else stored.dtype.itemsize
                cache_nbytes = max(cache_nbytes, math.prod(stored.chunk) * itemsize)
        pieces.append(
            H5pyDataset(
                number=part.file,
                records=stored.records,
                span=span,
                path=stored.path,
                axis=stored.axis,
                sources=tuple(numbers[source] for source in stored.sources),
            )
        )
    return H5pyColumn(
        field=field,
        member=first.member,
        parts=tuple(pieces),
        cache_nbytes=cache_nbytes,
        plugins=any(filters.needs_plugins(part.stored.filters) for part in parts),
        stride_nbytes=max(part.stored.stride_nbytes for part in parts),
        label=f"{label([part.stored for part in parts])}, read through the HDF5 library",
    )


def _vlen(field: Field, parts: Sequence[Piece], numbers: Mapping[str, int]) -> VlenColumn:
    """Records of variable length, in the spans that the survey found."""
    records = np.array([part.stored.records for part in parts], np.float64)
    total = max(1.0, float(records.sum()))
    mean = float((records * [part.stored.mean for part in parts]).sum()) / total
    square = float((records * [part.stored.deviation**2 + part.stored.mean**2 for part in parts]).sum()) / total
    lengths = Lengths(mean=mean, deviation=math.sqrt(max(0.0, square - mean**2)))
    block_elements: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for part in parts:
        stored = part.stored
        counts = np.diff(np.append(np.arange(0, stored.records, stored.span), stored.records)) if stored.records else np.zeros(0, np.int64)
        block_elements.append(np.array(stored.block_elements or [lengths.capacity(int(count)) for count in counts], np.int64))
    foreign = _foreign(field, parts, numbers)
    pieces = [replace(piece, span=part.stored.span) for piece, part in zip(foreign.parts, parts, strict=True)]
    return VlenColumn(rows=replace(foreign, parts=tuple(pieces)), lengths=lengths, block_elements=np.concatenate(block_elements))


def label(stored: Sequence[DatasetInfo]) -> str:
    """How a field is stored in all files, for people."""
    kinds = list(dict.fromkeys(map(_label, stored)))
    text = " or ".join(kinds[:2]) + (f" or {len(kinds) - 2} other ways" if len(kinds) > 2 else "")
    datasets = sum(one.datasets for one in stored)
    if datasets > len(stored) or len({one.place for one in stored}) > 1:
        text += f", in {datasets:,} datasets"
    if stored[0].axis:
        text += f", records along axis {stored[0].axis}"
    if any(one.filters for one in stored):
        held, full = sum(one.stored_nbytes for one in stored), sum(one.stride_nbytes * one.records for one in stored)
        text += f", {format_nbytes(held)} stored of {format_nbytes(full)}"
    place = stored[0].key
    return f"'{place}', {text}"


def _label(stored: DatasetInfo) -> str:
    swapped = "" if stored.dtype.isnative else ", bytes swapped"
    if stored.layout == VIRTUAL:
        return f"virtual ({len(stored.sources)} files){swapped}"
    if not stored.written:
        return "never written, fill values"
    if stored.layout != CHUNKED:
        return ("contiguous" if stored.layout == RUNS else stored.layout) + swapped
    records, box = stored.chunk[0], stored.chunk[1:]
    what = f"chunks of {records:,} record{'s' if records != 1 else ''}"
    if box:
        what += f" {box}" + ("" if box == stored.shape[1:] else f" (a part of each record: {math.prod(stored.grid[1:])} chunks a record)")
    size = math.prod(stored.chunk) * stored.dtype.itemsize
    large = f" ({format_nbytes(size)} each)" if size > LARGE_CHUNK_NBYTES else ""
    return f"{what}{large}, {' + '.join(map(filters.title, stored.filters)) or 'no filter'}{swapped}"

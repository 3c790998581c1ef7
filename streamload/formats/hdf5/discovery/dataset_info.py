"""One dataset, looked at without reading its values: shape, type, layout, filters, and where its chunks lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import h5py
import numpy as np
from h5py import h5d, h5p  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from streamload.errors import ConfigError, UnsafeSourceError, UnsupportedFeatureError, damaged
from streamload.formats.hdf5.discovery import vlen_lengths
from streamload.formats.hdf5.discovery.attributes import attributes_of
from streamload.formats.hdf5.discovery.member_types import Member, element_of, is_raw, members
from streamload.formats.hdf5.discovery.packing import packing_of
from streamload.formats.hdf5.discovery.virtual import virtual_sources
from streamload.formats.hdf5.discovery.vlen_elements import elements_said
from streamload.formats.hdf5.metadata import CHUNKED, COMPACT, CONTIGUOUS, VIRTUAL, ChunkIndex, DatasetInfo, FilterInfo
from streamload.schema import ARRAY
from streamload.source import Lengths

SPAN_NBYTES = 128 * 1024
"""Bytes of variable-length records that the HDF5 library reads at a time ..."""
MOST_SPAN_RECORDS = 1024
"""... and the most records: each becomes an object of its own."""
CHUNKS_A_BEAT = 4096
"""Chunks after which the work on an index is said to go on."""

_LAYOUTS = {h5d.COMPACT: COMPACT, h5d.CONTIGUOUS: CONTIGUOUS, h5d.CHUNKED: CHUNKED, h5d.VIRTUAL: VIRTUAL}


def examine(
    file_path: str, path: str, dataset: h5d.DatasetID, left_out: list[tuple[str, str]], *, single: bool = False
) -> list[DatasetInfo]:
    """What can be known of a dataset; a compound dataset gives one value a member. `single` allows a single value: one record.

    Members that cannot be delivered are added to `left_out`, with what they are.

    Raises UnsafeSourceError where its values lie outside the file, UnsupportedFeatureError for a type without a fixed
    size, and ConfigError for a dataset that cannot hold records.
    """
    plist = dataset.get_create_plist()
    whole = _without_members(file_path, path, dataset, plist, single=single)
    dims = whole.shape
    found: list[DatasetInfo] = []
    odd: list[tuple[str, str]] = []
    parts = list(members(dataset.get_type()))
    # The library tells sizes and places as they are in memory, where a pointer stands for what is of variable length.
    as_stored = not any(one.ragged or one.why for one in parts)
    for one in parts:
        several = one.ragged and math.prod(dims[1:]) != 1
        if one.why or several or (one.ragged and one.names and len(dims) != 1):
            odd.append((".".join((path, *one.names)), one.why or _several(one.ragged, math.prod(dims[1:]))))
            continue
        raw = as_stored and is_raw(element_of(one.kind), one.dtype.base)
        found.append(_member_info(replace(whole, raw=raw), one, file_path, dataset, plist))
    if not found and odd:
        raise _unsupported(odd[0][1], f"{file_path}: dataset '{path}'", file_path, path)
    left_out.extend(odd)
    return found


def _without_members(file_path: str, path: str, dataset: h5d.DatasetID, plist: h5p.PropDCID, *, single: bool) -> DatasetInfo:
    """What holds for a dataset whatever its records are made of; of a record without members, and of no dtype yet. Raises as `examine`."""
    layout = _LAYOUTS.get(plist.get_layout(), "unknown")
    _check_internal(file_path, path, plist)
    sources = virtual_sources(file_path, path, plist, 0) if layout == VIRTUAL else ()
    dims, axis = _extent(dataset, file_path, path, single=single)
    chunk = tuple(map(int, plist.get_chunk())) if layout == CHUNKED else ()
    offset = dataset.get_offset() if layout == CONTIGUOUS else None
    return DatasetInfo(
        path=path,
        member=(),
        shape=dims,
        dtype=np.dtype(np.uint8),
        layout=layout,
        axis=axis,
        raw=False,
        packed=True,
        offset=None if offset is None else int(offset),
        member_offset=0,
        stride_nbytes=dataset.get_type().get_size() * math.prod(dims[1:]),
        stored_nbytes=int(dataset.get_storage_size()),
        listed=is_listed(dataset, chunk),
        chunk=chunk,
        chunks=int(dataset.get_num_chunks()) if chunk else 0,
        filters=tuple(FilterInfo(*_filter(plist.get_filter(number))) for number in range(plist.get_nfilters())),
        fill=b"",
        sources=sources,
    )


def _extent(dataset: h5d.DatasetID, file_path: str, path: str, *, single: bool) -> tuple[tuple[int, ...], int | None]:
    """The shape, and the axis that counts records: None for a single value, which is one record. Raises ConfigError for others."""
    extent = dataset.get_space().get_simple_extent_type()
    if extent == h5py.h5s.SIMPLE:
        return tuple(map(int, dataset.shape)), 0
    if single and extent == h5py.h5s.SCALAR:
        return (1,), None
    raise ConfigError(
        f"{file_path}: dataset '{path}' holds a single value (or none), not one a record.",
        hint="Choose a dataset whose first axis counts records; record_axis=None takes each dataset for one.",
        path=file_path,
        dataset=path,
    )


def _member_info(whole: DatasetInfo, one: Member, file_path: str, dataset: h5d.DatasetID, plist: h5p.PropDCID) -> DatasetInfo:
    """What is known of a member of a dataset, or of the only value of its records; `whole` says what holds for all members."""
    dims, chunk = whole.shape, whole.chunk
    own = elements_said(dataset, one) if one.ragged else None
    shape = (dims[0], *own.shape) if own is not None else (*dims, *(one.dtype.subdtype or (None, ()))[1])
    info = replace(
        whole,
        member=one.names,
        shape=shape,
        dtype=one.dtype.base if own is None else own.dtype,
        packed=not one.names or len(dims) == 1,
        member_offset=one.at,
        chunk=() if not chunk else chunk[:1] if one.ragged else (*chunk, *shape[len(dims) :]),
        fill=b"" if one.names or one.dtype.subdtype or one.ragged else _fill(plist, one.dtype),
        packing=None if one.ragged not in ("", ARRAY) else packing_of(dataset, one.dtype.base, is_member=bool(one.names)),
        attributes="" if one.names else attributes_of(dataset),
    )
    return info if own is None else _measured(info, own.ragged, file_path, dataset)


def _several(ragged: str, count: int) -> str:
    return f"{count:,} values of variable length ({ragged}) a record"


def _unsupported(what: str, where: str, file_path: str, path: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(
        f"{where} holds {what}, which cannot be delivered as arrays of one shape.",
        hint="Choose other fields with fields=[...], or convert it to a type of fixed size.",
        path=file_path,
        dataset=path,
    )


def _check_internal(file_path: str, path: str, plist: h5p.PropDCID) -> None:
    """Raise UnsafeSourceError where a dataset's values lie in other files."""
    count = plist.get_external_count()
    if count:
        names = ", ".join(plist.get_external(number)[0].decode(errors="replace") for number in range(min(3, count)))
        raise UnsafeSourceError(
            f"{file_path}: dataset '{path}' keeps its values in other files ({names}): external storage is not read.",
            hint="Copy it into one file: `h5repack`, or h5py where you trust it; or choose other fields with fields=[...].",
            path=file_path,
            dataset=path,
        )


def _measured(stored: DatasetInfo, ragged: str, file_path: str, dataset: h5d.DatasetID) -> DatasetInfo:
    """A dataset of variable-length records: how long they are, and in which spans they will be read."""
    records, counted, size = stored.records, None, math.prod(stored.shape[1:])
    if records and stored.axis is not None and not stored.sources and not stored.member:
        counted = vlen_lengths.lengths_of(file_path, stored.path, dataset, stored.dtype.itemsize)
    found = counted if counted is not None else vlen_lengths.some_lengths(dataset, stored.member) if records else np.zeros(0, np.int64)
    some, counted = Lengths.of(found // size), None if counted is None else counted // size
    span = max(1, min(max(1, records), MOST_SPAN_RECORDS, int(SPAN_NBYTES // max(1.0, some.mean * stored.dtype.itemsize * size))))
    block_elements = np.add.reduceat(counted, np.arange(0, records, span)).tolist() if counted is not None else []
    return replace(
        stored,
        raw=False,
        listed=True,
        ragged=ragged,
        mean=some.mean,
        deviation=some.deviation,
        span=span,
        block_elements=tuple(block_elements),
    )


def is_listed(dataset: h5d.DatasetID, chunk: tuple[int, ...]) -> bool:
    """Whether iterating over the chunks tells where they lie.

    Where one axis alone is endless, and not the first, an index of HDF5 1.10 or newer keeps that axis first, and the library
    (2.0 still) forgets to turn it back when it lists chunks: their bytes are some, their places others.
    """
    endless = [axis for axis, most in enumerate(dataset.get_space().get_simple_extent_dims(1)) if most == h5py.h5s.UNLIMITED]
    if not chunk or len(endless) != 1:
        return True
    return all(length <= size for length, size in zip(dataset.shape[: endless[0]], chunk, strict=False))


def chunk_index(
    stored: DatasetInfo, dataset: h5d.DatasetID, file_path: str, file_nbytes: int, beat: Callable[[int, int], None]
) -> ChunkIndex:
    """Where every chunk lies; checked to lie within the file. `beat` is told how many are done, and of how many."""
    count = int(np.prod(stored.grid, dtype=np.int64))
    places = np.empty((stored.chunks, 1 + 3), np.int64)
    strides = np.cumprod([1, *stored.grid[:0:-1]])[::-1].tolist()
    sizes = stored.chunk
    axes = range(len(dataset.shape))
    number = 0

    def note(chunk: h5d.StoreInfo) -> None:
        nonlocal number
        corner = chunk.chunk_offset
        place = sum(corner[axis] // sizes[axis] * strides[axis] for axis in axes)
        if any(corner[axis] % sizes[axis] for axis in axes):
            place = -1
        places[number] = place, chunk.byte_offset, chunk.size, chunk.filter_mask
        number += 1
        if not number % CHUNKS_A_BEAT:
            beat(number, stored.chunks)

    dataset.chunk_iter(note)
    places = places[:number]
    inside = (places[:, 0] >= 0) & (places[:, 0] < count)
    bad = ~inside | (places[:, 1] < 0) | (places[:, 2] <= 0) | (places[:, 1] > file_nbytes - places[:, 2])
    if bad.any():
        offset, size = places[int(np.argmax(bad)), 1:3].tolist()
        raise damaged(
            f"{file_path}: dataset '{stored.path}' has a chunk of {size:,} bytes at offset {offset:,}, "
            f"and the file has {file_nbytes:,} bytes.",
            path=file_path,
            dataset=stored.path,
        )
    _refuse_disorder(stored, file_path, places[:, 0])
    index = ChunkIndex(offsets=np.full(count, -1, np.int64), nbytes=np.zeros(count, np.int64), masks=np.zeros(count, np.uint32))
    index.offsets[places[:, 0]] = places[:, 1]
    index.nbytes[places[:, 0]] = places[:, 2]
    index.masks[places[:, 0]] = places[:, 3]
    return index


def _refuse_disorder(stored: DatasetInfo, file_path: str, places: NDArray[np.int64]) -> None:
    """Raise unless chunks are listed in the order of the grid, as every honest index lists them.

    In a damaged index the library would look for a chunk where it is not, and deliver fill values.
    """
    disorder = np.diff(places) <= 0
    if not disorder.any():
        return
    which = int(np.argmax(disorder)) + 1
    raise damaged(
        f"{file_path}: the index of chunks of dataset '{stored.path}' is in disorder at the chunk that it lists as number {which:,}.",
        path=file_path,
        dataset=stored.path,
    )


def _filter(entry: tuple[int, int, tuple[int, ...], bytes]) -> tuple[int, tuple[int, ...], str]:
    number, _, values, name = entry
    return int(number), tuple(int(value) for value in values), name.decode(errors="replace")


def _fill(plist: h5py.h5p.PropDCID, dtype: np.dtype) -> bytes:
    value = np.zeros((), h5py.opaque_dtype(dtype) if dtype.kind in "Mm" else dtype)
    if plist.fill_value_defined() != h5d.FILL_VALUE_UNDEFINED:
        plist.get_fill_value(value)
    return value.tobytes()

"""One dataset, looked at without reading its values: shape, type, layout, filters, and where its chunks lie."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator

import h5py
import numpy as np
from h5py import h5d, h5p, h5t  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SourceError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.hdf5 import vlen_lengths
from streamload.formats.hdf5.links import MissingPathError, Tree
from streamload.formats.hdf5.metadata import CHUNKED, COMPACT, CONTIGUOUS, VIRTUAL, ChunkIndex, DatasetInfo, FilterInfo
from streamload.formats.hdf5.open_file import guarded
from streamload.schema import ARRAY, BYTES, TEXT
from streamload.source import Lengths

SPAN_NBYTES = 128 * 1024
"""Bytes of variable-length records that the HDF5 library reads at a time ..."""
MOST_SPAN_RECORDS = 1024
"""... and the most records: each becomes an object of its own."""
CHUNKS_A_BEAT = 4096
"""Chunks after which the work on an index is said to go on."""
MOST_VIRTUAL_LEVELS = 8
"""Virtual datasets that draw on virtual datasets."""

_BITFIELDS = tuple(getattr(h5t, f"STD_B{bits}{order}") for bits in (8, 16, 32, 64) for order in ("LE", "BE"))
_LAYOUTS = {h5d.COMPACT: COMPACT, h5d.CONTIGUOUS: CONTIGUOUS, h5d.CHUNKED: CHUNKED, h5d.VIRTUAL: VIRTUAL}


def examine(file_path: str, path: str, dataset: h5d.DatasetID, *, single: bool = False) -> list[DatasetInfo]:
    """What can be known of a dataset; a compound dataset gives one value a member. `single` allows a single value: one record.

    Raises UnsafeSourceError where its values lie outside the file, UnsupportedFeatureError for a type without a fixed
    size, and ConfigError for a dataset that cannot hold records.
    """
    plist = dataset.get_create_plist()
    layout = _LAYOUTS.get(plist.get_layout(), "unknown")
    where = f"{file_path}: dataset '{path}'"
    _check_internal(file_path, path, plist)
    sources = _virtual_sources(file_path, path, plist, 0) if layout == VIRTUAL else ()
    extent = dataset.get_space().get_simple_extent_type()
    if extent != h5py.h5s.SIMPLE and not (single and extent == h5py.h5s.SCALAR):
        raise ConfigError(
            f"{where} holds a single value (or none), not one a record.",
            hint="Choose a dataset whose first axis counts records; record_axis=None takes each dataset for one.",
            path=file_path,
            dataset=path,
        )
    kind = dataset.get_type()
    filters = tuple(FilterInfo(*_filter(plist.get_filter(number))) for number in range(plist.get_nfilters()))
    chunk = tuple(map(int, plist.get_chunk())) if layout == CHUNKED else ()
    offset = dataset.get_offset() if layout == CONTIGUOUS else None
    dims, axis = (tuple(map(int, dataset.shape)), 0) if extent == h5py.h5s.SIMPLE else ((1,), None)
    variable = _variable(kind)
    if variable is not None and len(dims) == 1:
        return [_ragged(file_path, path, dataset, layout, filters, chunk, offset, sources, axis, *variable)]
    found: list[DatasetInfo] = []
    for member, member_kind, dtype, at in _members(kind, where, file_path, path):
        base, inner = dtype.subdtype or (dtype, ())
        shape = (*dims, *inner)
        if 0 in shape[1:]:
            raise ConfigError(
                f"{where} has records of shape {shape[1:]}, which hold nothing.",
                hint="Choose other fields with fields=[...].",
                path=file_path,
                dataset=path,
            )
        raw = _is_raw(member_kind.get_super() if dtype.subdtype else member_kind, base)
        found.append(
            DatasetInfo(
                path=path,
                member=member,
                shape=shape,
                dtype=base,
                layout=layout,
                axis=axis,
                raw=raw,
                packed=not member or len(dims) == 1,
                offset=None if offset is None else int(offset),
                member_offset=at,
                stride_nbytes=kind.get_size() * math.prod(dims[1:]),
                stored_nbytes=int(dataset.get_storage_size()),
                listed=is_listed(dataset, chunk),
                chunk=(*chunk, *inner) if chunk else (),
                chunks=int(dataset.get_num_chunks()) if chunk else 0,
                filters=filters,
                fill=b"" if member or inner else _fill(plist, base),
                sources=sources,
            )
        )
    return found


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


def _variable(kind: h5t.TypeID) -> tuple[str, np.dtype] | None:
    """How records of a variable-length type are ragged, and the dtype of an element; None for every other type."""
    try:
        dtype = kind.dtype
    except (TypeError, ValueError, RuntimeError):
        return None
    said = h5t.check_string_dtype(dtype)
    if said is not None:
        return (TEXT, np.dtype(np.uint8)) if said.length is None else None
    base = h5t.check_vlen_dtype(dtype)
    if not isinstance(base, np.dtype) or base.kind not in "biufc" or base.subdtype is not None:
        return None
    return (BYTES if base == np.uint8 else ARRAY), np.dtype(base.str)


def _ragged(
    file_path: str,
    path: str,
    dataset: h5d.DatasetID,
    layout: str,
    filters: tuple[FilterInfo, ...],
    chunk: tuple[int, ...],
    offset: int | None,
    sources: tuple[str, ...],
    axis: int | None,
    ragged: str,
    dtype: np.dtype,
) -> DatasetInfo:
    """A dataset of variable-length records: how long they are, and in which spans they will be read."""
    records = int(dataset.shape[0]) if axis is not None else 1
    counted = vlen_lengths.lengths_of(file_path, path, dataset, dtype.itemsize) if records and axis is not None and not sources else None
    some = Lengths.of(counted if counted is not None else vlen_lengths.some_lengths(dataset) if records else np.zeros(0, np.int64))
    span = max(1, min(max(1, records), MOST_SPAN_RECORDS, int(SPAN_NBYTES // max(1.0, some.mean * dtype.itemsize))))
    weights = np.add.reduceat(counted, np.arange(0, records, span)).tolist() if counted is not None else []
    return DatasetInfo(
        path=path,
        member=(),
        shape=(records,),
        dtype=dtype,
        layout=layout,
        axis=axis,
        raw=False,
        packed=True,
        offset=None if offset is None else int(offset),
        member_offset=0,
        stride_nbytes=int(dataset.get_type().get_size()),
        stored_nbytes=int(dataset.get_storage_size()),
        listed=True,
        chunk=chunk,
        chunks=int(dataset.get_num_chunks()) if chunk else 0,
        filters=filters,
        fill=b"",
        sources=sources,
        ragged=ragged,
        mean=some.mean,
        deviation=some.deviation,
        span=span,
        weights=tuple(weights),
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
        raise CorruptDataError(
            f"{file_path}: dataset '{stored.path}' has a chunk of {size:,} bytes at offset {offset:,}, "
            f"and the file has {file_nbytes:,} bytes.",
            hint="The file is damaged or was cut short; fetch or write it again.",
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
    raise CorruptDataError(
        f"{file_path}: the index of chunks of dataset '{stored.path}' is in disorder at the chunk that it lists as number {which:,}.",
        hint="The file is damaged: fetch or write it again.",
        path=file_path,
        dataset=stored.path,
    )


def _filter(entry: tuple[int, int, tuple[int, ...], bytes]) -> tuple[int, tuple[int, ...], str]:
    number, _, values, name = entry
    return int(number), tuple(int(value) for value in values), name.decode(errors="replace")


def _members(kind: h5t.TypeID, where: str, file_path: str, path: str) -> Iterator[tuple[tuple[str, ...], h5t.TypeID, np.dtype, int]]:
    """The type itself, or the members of a compound type, nested ones included: (names, type, dtype, byte offset)."""
    try:
        dtype = kind.dtype
    except (TypeError, ValueError, RuntimeError) as error:
        raise _unsupported(f"a type that NumPy has no name for ({error})", where, file_path, path) from error
    bits = kind.get_super() if isinstance(kind, h5t.TypeArrayID) else kind
    if isinstance(bits, h5t.TypeBitfieldID) and not any(bits == full for full in _BITFIELDS):
        raise _unsupported(f"bitfields that do not use all bits of their {bits.get_size()} bytes", where, file_path, path)
    if isinstance(kind, h5t.TypeCompoundID) and dtype.names is not None:
        for number in range(kind.get_nmembers()):
            name = kind.get_member_name(number).decode(errors="replace")
            inner, at = kind.get_member_type(number), kind.get_member_offset(number)
            for names, one, as_numpy, more in _members(inner, where, file_path, path):
                yield (name, *names), one, as_numpy, at + more
        return
    base = dtype.subdtype[0] if dtype.subdtype else dtype
    if base.kind not in "biufcS" or base.itemsize == 0 or h5t.check_opaque_dtype(base):
        raise _unsupported(_type_name(kind, base), where, file_path, path)
    plain = np.dtype(base.str)
    yield (), kind, np.dtype((plain, dtype.subdtype[1])) if dtype.subdtype else plain, 0


def _type_name(kind: h5t.TypeID, dtype: np.dtype) -> str:
    if h5t.check_string_dtype(dtype):
        return "variable-length strings"
    if isinstance(kind, h5t.TypeVlenID):
        return f"variable-length arrays of {h5t.check_vlen_dtype(dtype)}"
    if h5t.check_ref_dtype(dtype):
        return "references to other objects"
    if isinstance(kind, h5t.TypeOpaqueID):
        return f"opaque values of {kind.get_size()} bytes"
    return f"dtype {dtype}"


def _unsupported(what: str, where: str, file_path: str, path: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(
        f"{where} holds {what}, which cannot be delivered as arrays of one shape.",
        hint="Choose other fields with fields=[...], or convert it to a type of fixed size.",
        path=file_path,
        dataset=path,
    )


def _is_raw(kind: h5t.TypeID, dtype: np.dtype) -> bool:
    """Whether elements of the type lie in the file exactly as NumPy has them in memory."""
    if isinstance(kind, h5t.TypeEnumID):
        kind, dtype = kind.get_super(), np.dtype("i1") if dtype.kind == "b" else dtype
    if isinstance(kind, h5t.TypeStringID):
        return kind.get_strpad() == h5t.STR_NULLPAD and kind.get_size() == dtype.itemsize
    if isinstance(kind, h5t.TypeCompoundID):
        part = np.dtype(f"{dtype.byteorder if dtype.byteorder != '|' else '='}f{dtype.itemsize // 2}")
        return (
            dtype.kind == "c"
            and kind.get_size() == dtype.itemsize
            and [kind.get_member_offset(number) for number in (0, 1)] == [0, part.itemsize]
            and all(h5t.py_create(part) == kind.get_member_type(number) for number in (0, 1))
        )
    return kind.get_size() == dtype.itemsize and bool(h5t.py_create(dtype) == kind)


def _fill(plist: h5py.h5p.PropDCID, dtype: np.dtype) -> bytes:
    value = np.zeros((), dtype)
    if plist.fill_value_defined() != h5d.FILL_VALUE_UNDEFINED:
        plist.get_fill_value(value)
    return value.tobytes()


def _virtual_sources(file_path: str, path: str, plist: h5py.h5p.PropDCID, level: int) -> tuple[str, ...]:
    """The files that a virtual dataset draws on; each must exist, lie within the file's folder, and hold what is asked of it."""
    folder = os.path.realpath(os.path.dirname(file_path) or ".")
    found: dict[str, None] = {}
    if level > MOST_VIRTUAL_LEVELS:
        raise SourceError(
            f"{file_path}: '{path}' is virtual on more than {MOST_VIRTUAL_LEVELS} levels.",
            hint="Open the files that hold the values.",
            path=file_path,
            dataset=path,
        )
    asked: dict[tuple[str, str], None] = {
        (plist.get_virtual_filename(number), plist.get_virtual_dsetname(number)): None for number in range(plist.get_virtual_count())
    }
    for name, target in asked:
        if "%" in name.replace("%%", ""):
            raise UnsupportedFeatureError(
                f"{file_path}: virtual dataset '{path}' names its files by a pattern ({name}).",
                hint="Open those files as a list instead.",
                path=file_path,
                dataset=path,
            )
        real = os.path.realpath(file_path if name == "." else os.path.join(folder, name.replace("%%", "%")))
        if os.path.commonpath([real, folder]) != folder:
            raise UnsafeSourceError(
                f"{file_path}: virtual dataset '{path}' draws on {name}, which is outside the file's folder.",
                hint="Copy the values into the file, or open those files themselves.",
                path=file_path,
                dataset=path,
            )
        if not os.path.isfile(real):
            raise SourceError(
                f"{file_path}: virtual dataset '{path}' draws on {name}, which does not exist; "
                "HDF5 would deliver fill values in its place.",
                hint="Put the file back beside it.",
                path=file_path,
                dataset=path,
            )
        found.update(dict.fromkeys(_sources_within(real, target, file_path, path, level)))
    return tuple(found)


def _sources_within(real: str, target: str, file_path: str, path: str, level: int) -> list[str]:
    with guarded(real), Tree(real) as other:
        try:
            place = other.locate(target)
        except MissingPathError:
            place = None
        if place is None or not isinstance(place.node, h5d.DatasetID):
            raise SourceError(
                f"{file_path}: virtual dataset '{path}' draws on '{target}' of {real}, where no dataset of that name is.",
                hint="Write the virtual dataset again.",
                path=file_path,
                dataset=path,
            )
        plist, beyond = place.node.get_create_plist(), [place.file] if place.file != real else []
        if plist.get_external_count():
            raise UnsafeSourceError(
                f"{file_path}: virtual dataset '{path}' draws on '{target}' of {real}, which keeps its values in yet other files.",
                hint="Copy the values into the file.",
                path=file_path,
                dataset=path,
            )
        below = _virtual_sources(place.file, target, plist, level + 1) if plist.get_layout() == h5d.VIRTUAL else ()
    return [real, *beyond, *below]

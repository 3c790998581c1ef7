"""A survey as bytes and back: plain JSON and arrays of numbers, checked as they are read, because another process wrote them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, UnsupportedFeatureError, from_plain, to_plain
from streamload.formats.attributes import attributes_from_json
from streamload.formats.derived.packing import Packing
from streamload.formats.hdf5.metadata import CONTIGUOUS, RUNS, ChunkIndex, Columns, DatasetInfo, FilesInfo, FilterInfo, Piece
from streamload.images.headers import ImageHeader
from streamload.images.image_error import ImageError
from streamload.images.image_fields import LOOKED_AT, LookedAt
from streamload.schema import ARRAY, BYTES, TEXT
from streamload.storage import disk_cache
from streamload.storage.files import Fingerprint

MAGIC = b"SLSURV15"
"""Changes whenever the meaning of what follows does: what an older version kept is then no longer read."""
_COUNTS = ("datasets", "member_offset", "stride_nbytes", "stored_nbytes", "chunks")
_PLAIN = ("path", "alias", "layout", "raw", "packed", "listed", "offset", "axis", "attributes", *_COUNTS)
_NUMBERS: tuple[tuple[str, str], ...] = (("offsets", "<i8"), ("nbytes", "<i8"), ("masks", "<u4"))


def metadata_to_json(found: FilesInfo, more: Mapping[str, Any]) -> list[bytes | memoryview]:
    """The survey in pieces, to be written one after the other, with a checksum; `more` is anything that JSON can hold."""
    matrices = [columns.pieces for _, columns in sorted(found.sparse.items())]
    indexes = [piece.index for pieces in (*found.fields, *matrices) for piece in pieces if piece.index is not None]
    arrays: list[NDArray[Any]] = []
    for name, dtype in _NUMBERS:
        arrays.append(np.concatenate([np.empty(0, dtype), *(getattr(index, name) for index in indexes)]).astype(dtype, copy=False))
    numbers = sorted(found.values)
    arrays += [np.ascontiguousarray(found.values[number]) for number in numbers]
    arrays += [np.ascontiguousarray(found.starts[number], "<i8") for number in sorted(found.starts)]
    said = {
        "names": found.names,
        "asked": found.asked,
        "notes": found.notes,
        "files": [[was.path, was.device, was.inode, was.nbytes, was.mtime_ns] for was in found.files],
        "records": found.records,
        "fields": [[_piece_to_plain(piece) for piece in pieces] for pieces in found.fields],
        "values": [[number, found.values[number].dtype.str, found.values[number].shape] for number in numbers],
        "starts": [[number, found.ragged[number]] for number in sorted(found.starts)],
        "classes": dict(found.classes),
        "sparse": [[number, columns.count, list(map(_piece_to_plain, columns.pieces))] for number, columns in sorted(found.sparse.items())],
        "looked_at": [[number, _looked_at_to_plain(seen)] for number, seen in sorted(found.looked_at.items())],
        "more": dict(more),
    }
    return disk_cache.pack(MAGIC, said, arrays)


def metadata_from_json(data: NDArray[np.uint8]) -> tuple[FilesInfo, dict[str, Any]]:
    """The survey that `write_plain` wrote, and what came with it.

    Raises CorruptDataError for anything else. Whatever the bytes say, nothing but numbers and text comes of them.
    """
    try:
        return _read(data)
    except disk_cache.DAMAGED as error:
        raise CorruptDataError(f"what was kept of a survey cannot be read: {error}.", hint="It is made anew.") from error


def _read(data: NDArray[np.uint8]) -> tuple[FilesInfo, dict[str, Any]]:
    said, arrays = disk_cache.unpack(MAGIC, data)
    columns = {name: array.view(dtype) for (name, dtype), array in zip(_NUMBERS, arrays[: len(_NUMBERS)], strict=True)}
    values: dict[int, NDArray[Any]] = {}
    rest = arrays[len(_NUMBERS) :]
    for (number, dtype, shape), array in zip(said["values"], rest[: len(said["values"])], strict=True):
        values[int(number)] = array.view(_dtype(dtype)).reshape(tuple(map(int, shape)))
    grouped = zip(said["starts"], rest[len(said["values"]) :], strict=True)
    starts = {int(number): (str(ragged), array.view("<i8")) for (number, ragged), array in grouped}
    taken = 0
    fields: list[tuple[Piece, ...]] = []
    for described in (*said["fields"], *(pieces for _, _, pieces in said["sparse"])):
        pieces: list[Piece] = []
        for file, stored, count in described:
            index = None
            if count is not None:
                index = ChunkIndex(**{name: column[taken : taken + count] for name, column in columns.items()})
                if count < 0 or len(index.masks) != count or len(index.offsets) != count:
                    raise ValueError("an index of chunks is missing")
                taken += count
            pieces.append(Piece(file=int(file), stored=_stored(stored), index=index))
        fields.append(tuple(pieces))
    found = FilesInfo(
        names=tuple(map(str, said["names"])),
        asked=tuple(map(str, said["asked"])),
        files=tuple(map(_fingerprint, said["files"])),
        records=tuple(map(int, said["records"])),
        fields=tuple(fields[: len(said["fields"])]),
        notes=tuple(map(str, said["notes"])),
        values=values,
        starts={number: array for number, (_, array) in starts.items()},
        ragged={number: ragged for number, (ragged, _) in starts.items()},
        sparse={
            int(number): Columns(count=int(count), pieces=pieces)
            for (number, count, _), pieces in zip(said["sparse"], fields[len(said["fields"]) :], strict=True)
        },
        classes={str(name): tuple(map(str, words)) for name, words in said["classes"].items()},
        looked_at={int(number): _looked_at(seen) for number, seen in said["looked_at"]},
    )
    _refuse_nonsense(found)
    return found, dict(said["more"])


def _refuse_nonsense(found: FilesInfo) -> None:
    """Raise ValueError where lengths that the rest of planning relies on do not fit each other, or a path leads out."""
    if not len(found.fields) == len(found.names) == len(found.asked) or not found.fields:
        raise ValueError("a field is missing")
    if not 0 < len(found.records) <= len(found.files) or min(found.records) < 0:
        raise ValueError("records of files are impossible")
    folders = {os.path.dirname(was.path) for was in found.files[: len(found.records)]}
    if any(not _within(was.path, folders) for was in found.files[len(found.records) :]):
        raise ValueError("a file draws on what lies outside its folder")
    known = {was.path for was in found.files}
    for number, pieces in enumerate(found.fields):
        columns = found.sparse.get(number)
        if not _fits(found, number) or (columns is not None and not _columns_fit(columns, pieces)):
            raise ValueError("fields differ in length")
        for piece in (*pieces, *(columns.pieces if columns is not None else ())):
            if not 0 <= piece.file < len(found.files) or not set(piece.stored.sources) <= known:
                raise ValueError("a file is missing")
            _refuse_nonsense_in(piece, found.files[piece.file].nbytes)


def _fits(found: FilesInfo, number: int) -> bool:
    """Whether a field has as many records as the files."""
    pieces, starts = found.fields[number], found.starts.get(number)
    records = sum(piece.stored.records for piece in pieces)
    if not pieces:
        values, words = found.values.get(number), found.classes.get(found.names[number], ())
        known = values is not None and values.dtype == np.int64 and values.shape == (found.total,)
        return known and (not found.total or 0 <= int(values.min()) <= int(values.max()) < len(words))  # pyright: ignore
    if starts is None:
        return records == found.total
    sound = found.ragged.get(number) in (ARRAY, BYTES) and starts.shape == (found.total + 1,)
    return sound and int(starts[0]) == 0 and int(starts[-1]) == records and not bool((np.diff(starts) < 0).any())


def _columns_fit(columns: Columns, values: tuple[Piece, ...]) -> bool:
    """Whether there is a whole number for each value."""
    whole = bool(columns.pieces) and all(piece.stored.dtype.kind in "iu" and not piece.stored.ragged for piece in columns.pieces)
    counts = [sum(piece.stored.records for piece in pieces) for pieces in (columns.pieces, values)]
    return whole and counts[0] == counts[1] and columns.count > 0


def _refuse_nonsense_in(piece: Piece, file_nbytes: int) -> None:
    stored, index = piece.stored, piece.index
    if min(stored.shape, default=0) < 0 or min(stored.chunk, default=1) <= 0 or stored.dtype.itemsize == 0:
        raise ValueError("a shape is impossible")
    stop = (stored.offset or 0) + stored.records * stored.stride_nbytes
    if stored.layout == CONTIGUOUS and stored.offset is not None and not 0 <= stored.offset <= stop <= file_nbytes:
        raise ValueError("records lie behind the end of their file")
    if stored.axis is not None and not 0 <= stored.axis < max(1, len(stored.shape)):
        raise ValueError("an axis is impossible")
    if stored.layout == RUNS:
        _refuse_runs(stored, index)
    elif index is not None and len(index.offsets) != int(np.prod(stored.grid, dtype=np.float64)):
        raise ValueError("an index of chunks has another length than its grid")
    if index is not None and len(index.offsets) and int((index.offsets + index.nbytes).max()) > file_nbytes:
        raise ValueError("a chunk lies behind the end of its file")
    spans = -(-stored.records // max(1, stored.span))
    miscounted = len(stored.block_elements) not in (0, spans) or min(stored.block_elements, default=0) < 0
    if stored.ragged and (not stored.span or miscounted):
        raise ValueError("spans of records have other lengths than they should")


def _refuse_runs(stored: DatasetInfo, index: ChunkIndex | None) -> None:
    if index is None or len(index.offsets) != stored.datasets or min(index.offsets.min(initial=0), index.nbytes.min(initial=0)) < 0:
        raise ValueError("places of datasets are missing")
    if stored.stride_nbytes <= 0 or (index.nbytes % stored.stride_nbytes).any():
        raise ValueError("a dataset is no whole number of records")
    if int(index.nbytes.sum()) != stored.records * stored.stride_nbytes:
        raise ValueError("datasets have other lengths than their field")


def _within(path: str, folders: set[str]) -> bool:
    """Whether a file lies in one of the folders, or below it."""
    while path != (path := os.path.dirname(path)):
        if path in folders:
            return True
    return False


def _piece_to_plain(piece: Piece) -> list[Any]:
    return [piece.file, _stored_to_plain(piece.stored), None if piece.index is None else len(piece.index.offsets)]


def _looked_at_to_plain(seen: LookedAt) -> dict[str, Any]:
    return {
        "heads": [astuple(head) for head in seen.heads],
        "refusals": [[refusal.why, refusal.hint, refusal.kind.__name__] for refusal in seen.refusals],
        "error": None if seen.error is None else to_plain(seen.error),
    }


def _looked_at(said: dict[str, Any]) -> LookedAt:
    heads = [
        ImageHeader(
            format=str(name),
            height=int(tall),
            width=int(wide),
            colours=str(colours),
            alpha=bool(alpha),
            bits=int(bits),
            orientation=int(turn),
        )
        for name, tall, wide, colours, alpha, bits, turn in said["heads"]
    ]
    kinds = {kind.__name__: kind for kind in (CorruptDataError, UnsupportedFeatureError)}
    refusals = [ImageError(str(why), hint=str(hint), kind=kinds[kind]) for why, hint, kind in said["refusals"]]
    error = None if said["error"] is None else from_plain(said["error"])
    if len(heads) + len(refusals) > LOOKED_AT or any(not 0 < side < 2**63 for head in heads for side in head.size):
        raise ValueError("images are impossible")
    return LookedAt(heads=tuple(heads), refusals=tuple(refusals), error=error)


def _fingerprint(said: list[Any]) -> Fingerprint:
    path, *numbers = said
    device, inode, nbytes, mtime_ns = map(int, numbers)
    return Fingerprint(str(path), device, inode, nbytes, mtime_ns)


def _stored_to_plain(stored: DatasetInfo) -> dict[str, Any]:
    return {
        **{name: getattr(stored, name) for name in _PLAIN},
        "member": stored.member,
        "shape": stored.shape,
        "dtype": stored.dtype.str,
        "chunk": stored.chunk,
        "filters": [[step.number, step.values, step.name] for step in stored.filters],
        "fill": stored.fill.hex(),
        "sources": stored.sources,
        "packing": None if stored.packing is None else astuple(stored.packing),
        "ragged": [stored.ragged, stored.mean, stored.deviation, stored.span, stored.block_elements],
    }


def _stored(said: dict[str, Any]) -> DatasetInfo:
    ragged, mean, deviation, span, block_elements = said["ragged"]
    if ragged not in ("", ARRAY, BYTES, TEXT) or not 0 <= mean < 2**62 or not 0 <= deviation < 2**62 or not 0 <= span < 2**62:
        raise ValueError("lengths of records are impossible")
    return DatasetInfo(
        **{name: int(said[name]) for name in _COUNTS},
        path=str(said["path"]),
        alias=str(said["alias"]),
        layout=str(said["layout"]),
        attributes=_attributes(said["attributes"]),
        raw=bool(said["raw"]),
        packed=bool(said["packed"]),
        listed=bool(said["listed"]),
        offset=None if said["offset"] is None else int(said["offset"]),
        axis=None if said["axis"] is None else int(said["axis"]),
        member=tuple(map(str, said["member"])),
        shape=tuple(map(int, said["shape"])),
        dtype=_dtype(said["dtype"]),
        chunk=tuple(map(int, said["chunk"])),
        filters=tuple(FilterInfo(int(number), tuple(map(int, values)), str(name)) for number, values, name in said["filters"]),
        fill=bytes.fromhex(said["fill"]),
        sources=tuple(map(str, said["sources"])),
        packing=None if said["packing"] is None else _packing(*said["packing"]),
        ragged=str(ragged),
        mean=float(mean),
        deviation=float(deviation),
        span=int(span),
        block_elements=tuple(map(int, block_elements)),
    )


def _attributes(said: Any) -> str:
    if said:
        attributes_from_json(str(said))
    return str(said)


def _packing(scale: Any, offset: Any, missing: Any, dtype: Any, sign: Any, unclear: Any) -> Packing:
    if dtype not in ("f4", "f8"):
        raise ValueError("values are unpacked into no floats")
    if sign not in ("", "u", "i"):
        raise ValueError("values are meant with no sign that is known")
    absent = tuple(one if type(one) is int else float(one) for one in missing)
    return Packing(scale=float(scale), offset=float(offset), missing=absent, dtype=dtype, sign=sign, unclear=str(unclear))


def _dtype(said: str) -> np.dtype:
    """A type of plain numbers, of moments, or of text of a fixed length."""
    dtype = np.dtype(str(said))
    if dtype.kind not in "biufcSMm":
        raise ValueError(f"{dtype} is no type of a field")
    return dtype

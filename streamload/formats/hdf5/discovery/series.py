"""The datasets of one field in one file, one after the other, put together into as few pieces as they allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from h5py import h5a, h5d, h5p, h5t  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.formats.hdf5 import filters
from streamload.formats.hdf5.discovery import dataset_info, field_selection, views
from streamload.formats.hdf5.discovery.links import LocatedNode
from streamload.formats.hdf5.discovery.possible import refuse_impossible, unwritten
from streamload.formats.hdf5.discovery.source_files import SourceFiles
from streamload.formats.hdf5.metadata import CHUNKED, CONTIGUOUS, RUNS, ChunkIndex, DatasetInfo, Piece
from streamload.formats.hdf5.request import Axis
from streamload.schema import ARRAY, BYTES


class Entry(NamedTuple):
    """One dataset, seen along its first axis unless it is a single value or another axis counts records."""

    file: int
    path: str
    """Of the dataset in that file."""
    records: int
    offset: int
    """The byte at which it begins, where it is contiguous and `stored` is None."""
    stored: DatasetInfo | None
    """What is known of it; None where it is as the first one is, but for its place and its length."""
    chunks: ChunkIndex | None
    """Where its chunks lie, if that is worth knowing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldPieces:
    """What a field is made of, in one file."""

    pieces: tuple[Piece, ...]
    starts: NDArray[np.int64] | None
    """Where records begin among those of the pieces; None where these are the records."""
    counts: tuple[int, ...]
    """Of each dataset, how many records it gives."""
    ragged: str = ""
    """How the records differ in length."""

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(self.counts)


class Series:
    """Datasets of one field, taken in one after the other."""

    def __init__(
        self, name: str, first: DatasetInfo, dataset: h5d.DatasetID, axis: Axis, files: SourceFiles, beat: Callable[[int, int], None]
    ) -> None:
        """`first` is the first of them, seen along its first axis."""
        self.name = name
        self._first = first
        self._axis = axis
        self._files = files
        self._beat = beat
        self._entries: list[Entry] = []
        self._first_file = ""
        self._kind: h5t.TypeID = dataset.get_type()
        self._plist: h5p.PropDCID = dataset.get_create_plist()
        self._single = first.axis is None
        self._says = bool(h5a.get_num_attrs(dataset))
        self._rest = tuple(dataset.shape[1:])
        plain = first.raw and first.packed and not first.member and not first.ragged and not axis
        self._runs = plain and first.layout == CONTIGUOUS and first.offset is not None
        self._laid = _laid(self._plist)
        self._chunks = plain and not self._single and first.layout == CHUNKED and first.written and filters.by_offset(first)

    def add(self, place: LocatedNode, path: str, file: int) -> None:
        """Take in a dataset, which `path` leads to, and which lies in file number `file`.

        Raises SchemaMismatchError where it is not like the first one, and what examining a dataset raises.
        """
        dataset = place.node
        assert isinstance(dataset, h5d.DatasetID)
        if not self._entries and path == self._first.place:
            self._first_file = place.file
            entry = entry_of(self._first, dataset, place.file, file, self._axis, self._files, self._beat)
            plain = self._runs and self._first.packing is None
            self._entries.append(entry._replace(stored=None, offset=self._first.offset or 0) if plain else entry)
            return
        entry = self._alike(place, dataset, path, file) if self._runs or self._chunks else None
        self._entries.append(self._examined(place, path, file) if entry is None else entry)

    @property
    def last(self) -> DatasetInfo | None:
        """What is known of the dataset that was taken in last; None where it is as the first one is."""
        return self._entries[-1].stored

    def _alike(self, place: LocatedNode, dataset: h5d.DatasetID, path: str, file: int) -> Entry | None:
        """A dataset that is as the first one is in all but place and length; None for any other."""
        first, shape = self._first, dataset.shape
        if shape is None or (shape == ()) != self._single or shape[1:] != self._rest or dataset.get_type() != self._kind:
            return None
        if self._says or h5a.get_num_attrs(dataset):
            return None  # It may be packed in another way, or say other things.
        if self._runs:
            offset, records = dataset.get_offset(), 1 if self._single else int(shape[0])
            if offset is None or offset + records * first.stride_nbytes > self._files.found[file].nbytes:
                return None
            return Entry(file, path if place.file == self._first_file else place.path, records, int(offset), None, None)
        plist = dataset.get_create_plist()
        if plist != self._plist or _laid(plist) != self._laid or not dataset_info.is_listed(dataset, first.chunk):
            return None
        stored = replace(first, path=place.path, alias="", shape=tuple(map(int, shape)), chunks=int(dataset.get_num_chunks()))
        if not stored.written:
            return None
        index = dataset_info.chunk_index(stored, dataset, place.file, self._files.found[file].nbytes, self._beat)
        return Entry(file, stored.path, stored.records, 0, stored, index)

    def _examined(self, place: LocatedNode, path: str, file: int) -> Entry:
        dataset, first = place.node, self._first
        assert isinstance(dataset, h5d.DatasetID)
        found = dataset_info.examine(place.file, place.path, dataset, [], single=self._axis is None)
        stored = next((one for one in found if one.member == first.member), None)
        axis = self._axis or 0
        if stored is not None and stored.place != path:
            stored = replace(stored, alias=path)
        same = stored is not None and (stored.native, stored.ragged) == (first.native, first.ragged)
        alike = same and stored is not None and _others(stored.shape, axis) == _others(first.shape, axis)
        if stored is None or not alike or (stored.axis is None) != self._single:
            if path == first.place:
                raise field_selection.different(self.name, first, stored, self._first_file, place.file)
            raise SchemaMismatchError(
                f"{place.file}: '{path}' is {_described(stored)}, "
                f"and '{first.place}', with which it makes field '{self.name}', is {_described(first)}.",
                hint="Datasets of a field have one type, and one shape but for the axis that counts records: choose others with fields=.",
                path=place.file,
                dataset=path,
            )
        return entry_of(stored, dataset, place.file, file, self._axis, self._files, self._beat)

    def finish(self) -> FieldPieces:
        """What the datasets make together."""
        return put_together(self._entries, self._first, self._axis, self.name)


def _laid(plist: h5p.PropDCID) -> tuple[Any, ...]:
    """Chunks and filters, which the library's own comparison of properties leaves out in part."""
    if plist.get_layout() != h5d.CHUNKED:
        return ()
    return plist.get_chunk(), *(plist.get_filter(number) for number in range(plist.get_nfilters()))


def _described(stored: DatasetInfo | None) -> str:
    """The type and the whole shape of a dataset."""
    if stored is None:
        return "another kind of dataset"
    shape = stored.shape if stored.axis is not None else stored.shape[1:]
    return f"{stored.native} {shape}" + (f", {stored.ragged} of variable length" if stored.ragged else "")


def entry_of(
    stored: DatasetInfo, dataset: h5d.DatasetID, file_path: str, file: int, axis: Axis, files: SourceFiles, beat: Callable[[int, int], None]
) -> Entry:
    """A dataset with the index of its chunks, if that is worth having."""
    nbytes = files.found[file].nbytes
    refuse_impossible(stored, file_path, nbytes)
    for source in stored.sources:
        files.number(source)
    index = None
    if 0 in stored.shape[1:]:
        return Entry(file, stored.path, stored.records, 0, stored, None)
    if not stored.written and stored.records and stored.fill:
        stored, index = unwritten(stored)
    elif stored.layout == CHUNKED and stored.records and filters.by_offset(stored):
        index = dataset_info.chunk_index(stored, dataset, file_path, nbytes, beat)
    elif stored.filters:
        filters.refuse_missing(stored, file_path)
    if axis:
        stored, index = views.along(stored, index, axis, len(dataset.shape), file_path)
    return Entry(file, stored.path, stored.records, 0, stored, index)


def _others(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The sides of a shape but for one."""
    axis %= max(1, len(shape))
    return shape[:axis] + shape[axis + 1 :]


def put_together(entries: list[Entry], first: DatasetInfo, axis: Axis, name: str) -> FieldPieces:
    """Datasets as pieces: joined along the axis that counts records; or each one record, of one shape or of a length of its own."""
    counts = [entry.records for entry in entries]
    if axis is not None:
        return FieldPieces(pieces=tuple(_pieces(entries, first, single=False)), starts=None, counts=tuple(counts))
    if len(set(counts)) <= 1 and (0 not in counts or first.axis is None):
        return FieldPieces(pieces=tuple(_pieces(entries, first, single=True)), starts=None, counts=(1,) * len(counts))
    if first.ragged or first.axis is None:
        raise ConfigError(
            f"'{first.key}': each dataset of '{name}' holds several records of variable length, and record_axis=None takes each for one.",
            hint=f"Join them: record_axis={{{name!r}: 0}}.",
            dataset=first.key,
        )
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    ragged = BYTES if first.native == np.uint8 and len(first.shape) == 1 else ARRAY
    return FieldPieces(pieces=tuple(_pieces(entries, first, single=False)), starts=starts, counts=(1,) * len(counts), ragged=ragged)


def _pieces(entries: list[Entry], first: DatasetInfo, *, single: bool) -> Iterator[Piece]:
    plain = all(entry.stored is None for entry in entries)
    # What the HDF5 library must read, it reads dataset by dataset: then none may stand for several.
    apart = not all(map(_by_offset, entries))
    for file, some in groupby(entries, lambda entry: entry.file):
        if plain:
            yield _runs(list(some), file, first, single=single)
        else:
            yield from _merged((_told(entry, first) for entry in some), single=single, apart=apart)


def _by_offset(entry: Entry) -> bool:
    """Whether a dataset can be read without the HDF5 library."""
    stored, chunks = entry.stored, entry.chunks
    if stored is None:
        return True
    if chunks is not None:
        return not stored.member and (bool(stored.fill) or bool((chunks.offsets >= 0).all()))
    return stored.layout == CONTIGUOUS and stored.raw and stored.together and stored.written and not stored.ragged and not stored.member


def _told(entry: Entry, first: DatasetInfo) -> Entry:
    """A dataset with all that is known of it."""
    if entry.stored is not None:
        return entry
    shape, nbytes = (entry.records, *first.shape[1:]), entry.records * first.stride_nbytes
    return entry._replace(stored=replace(first, path=entry.path, alias="", shape=shape, offset=entry.offset, stored_nbytes=nbytes))


def _runs(entries: list[Entry], file: int, first: DatasetInfo, *, single: bool) -> Piece:
    """Contiguous datasets as one piece, told by their places."""
    if len(entries) == 1:
        stored = _told(entries[0], first).stored
        assert stored is not None
        return Piece(file=file, stored=views.whole(stored) if single else stored, index=None)
    counts = np.array([entry.records for entry in entries], np.int64)
    index = ChunkIndex(
        offsets=np.array([entry.offset for entry in entries], np.int64),
        nbytes=counts * first.stride_nbytes,
        masks=np.zeros(len(entries), np.uint32),
    )
    stored = replace(
        first,
        shape=(int(counts.sum()), *first.shape[1:]),
        layout=RUNS,
        offset=None,
        datasets=len(entries),
        stored_nbytes=int(index.nbytes.sum()),
    )
    return Piece(file=file, stored=views.whole(stored) if single else stored, index=index)


def _merged(entries: Iterator[Entry], *, single: bool, apart: bool) -> Iterator[Piece]:
    """Pieces of datasets in chunks, put together where no chunk but the last would be cut short; any others one by one, or all `apart`."""
    open_: list[tuple[DatasetInfo, ChunkIndex]] = []
    file = -1
    for entry in entries:
        assert entry.stored is not None
        file, stored = entry.file, views.whole(entry.stored) if single else entry.stored
        if open_ and (apart or entry.chunks is None or not _continues(open_, stored)):
            yield _closed(open_, file)
            open_ = []
        if entry.chunks is None:
            yield Piece(file=file, stored=stored, index=None)
        else:
            open_.append((stored, entry.chunks))
    if open_:
        yield _closed(open_, file)


def _continues(before: list[tuple[DatasetInfo, ChunkIndex]], stored: DatasetInfo) -> bool:
    """Whether the chunks of a dataset can follow those of others as if they were one dataset's."""
    last = before[-1][0]
    same = ("packing", "attributes", "dtype", "layout", "axis", "chunk", "filters", "fill", "raw", "member")
    alike = all(getattr(last, name) == getattr(stored, name) for name in same) and last.shape[1:] == stored.shape[1:]
    return alike and stored.layout == CHUNKED and last.records % last.chunk[0] == 0


def _closed(parts: list[tuple[DatasetInfo, ChunkIndex]], file: int) -> Piece:
    (first, index), *_ = parts
    if len(parts) == 1:
        return Piece(file=file, stored=first, index=index)
    stored = replace(
        first,
        shape=(sum(one.records for one, _ in parts), *first.shape[1:]),
        chunks=sum(one.chunks for one, _ in parts),
        stored_nbytes=sum(one.stored_nbytes for one, _ in parts),
        datasets=len(parts),
    )
    together = {name: np.concatenate([getattr(one, name) for _, one in parts]) for name in ("offsets", "nbytes", "masks")}
    return Piece(file=file, stored=stored, index=ChunkIndex(**together))

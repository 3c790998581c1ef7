"""The HDF5 library's part of planning, in one call: paths in, plain values out, every file closed again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
from h5py import h5a, h5d, h5t  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsupportedFeatureError
from streamload.formats.hdf5 import dataset_info, field_selection, filters
from streamload.formats.hdf5.field_selection import Found
from streamload.formats.hdf5.links import MissingPathError, Place, Tree
from streamload.formats.hdf5.metadata import CHUNKED, CONTIGUOUS, Beat, ChunkIndex, DatasetInfo, FilesInfo, Piece, no_progress
from streamload.formats.hdf5.open_file import guarded
from streamload.sizes import format_nbytes
from streamload.storage.files import Fingerprint, fingerprint, recheck

LARGEST_CHUNK_NBYTES = 1024**3
"""Decoded bytes of a chunk above which a dataset is refused."""
UNWRITTEN_NBYTES = 4 * 1024**2
"""What is made of fill values at a time."""
MOST_CHUNKS = 2**27
"""Chunks in the grid of one dataset: their index takes 20 bytes each."""


def inspect_files(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str] | None, beat: Beat = no_progress) -> FilesInfo:
    """What is stored in the files, and which datasets are the fields.

    The first file decides on the fields; the others must have the same datasets, of the same types and shapes.
    """
    notes: list[str] = []
    files = Files([fingerprint(path) for path in paths])
    pieces: list[list[Piece]] = []
    records: list[int] = []
    chosen: field_selection.Chosen = []
    for number, path in enumerate(paths):
        beat(number, 0, 0)
        was = fingerprint(path)
        with guarded(path), Tree(path) as tree:
            if not number:
                chosen = _asked(tree, fields, beat) if fields is not None else _found(tree, notes, beat)
                pieces = [[] for _ in chosen]
                here = [found for _, found in chosen]
            else:
                here = _alike(tree, paths[0], chosen, named=fields is not None)
            field_selection.refuse_unequal([(name, found) for (name, _), found in zip(chosen, here, strict=True)], path)
            for (name, _), into, found in zip(chosen, pieces, here, strict=True):
                if found.stored.records and not found.stored.written:
                    notes.append(f"'{name}' was never written{f' in {path}' * (number > 0)}: its records are fill values")
                into.append(_piece(found, files.number(found.file, number, was), files, partial(beat, number)))
            records.append(here[0].stored.records)
        recheck(was)
    names = tuple(name for name, _ in chosen)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"Two fields would be called {twice!r}.", hint="Rename them with fields={name: path}.")
    return FilesInfo(
        names=names,
        files=tuple(files.found),
        records=tuple(records),
        fields=tuple(map(tuple, pieces)),
        notes=tuple(notes),
    )


class Files:
    """The files of a source by number: those that were asked for, then those that they draw on."""

    def __init__(self, asked: list[Fingerprint]) -> None:
        self.found = asked
        self._numbers = {was.path: number for number, was in enumerate(asked)}

    def number(self, path: str, of: int, was: Fingerprint) -> int:
        """The number of the file at `path`, which file number `of`, with fingerprint `was`, led to."""
        real = os.path.realpath(path)
        if real == was.path:
            return of
        if real not in self._numbers:
            self._numbers[real] = len(self.found)
            self.found.append(fingerprint(real))
        return self._numbers[real]


def _asked(tree: Tree, fields: Sequence[str] | Mapping[str, str], beat: Beat) -> field_selection.Chosen:
    found: list[tuple[str | None, list[Found]]] = []
    listed: list[Found] | None = None
    for name, asked in field_selection.requests(fields):
        there = _at(tree, asked)
        if there is None:
            listed = _candidates(tree, [], [], beat) if listed is None else listed
            there = field_selection.match(asked, listed, tree.path)
        found.append((name, there))
    return field_selection.named(found)


def _found(tree: Tree, notes: list[str], beat: Beat) -> field_selection.Chosen:
    odd: list[field_selection.LeftOut] = []
    return field_selection.find(_candidates(tree, odd, notes, beat), odd, tree.path, notes)


def _at(tree: Tree, asked: str) -> list[Found] | None:
    """The dataset at a full path, or a member of a compound there ("table.image"); None if there is none."""
    head, dot = asked, len(asked)
    while True:
        place = _located(tree, head.strip("/"))
        if place is not None and isinstance(place.node, h5d.DatasetID):
            members = tuple(asked[dot + 1 :].split(".")) if dot < len(asked) else ()
            return [one for one in _examined(place, head.strip("/")) if one.stored.member[: len(members)] == members] or None
        dot = asked.rfind(".", 0, dot)
        if dot <= 0:
            return None
        head = asked[:dot]


def _located(tree: Tree, path: str) -> Place | None:
    try:
        return tree.locate(path)
    except MissingPathError:
        return None


def _examined(place: Place, path: str) -> list[Found]:
    """What can be known of a dataset, which `path` leads to."""
    assert isinstance(place.node, h5d.DatasetID)
    own = place.path
    stored = dataset_info.examine(place.file, own, place.node)
    return [Found(place.node, place.file, one if own == path else replace(one, alias=path)) for one in stored]


def _candidates(tree: Tree, odd: list[field_selection.LeftOut], notes: list[str], beat: Beat) -> list[Found]:
    """The datasets that could serve; those that cannot are added to `odd`, and to `notes`."""
    candidates: list[Found] = []
    for name, place in tree.listing(notes, lambda: beat(0, 0, 0)):
        dataset = place.node
        assert isinstance(dataset, h5d.DatasetID)
        if is_dimension(dataset):
            notes.append(f"'{name}' left out: it is a netCDF dimension without coordinates")
            continue
        try:
            candidates += _examined(place, name)
        except (ConfigError, SourceError) as error:
            odd.append(field_selection.LeftOut(name, _values_nbytes(dataset), error))
            reason = error.message.removeprefix(f"{place.file}: ").split(f"dataset '{place.path}' ", 1)[-1].rstrip(".")
            notes.append(f"'{name}' left out: it {reason}" if reason != error.message else f"'{name}' left out: {reason}")
    return candidates


def _values_nbytes(dataset: h5d.DatasetID) -> int:
    """Bytes of all values of a dataset; of variable-length ones, which may hold next to nothing, none are counted."""
    kind = dataset.get_type()
    variable = any(kind.detect_class(one) for one in (h5t.VLEN, h5t.REFERENCE))
    variable |= isinstance(kind, h5t.TypeStringID) and bool(kind.is_variable_str())
    return 0 if variable else math.prod(map(int, dataset.shape or (0,))) * kind.get_size()


def is_dimension(dataset: h5d.DatasetID) -> bool:
    """Whether a dataset only stands for a dimension of netCDF-4, and was never meant to hold anything."""
    if dataset.get_storage_size() or not h5a.exists(dataset, b"NAME"):
        return False
    said = h5py.AttributeManager(h5py.Dataset(dataset)).get("NAME")
    return isinstance(said, bytes) and said.startswith(b"This is a netCDF dimension but not a netCDF variable")


def _alike(tree: Tree, first_path: str, chosen: field_selection.Chosen, *, named: bool) -> list[Found]:
    """The same fields in another file of the source; `named` says that the user chose them."""
    alike: list[Found] = []
    for name, (_, _, first) in chosen:
        place = _located(tree, first.place)
        there = _examined(place, first.place) if place is not None and isinstance(place.node, h5d.DatasetID) else []
        here = next((one for one in there if one.stored.member == first.member), None)
        stored = None if here is None else here.stored
        if (
            stored is None
            or here is None
            or (stored.native, stored.shape[1:], stored.ragged) != (first.native, first.shape[1:], first.ragged)
        ):
            raise SchemaMismatchError(
                f"Field '{name}' differs: {first} in {first_path}, {stored if stored is not None else 'missing'} in {tree.path}.",
                hint="Files of one source have one schema: open them apart, or choose other fields with fields=[...].",
                path=tree.path,
                dataset=name,
            )
        if stored.records and first.written and not stored.written and not named:
            raise field_selection.never_written(stored, tree.path)
        alike.append(here)
    return alike


def _piece(found: Found, file: int, files: Files, beat: Callable[[int, int], None]) -> Piece:
    """A dataset with the index of its chunks, if that is worth having."""
    stored, was = found.stored, files.found[file]
    _refuse_impossible(stored, found.file, was.nbytes)
    for source in stored.sources:
        files.number(source, file, was)
    index = None
    if not stored.written and stored.records and stored.fill:
        stored, index = _unwritten(stored)
    elif stored.layout == CHUNKED and stored.records and filters.by_offset(stored):
        index = dataset_info.chunk_index(stored, found.dataset, found.file, was.nbytes, beat)
    elif stored.filters:
        filters.refuse_missing(stored, found.file)
    return Piece(file=file, stored=stored, index=index)


def _unwritten(stored: DatasetInfo) -> tuple[DatasetInfo, ChunkIndex]:
    """A dataset without data, as chunks none of which is stored."""
    records = max(1, UNWRITTEN_NBYTES // stored.stride_nbytes)
    count = -(-stored.records // records)
    index = ChunkIndex(offsets=np.full(count, -1, np.int64), nbytes=np.zeros(count, np.int64), masks=np.zeros(count, np.uint32))
    chunk = (records, *stored.shape[1:])
    return replace(stored, layout=CHUNKED, chunk=chunk, chunks=0, offset=None, filters=(), listed=True), index


def _refuse_impossible(stored: DatasetInfo, path: str, file_nbytes: int) -> None:
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

"""The HDF5 library's part of planning, in one call: paths in, plain values out, every file closed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import h5py
import numpy as np
from h5py import h5d, h5g  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.hdf5 import dataset_info, field_selection, filters, links
from streamload.formats.hdf5.metadata import CHUNKED, CONTIGUOUS, Beat, ChunkIndex, DatasetInfo, FileInfo, FilesInfo, no_progress
from streamload.formats.hdf5.open_file import opened
from streamload.sizes import format_nbytes
from streamload.storage.files import Fingerprint, fingerprint, recheck

LARGEST_CHUNK_NBYTES = 1024**3
"""Decoded bytes of a chunk above which a dataset is refused."""
MOST_CHUNKS = 2**27
"""Chunks in the grid of one dataset: their index takes 20 bytes each."""


def inspect_files(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str] | None, beat: Beat = no_progress) -> FilesInfo:
    """What is stored in the files, and which datasets are the fields.

    The first file decides on the fields; the others must have the same datasets, of the same types and shapes.
    """
    notes: list[str] = []
    files: list[FileInfo] = []
    chosen: field_selection.Chosen = []
    for number, path in enumerate(paths):
        beat(number, 0, 0)
        was = fingerprint(path)
        with opened(was.path) as file:
            if not files:
                chosen = _asked(file, path, fields, beat) if fields is not None else _found(file, path, notes, beat)
                field_selection.refuse_unequal(chosen, path)
                files.append(_facts(file, was, path, [stored for _, stored in chosen], partial(beat, number)))
            else:
                files.append(_facts(file, was, path, _alike(file, path, paths[0], chosen), partial(beat, number)))
        recheck(was)
    names = tuple(name for name, _ in chosen)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"Two fields would be called {twice!r}.", hint="Rename them with fields={name: path}.")
    return FilesInfo(names=names, files=tuple(files), notes=tuple(notes))


def _asked(file: h5py.File, path: str, fields: Sequence[str] | Mapping[str, str], beat: Beat) -> field_selection.Chosen:
    found: list[tuple[str | None, list[DatasetInfo]]] = []
    listed: list[DatasetInfo] | None = None
    for name, asked in field_selection.requests(fields):
        stored = _at(file, path, asked)
        if stored is None:
            listed = _candidates(file, path, [], beat) if listed is None else listed
            stored = field_selection.match(asked, listed, path)
        found.append((name, stored))
    return field_selection.named(found)


def _found(file: h5py.File, path: str, notes: list[str], beat: Beat) -> field_selection.Chosen:
    return field_selection.find(_candidates(file, path, notes, beat), path, notes)


def _at(file: h5py.File, path: str, asked: str) -> list[DatasetInfo] | None:
    """The dataset at a full path, or a member of a compound there ("table.image"); None if there is none."""
    head, dot = asked, len(asked)
    while True:
        try:
            dataset = links.locate(file, head.strip("/"))
        except links.MissingPathError:
            dataset = None
        if isinstance(dataset, h5d.DatasetID):
            stored = dataset_info.examine(path, head.strip("/"), dataset)
            members = tuple(asked[dot + 1 :].split(".")) if dot < len(asked) else ()
            return [one for one in stored if one.member[: len(members)] == members] or None
        dot = asked.rfind(".", 0, dot)
        if dot <= 0:
            return None
        head = asked[:dot]


def _candidates(file: h5py.File, path: str, notes: list[str], beat: Beat) -> list[DatasetInfo]:
    candidates: list[DatasetInfo] = []
    for name, dataset in links.listing(file, notes, lambda: beat(0, 0, 0)):
        try:
            stored = dataset_info.examine(path, name, dataset)
        except UnsafeSourceError:
            raise
        except (ConfigError, UnsupportedFeatureError) as error:
            reason = error.message.split(f"dataset '{name}' ", 1)[-1].rstrip(".")
            notes.append(f"'{name}' left out: it {reason}")
            continue
        candidates.extend(stored)
    return candidates


def _alike(file: h5py.File, path: str, first_path: str, chosen: field_selection.Chosen) -> list[DatasetInfo]:
    """The same fields in another file of the source."""
    alike: list[DatasetInfo] = []
    for name, first in chosen:
        try:
            dataset = links.locate(file, first.path)
        except links.MissingPathError:
            dataset = None
        stored = dataset_info.examine(path, first.path, dataset) if isinstance(dataset, h5d.DatasetID) else []
        here = next((one for one in stored if one.member == first.member), None)
        if here is None or (here.native, here.shape[1:], here.ragged) != (first.native, first.shape[1:], first.ragged):
            raise SchemaMismatchError(
                f"Field '{name}' differs: {first} in {first_path}, {here if here is not None else 'missing'} in {path}.",
                hint="Files of one source have one schema: open them apart, or choose other fields with fields=[...].",
                path=path,
                dataset=name,
            )
        alike.append(here)
    field_selection.refuse_unequal([(name, stored) for (name, _), stored in zip(chosen, alike, strict=True)], path)
    return alike


def _facts(file: h5py.File, was: Fingerprint, path: str, fields: Sequence[DatasetInfo], beat: Callable[[int, int], None]) -> FileInfo:
    indexes: list[ChunkIndex | None] = []
    for stored in fields:
        _refuse_impossible(stored, path, was.nbytes)
        index = None
        if stored.layout == CHUNKED and stored.records and filters.by_offset(stored):
            dataset = links.locate(file, stored.path)
            assert not isinstance(dataset, h5g.GroupID)
            index = dataset_info.chunk_index(stored, dataset, path, was.nbytes, beat)
        elif stored.filters:
            filters.refuse_missing(stored, path)
        indexes.append(index)
    return FileInfo(fingerprint=was, fields=tuple(fields), indexes=tuple(indexes))


def _refuse_impossible(stored: DatasetInfo, path: str, file_nbytes: int) -> None:
    """Raise where the file cannot hold what the dataset's shape says, or only at a cost nobody means."""
    where = f"{path}: dataset '{stored.key}'"
    details = {"path": path, "dataset": stored.key}
    if not stored.records:
        return
    if stored.nbytes >= 2**63:
        raise CorruptDataError(f"{where} claims {stored.records:,} records, {stored.nbytes:,} bytes.", hint="Write it again.", **details)
    if (stored.layout == CONTIGUOUS and stored.offset is None) or (stored.layout == CHUNKED and not stored.chunks):
        raise CorruptDataError(
            f"{where} claims {stored.records:,} records ({format_nbytes(stored.nbytes)}), and no data is stored for them.",
            hint="Was the program that wrote it interrupted? Write it again.",
            **details,
        )
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

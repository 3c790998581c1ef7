"""From IDX files to a source: which files of a folder are meant, and which labels belong to which images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamload.errors import ConfigError, SchemaMismatchError, UnsupportedFeatureError
from streamload.formats.columns.packed_blocks import blocks_of
from streamload.formats.columns.packed_records import PackedArrays
from streamload.formats.columns.raw import InMemory
from streamload.formats.idx.header import IdxArray, is_images, read_idx
from streamload.formats.naming.field_names import Fields
from streamload.formats.split_choice import by_split, chosen_split, refuse_split
from streamload.formats.tables.fields import FileColumn, Table, TablePart
from streamload.formats.tables.table import RawRuns, assemble, raw_records_of
from streamload.schema import Field
from streamload.source import Column, Source
from streamload.storage.files import Fingerprint, fingerprint, recheck

BESIDE = (
    ("images-idx3", "labels-idx1"),
    ("images-idx3", "labels-idx2"),
    ("images.idx3", "labels.idx1"),
    ("images-idx3-ubyte", "labels-idx2-int"),
    ("images", "labels"),
)
"""What stands for the images in the name of a file, and for the labels in the name of the file beside it."""


def plan_files(name: str, paths: Sequence[str], fields: Fields | None, split: str | None) -> Source:
    """The source, of a format of this name, over files, or over those that folders stand for."""
    files: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            files.append(_images_in(path, split))
        else:
            refuse_split(path, split)
            files.append(path)
    read: list[Fingerprint] = []
    tables = [_table(path, read) for path in files]
    source = assemble(name, tables, fields, _column_of, fingerprints=read)
    for was in read:
        recheck(was)
    labelled = sorted(beside for path in files if (beside := labels_beside(path)) is not None)
    named = ", ".join(labelled[:3]) + (", ..." if len(labelled) > 3 else "")
    notes = [f"'label' from {named}, found by name"] if labelled and "label" in tables[0].columns else []
    if any(os.path.isdir(path) for path in paths):
        notes.append(f"of the folder, {', '.join(map(os.path.basename, files))} is read")
    return source.replaced(notes=[*source.notes, *notes])


def _images_in(folder: str, split: str | None) -> str:
    """The file of images that a folder stands for. Raises ConfigError where it could be several."""
    names = {name for name in os.listdir(folder) if is_images(name) and os.path.isfile(os.path.join(folder, name))}
    # The same file may lie there packed as well.
    alone = sorted(name for name in names if not name.endswith(".gz") or name.removesuffix(".gz") not in names)
    chosen = chosen_split(folder, by_split(os.path.join(folder, name) for name in alone), split)
    if len(chosen) > 1:
        named = ", ".join(os.path.basename(path) for path in chosen)
        raise ConfigError(f"{folder} holds several sets of images: {named}.", hint="Name one of these files.", path=folder)
    return chosen[0]


def labels_beside(path: str) -> str | None:
    """The file with the labels of a file of images, by the names that are in use; None where there is none."""
    folder, name = os.path.split(path)
    for images, labels in BESIDE:
        if images in name:
            bare = name.replace(images, labels).removesuffix(".gz")
            for there in (bare, bare + ".gz"):
                if os.path.isfile(os.path.join(folder, there)) and there != name:
                    return os.path.join(folder, there)
    return None


def _table(path: str, read: list[Fingerprint]) -> Table:
    """What a file holds, and the labels beside it; the files that are read are added to `read`."""
    was, beside = fingerprint(path), labels_beside(path)
    first = read_idx(path)
    columns = {"label" if len(first.shape) == 1 else "image": _stored(first, len(read))}
    read.append(was)
    if beside is not None:
        read.append(fingerprint(beside))
        labels = read_idx(beside)
        if labels.shape[0] != first.shape[0]:
            raise SchemaMismatchError(
                f"{path} holds {first.shape[0]:,} records, and {beside} {labels.shape[0]:,} labels.",
                hint="Put the labels that belong to it beside it.",
                path=beside,
            )
        columns["label"] = _stored(labels, len(read) - 1)
    return Table(path=path, fingerprint=was, records=first.shape[0], columns=columns, aside={}, refused={})


def _stored(array: IdxArray, number: int) -> FileColumn:
    native = array.dtype.newbyteorder("=")
    shape = array.shape[1:]
    return FileColumn(dtype=native, shape=shape, kind=f"{native} {shape}", detail=(number, array))


def _column_of(field: Field, parts: Sequence[TablePart], stands: object) -> Column:
    """The column of a field: raw records by offset, or values in memory where any of the files is packed."""
    details: list[tuple[int, IdxArray]] = [part.stored.detail for part in parts]
    if any(array.compressed and array.values is None for _, array in details):
        return _packed_column(field, details)
    values = [array.values for _, array in details if array.values is not None]
    if details and len(values) == len(details):
        return InMemory(field=field, values=np.concatenate(values), label="gzip")
    if values:
        raise UnsupportedFeatureError(
            f"'{field.name}' is packed in some files and not in others.", hint="Unpack them all: gunzip -k.", dataset=field.name
        )
    stride = field.nbytes
    first = np.zeros(1, np.int64)
    runs = [RawRuns(firsts=first, offsets=np.array([array.offset]), stride=stride, dtype=array.dtype) for _, array in details]
    numbered = [replace(part, number=number) for part, (number, _) in zip(parts, details, strict=True)]
    return raw_records_of(field, numbered, runs, blocks=False, label="contiguous")


def _packed_column(field: Field, details: Sequence[tuple[int, IdxArray]]) -> PackedArrays:
    """Records of files some of which are compressed, and too large to be held."""
    starts = np.cumsum([0, *(array.shape[0] for _, array in details)]).astype(np.int64)
    offsets = [array.offset + np.arange(array.shape[0], dtype=np.int64) * field.nbytes for _, array in details]
    places = np.concatenate(offsets)
    blocks = blocks_of([(places, np.full(len(places), field.nbytes, np.int64))], starts)
    return PackedArrays(
        field=field,
        stored=details[0][1].dtype,
        blocks=replace(blocks, numbers=np.array([number for number, _ in details], np.int32)),
        offsets=places,
        label="compressed as a whole",
    )

"""From batches of CIFAR to a source: which of a folder are meant, and what they hold as columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain

import numpy as np

from streamload.errors import ConfigError
from streamload.formats.cifar.batches import CifarBatch, planes_of, read_batch, words_beside
from streamload.formats.cifar.names import batches_in
from streamload.formats.cifar.planes import PlanarImages
from streamload.formats.columns.raw import InMemory
from streamload.formats.naming.field_names import Fields, natural_key
from streamload.formats.split_choice import chosen_split, refuse_split
from streamload.formats.tables.fields import FileColumn, Table, TablePart
from streamload.formats.tables.table import RawRuns, assemble, raw_records_of
from streamload.schema import Field
from streamload.source import Column, Source
from streamload.storage.files import recheck

STORED, DELIVERED = (3, 32, 32), (32, 32, 3)


def plan_files(name: str, paths: Sequence[str], fields: Fields | None, split: str | None) -> Source:
    """The source, of a format of this name, over batches, or over those that folders stand for."""
    files: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            files += _batches_of(path, split)
        else:
            refuse_split(path, split)
            files.append(path)
    batches = [read_batch(path) for path in files]
    words, read = {}, [one.fingerprint for one in batches]
    for folder in dict.fromkeys(os.path.dirname(path) for path in files):
        words[folder], beside = words_beside(folder)
        read += beside
    notes: list[str] = []
    most = {label: _most(batches, label) for label in dict.fromkeys(chain.from_iterable(one.labels for one in batches))}
    tables = [_table(one, _usable(words[os.path.dirname(one.path)], most, notes)) for one in batches]
    source = assemble(name, tables, fields, _column_of, fingerprints=read)
    for was in read:
        recheck(was)
    if any(os.path.isdir(path) for path in paths):
        notes.append(f"of the folder, {', '.join(map(os.path.basename, files))} {'are' if len(files) > 1 else 'is'} read")
    return source.replaced(notes=[*source.notes, *dict.fromkeys(notes)])


def _most(batches: Sequence[CifarBatch], name: str) -> int:
    """The largest label of a field; -1 where there is none."""
    return max((int(one.labels[name].max()) for one in batches if len(one.labels.get(name, ()))), default=-1)


def _usable(words: dict[str, tuple[str, ...]], most: dict[str, int], notes: list[str]) -> dict[str, tuple[str, ...]]:
    """The names of classes of labels that all have one."""
    for name, listed in words.items():
        if most.get(name, -1) >= len(listed):
            notes.append(f"'{name}' goes up to {most[name]:,}, and there are names of {len(listed):,} classes, which are not used")
    return {name: listed for name, listed in words.items() if most.get(name, -1) < len(listed)}


def _batches_of(folder: str, split: str | None) -> list[str]:
    """The batches that a folder stands for. Raises ConfigError where they are of several splits, or lie there twice."""
    found: dict[str, list[str]] = {}
    for path in sorted(batches_in(folder), key=natural_key):
        found.setdefault("test" if os.path.basename(path).startswith("test") else "train", []).append(path)
    chosen = chosen_split(folder, found, split)
    if len({path.endswith(".bin") for path in chosen}) > 1:
        raise ConfigError(
            f"{folder} holds batches both binary and pickled: {', '.join(map(os.path.basename, chosen))}.",
            hint="They may be the same records twice: name the files that are meant.",
            path=folder,
        )
    return chosen


def _table(batch: CifarBatch, words: dict[str, tuple[str, ...]]) -> Table:
    """What a batch holds, as columns."""
    number = np.dtype(np.int64)
    columns = {"image": FileColumn(dtype=np.dtype(np.uint8), shape=DELIVERED, kind=f"uint8 {DELIVERED}", detail=(batch, ""))}
    for name in batch.labels:
        columns[name] = FileColumn(dtype=number, shape=(), kind="int64 ()", detail=(batch, name), classes=words.get(name, ()))
    return Table(path=batch.path, fingerprint=batch.fingerprint, records=batch.records, columns=columns, aside={}, refused={})


def _column_of(field: Field, parts: Sequence[TablePart], stands: object) -> Column:
    """The column of a field: images by offset where all lie in one piece of their files, else held in memory; labels are held."""
    details: list[tuple[CifarBatch, str]] = [part.stored.detail for part in parts]
    batches = [batch for batch, _ in details]
    if field.shape != DELIVERED:
        labels = [batch.labels[name] for batch, name in details]
        return InMemory(field=field, values=np.concatenate([np.zeros(0, np.int64), *labels]), label="labels")
    planes = Field(field.name, field.dtype, STORED)
    if all(one.images is None for one in batches):
        first = np.zeros(1, np.int64)
        runs = [RawRuns(firsts=first, offsets=np.array([one.offset]), stride=one.stride, dtype=planes.dtype) for one in batches]
        label = "binary batches" if batches and batches[0].path.endswith(".bin") else "pickled batches"
        return PlanarImages(field=field, stored=raw_records_of(planes, parts, runs, blocks=False, label=label))
    flat = np.concatenate([planes_of(one) for one in batches])
    return InMemory(field=field, values=np.ascontiguousarray(np.moveaxis(flat.reshape(-1, *STORED), 1, -1)), label="pickled, re-encoded")

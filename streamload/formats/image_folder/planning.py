"""A source over folders of images: files looked at side by side, labels from folders or tables, masks by their names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SchemaMismatchError
from streamload.formats.columns.raw import InMemory
from streamload.formats.columns.whole_files import WholeFiles
from streamload.formats.image_folder.label_tables import read_table, table_in
from streamload.formats.image_folder.masks import MASK_FOLDERS, mask_folders, paired, refuse_masks
from streamload.formats.image_folder.names import FORMAT
from streamload.formats.image_folder.scanning import Listing, labelled_folders, listing_of, split_folder
from streamload.formats.label_values import LabelValues, values_of
from streamload.formats.nulls import HeldWithNulls, fill_for
from streamload.formats.table_fields import Fields, FileColumn, Table, chosen_in
from streamload.nulls import Nulls
from streamload.omissions import Omission
from streamload.schema import BYTES, Field
from streamload.source import Column, Lengths, Source
from streamload.storage.file_table import FileTable, joined_tables, sizes_of, table_of

IMAGE, LABEL, MASK = "image", "label", "mask"


@dataclass(kw_only=True, slots=True)
class FolderRecords:
    """What one folder holds: which files are its records, and what is known of each."""

    root: str
    files: FileTable
    files_of: dict[str, NDArray[np.int32]]
    """The file of each record, -1 where there is none, of images and of masks: shape (records,)."""
    values: dict[str, LabelValues] = field(default_factory=dict[str, LabelValues])
    """Labels and what else tables say, by field."""
    aside: dict[str, str] = field(default_factory=dict[str, str])
    """Columns of tables that are no fields, and why."""
    notes: list[str] = field(default_factory=list[str])
    omissions: list[Omission] = field(default_factory=list[Omission])

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self.files_of[IMAGE])


def plan_folders(paths: Sequence[str], fields: Fields | None, *, split: str | None, labels: str | None, fill: Any) -> Source:
    """The source over all images of some folders, which have the same fields and classes."""
    parts = [_records_of(split_folder(path, split), labels) for path in paths]
    first = parts[0]
    for part in parts[1:]:
        _refuse_unlike(first, part)
    table, starts = joined_tables([part.files for part in parts]), np.cumsum([0, *(part.count for part in parts)])
    if not starts[-1]:
        raise CorruptDataError(f"{first.root} holds no images.", hint="Is it the right folder?", path=first.root)
    made = _FolderColumns(parts, table)
    notes = [note for part in parts for note in part.notes]
    columns: list[Column] = []
    nulls: dict[str, Nulls] = {}
    for chosen in chosen_in(made.table(), fields, notes):
        column, count = made.column(chosen.name, chosen.keys[0], fill)
        columns.append(column)
        if count:
            nulls[chosen.name] = Nulls(chosen.keys[0], count)
    return Source(
        format_name=FORMAT,
        title=paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths):,} folders)",
        columns=columns,
        fingerprints=table,
        file_starts=starts,
        notes=notes,
        classes={
            chosen.name: words
            for chosen in chosen_in(made.table(), fields, [])
            if chosen.keys[0] in first.values and (words := first.values[chosen.keys[0]].classes)
        },
        nulls=nulls,
        omissions=[one for part in parts for one in part.omissions],
        masks=[chosen.name for chosen in chosen_in(made.table(), fields, []) if chosen.keys[0] == MASK],
    )


def _refuse_unlike(first: FolderRecords, other: FolderRecords) -> None:
    """Raise SchemaMismatchError where folders have other fields, or other classes."""
    here, there = ({**dict.fromkeys(one.files_of), **one.values} for one in (first, other))
    if list(here) != list(there):
        raise SchemaMismatchError(
            f"{first.root} has the fields {', '.join(here)}, and {other.root} {', '.join(there)}.", hint="Open them apart.", path=other.root
        )
    for name in first.values:
        if first.values[name].classes != other.values[name].classes:
            raise SchemaMismatchError(
                f"The classes of '{name}' in {first.root} are not those in {other.root}.",
                hint="Give both the same folders, empty ones too, or open them apart.",
                path=other.root,
            )


def _records_of(root: str, labels: str | None) -> FolderRecords:
    pair = None if labels else mask_folders(root)
    table = labels or (table_in(root) if pair is None else None)
    found = listing_of(root)
    real = os.path.realpath(root)
    files, refused = table_of([os.path.join(real, folder) if folder else real for folder in found.folders], found.names)
    if pair is not None:
        made = _pairs(found, files, *pair)
    elif table is not None:
        made = _from_table(found, files, table)
        if not labels:
            made.notes.append(f"labels are those of {os.path.basename(table)}, which lies in the folder")
    else:
        made = _by_folder(found, files)
    used = None if table is None else os.path.relpath(os.path.realpath(table), os.path.realpath(root))
    for why, names in found.others.items():
        made.omissions += _omitted(why, [name for name in names if name != used])
    for why in dict.fromkeys(why for _, why in refused):
        made.omissions += _omitted(why, [os.path.relpath(path, os.path.realpath(root)) for path, reason in refused if reason == why])
    return made


def _omitted(why: str, names: Sequence[str]) -> Iterator[Omission]:
    if names:
        yield Omission.of("file", why, names)


def _by_folder(found: Listing, files: FileTable) -> FolderRecords:
    """Every image a record, its label the folder in the root that it lies in."""
    made = FolderRecords(root=found.root, files=files, files_of={IMAGE: np.arange(len(files), dtype=np.int32)})
    numbers = labelled_folders(found)
    if numbers is not None:
        if any(name.lower() in MASK_FOLDERS for name in found.classes):
            refuse_masks(found.root, found.paths())
        array = np.array(numbers, np.int64)[files.folder_numbers]
        made.values[LABEL] = LabelValues(array=array, there=np.ones(len(array), bool), classes=found.classes)
    return made


def _numbers_by_name(found: Listing, files: FileTable) -> dict[str, int]:
    """The number of each file in the table, by its path relative to the root."""
    beginning = os.path.join(os.path.realpath(found.root), "")
    return {files.path(number).removeprefix(beginning): number for number in range(len(files))}


def _pairs(found: Listing, files: FileTable, images: str, masks: str) -> FolderRecords:
    """Images in one folder, and the mask of each in another."""
    numbers = _numbers_by_name(found, files)
    names, own, alone = paired(found.root, images, masks)
    files_of = {IMAGE: [numbers.get(name, -1) for name in names], MASK: [numbers.get(name or "", -1) for name in own]}
    made = FolderRecords(root=found.root, files=files, files_of={name: np.array(one, np.int32) for name, one in files_of.items()})
    made.omissions += _omitted("a mask without an image", alone)
    known = {*names, *alone, *(name for name in own if name is not None)}
    made.omissions += _omitted("deeper than images and masks are looked for", [name for name in found.paths() if name not in known])
    return made


def _from_table(found: Listing, files: FileTable, table: str) -> FolderRecords:
    """The images that a table names, in its order, and what it says of them."""
    numbers, read = _numbers_by_name(found, files), read_table(found.root, table)
    of_images = np.array([numbers.get(name, -1) for name in read.names], np.int32)
    made = FolderRecords(root=found.root, files=files, files_of={IMAGE: of_images})
    for name, column in read.values.items():
        key = name if name != IMAGE else f"{name}_column"
        values = values_of(column, most_classes=max(1000, len(column)) if name == LABEL else 1000)
        if values.array is None:
            made.aside[key] = f"holds {values.why}" if values.why != "no record has one" else "has no values"
        else:
            made.values[key] = values
    lacking = [name for name, number in zip(read.names, of_images.tolist(), strict=True) if number < 0]
    if lacking:
        listed = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        made.notes.append(f"{table} names {len(lacking):,} file{'' if len(lacking) == 1 else 's'} of which there is no image: {listed}")
    named = set(read.names)
    why = f"an image that {os.path.basename(table)} does not name"
    made.omissions += _omitted(why, [name for name in numbers if name not in named])
    return made


class _FolderColumns:
    """The columns of several folders together."""

    def __init__(self, parts: Sequence[FolderRecords], files: FileTable) -> None:
        self._parts, self._first, self._files = parts, parts[0], files

    def table(self) -> Table:
        """What there is to choose from, under the name of the first folder."""
        columns = {name: FileColumn(dtype=np.dtype(np.uint8), shape=(), kind="files", detail=None) for name in self._first.files_of}
        for name, values in self._first.values.items():
            assert values.array is not None
            columns[name] = FileColumn(dtype=values.array.dtype, shape=values.array.shape[1:], kind=str(values.array.dtype), detail=None)
        first = self._first
        return Table(path=first.root, fingerprint=self._files[0], records=first.count, columns=columns, aside=first.aside, refused={})

    def column(self, name: str, key: str, fill: Any) -> tuple[Column, int]:
        """The column of a field, and how many of its records are nulls for which nothing stands."""
        return self._of_files(name, key, fill) if key in self._first.files_of else self._of_values(name, key, fill)

    def _of_files(self, name: str, key: str, fill: Any) -> tuple[Column, int]:
        firsts = np.cumsum([0, *(len(part.files) for part in self._parts)]).tolist()
        own = zip((part.files_of[key] for part in self._parts), firsts, strict=False)
        numbers = np.concatenate([np.where(one < 0, one, one + first) for one, first in own]).astype(np.int32)
        sizes = sizes_of(self._files, numbers[numbers >= 0])
        stored = Field(name, np.dtype(np.uint8), (), BYTES)
        column = WholeFiles(
            field=stored,
            numbers=numbers,
            title=self._first.root,
            lengths=Lengths.of(sizes),
            stored_nbytes=int(sizes.sum()),
            label="a file a record",
            fill=fill_for(fill, key, stored),
        )
        return column, int((numbers < 0).sum()) if column.fill is None else 0

    def _of_values(self, name: str, key: str, fill: Any) -> tuple[Column, int]:
        values = [part.values[key] for part in self._parts]
        array = np.concatenate([one.array for one in values if one.array is not None])
        missing = np.flatnonzero(~np.concatenate([one.there for one in values])).astype(np.int64)
        stored = Field(name, array.dtype, array.shape[1:])
        stands = fill_for(fill, key, stored)
        if len(missing) and stands is not None:
            array[missing] = stands
        elif len(missing) and array.dtype.kind == "f":
            array[missing] = np.nan
        whole = InMemory(field=stored, values=array, label=f"{len(values[0].classes):,} classes" if values[0].classes else "a table")
        if not len(missing) or stands is not None or array.dtype.kind == "f":
            return whole, 0
        starts = np.cumsum([0, *(part.count for part in self._parts)])
        return HeldWithNulls(stored=whole, column=key, nulls=missing, starts=starts), len(missing)

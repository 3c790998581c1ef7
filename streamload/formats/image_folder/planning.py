"""A source over folders of images: files looked at side by side, labels from folders or tables, masks by their names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError
from streamload.formats.columns.whole_files import WholeFiles
from streamload.formats.image_folder.label_tables import table_in, table_of_labels, table_of_split
from streamload.formats.image_folder.listing import Listing
from streamload.formats.image_folder.mask_pixels import LOOKED_AT, are_numbers
from streamload.formats.image_folder.masks import (
    ENDINGS,
    MASK_WORDS,
    images_beside_texts,
    mask_folders,
    paired,
    refuse_masks,
    refuse_masks_among,
)
from streamload.formats.image_folder.other_readings import refuse_other_readings
from streamload.formats.image_folder.scanning import labelled_folders, listing_of, split_folder
from streamload.formats.naming.field_names import Fields
from streamload.formats.naming.split_words import split_words
from streamload.formats.tables.label_values import LabelValues, labels_or_texts
from streamload.formats.tables.planned_fields import Made, PlannedField, held_field, planned_source
from streamload.omissions import Omission
from streamload.schema import BYTES, Field
from streamload.source import Lengths, Source
from streamload.storage.file_table import FileTable, joined_tables, sizes_of

IMAGE, LABEL, MASK = "image", "label", "mask"
MOST_SUSPECTS = 8
"""Classes that are looked at to find masks."""
MASK_ENDINGS = tuple(f"{word}.".encode() for word in ENDINGS)
"""Of these, names of masks have one; most folders have no such name, and their names need no second look."""


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


def plan_folders(paths: Sequence[str], fields: Fields | None, *, split: str | bool | None, labels: str | None, fill: Any) -> Source:
    """The source over all images of some folders, which have the same fields and classes."""
    are_classes = LABEL in (fields.values() if isinstance(fields, Mapping) else fields or ())
    parts = [_records_of(path, split_folder(path, split), labels, are_classes=are_classes, no_splits=split is False) for path in paths]
    first = parts[0]
    for part in parts[1:]:
        _refuse_unlike(first, part)
    table, starts = joined_tables([part.files for part in parts]), np.cumsum([0, *(part.count for part in parts)])
    if not starts[-1]:
        _refuse_nothing(first)
    found = {name: _of_files(name, parts, table) for name in first.files_of}
    # The number of a record is that of its image, as far as there is one: errors name it.
    alone = np.arange(int(starts[-1]) + 1) if not any((part.files_of[IMAGE] != np.arange(part.count)).any() for part in parts) else starts
    for name in first.values:
        found[name] = held_field(name, [part.values[name] for part in parts], alone)
    return planned_source(
        found,
        fields,
        format_name="Images",
        title=paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths):,} folders)",
        path=first.root,
        fingerprints=table,
        starts=starts,
        fill=fill,
        aside=first.aside,
        notes=[note for part in parts for note in part.notes],
        omissions=[one for part in parts for one in part.omissions],
    )


def _refuse_nothing(first: FolderRecords) -> None:
    """Raise CorruptDataError where there are no records: masks alone are none."""
    pair = mask_folders(first.root)
    if pair is not None and len(first.files):
        raise CorruptDataError(
            f"{first.root} holds no image in '{pair[0]}', and {len(first.files):,} in '{pair[1]}': masks alone are no records.",
            hint="Put the images there, each under the name of its mask.",
            path=first.root,
        )
    raise CorruptDataError(f"{first.root} holds no images.", hint="Is it the right folder?", path=first.root)


def _of_files(key: str, parts: Sequence[FolderRecords], files: FileTable) -> PlannedField:
    """A field of whole files: images, or masks."""
    firsts = np.cumsum([0, *(len(part.files) for part in parts)]).tolist()
    own = zip((part.files_of[key] for part in parts), firsts, strict=False)
    numbers = np.concatenate([np.where(one < 0, one, one + first) for one, first in own]).astype(np.int32)
    sizes = sizes_of(files, numbers[numbers >= 0])

    def make(field: Field, stands: Any) -> Made:
        column = WholeFiles(
            field=field,
            numbers=numbers,
            title=parts[0].root,
            lengths=Lengths.of(sizes),
            stored_nbytes=int(sizes.sum()),
            label="a file a record",
            fill=stands,
        )
        return column, int((numbers < 0).sum()) if stands is None else 0

    return PlannedField(dtype=np.dtype(np.uint8), shape=(), ragged=BYTES, make=make, is_mask=key == MASK)


def _refuse_unlike(first: FolderRecords, other: FolderRecords) -> None:
    """Raise SchemaMismatchError where folders have other fields, or other classes."""
    here, there = ({**dict.fromkeys(one.files_of), **one.values} for one in (first, other))
    if list(here) != list(there):
        raise SchemaMismatchError(
            f"{first.root} has the fields {', '.join(here)}, and {other.root} {', '.join(there)}.", hint="Open them apart.", path=other.root
        )
    for name in first.values:
        ours, theirs = first.values[name], other.values[name]
        if ours.classes != theirs.classes or (ours.texts is None) != (theirs.texts is None):
            raise SchemaMismatchError(
                f"The classes of '{name}' in {first.root} are not those in {other.root}.",
                hint="Give both the same folders, empty ones too, or open them apart.",
                path=other.root,
            )


def _records_of(path: str, root: str, labels: str | None, *, are_classes: bool, no_splits: bool) -> FolderRecords:
    """The records of a folder, which is that of a split where it is not `path` itself; with `no_splits` no folder in it is one either."""
    pair = None if labels else mask_folders(root)
    table = table_of_labels(root, labels)
    found = listing_of(root)
    if pair is not None:
        made = _pairs(found, *pair)
    elif table is not None:
        made = _from_table(found, table, path)
        if not labels:
            made.notes.append(f"labels are those of {os.path.basename(table)}, which lies in the folder")
    else:
        made = _by_folder(found, are_classes=are_classes, no_splits=no_splits)
    if table is None and root != path and (beside := table_in(path)) is not None:
        made.notes.append(f"{os.path.basename(beside)} lies beside the splits and is not read: labels={beside!r} takes what it says")
    made.notes += _told_apart(found)
    used = None if table is None else os.path.relpath(os.path.realpath(table), os.path.realpath(root))
    for why, names in found.others.items():
        made.omissions += _omitted(why, [name for name in names if name != used])
    return made


def _told_apart(found: Listing) -> Iterator[str]:
    """What is to be said of a folder whose first and last image are called after several splits, as COCO's are in one folder."""
    ends = found.files.folder_starts.tolist()
    for start, stop in pairwise(ends):
        first, last = found.files.path(start), found.files.path(stop - 1)
        words = split_words([os.path.basename(first), os.path.basename(last)])
        if all(words) and words[0] != words[1]:
            names = f"{os.path.basename(first)} and {os.path.basename(last)}"
            yield f"{names} lie in one folder, and are called after two splits ({words[0]}, {words[1]}): all are read as one"
            return


def _omitted(why: str, names: Sequence[str]) -> Iterator[Omission]:
    if names:
        yield Omission.of("file", why, names)


def _by_folder(found: Listing, *, are_classes: bool, no_splits: bool) -> FolderRecords:
    """Every image a record, its label the folder in the root that it lies in; `are_classes` where that was asked for, `no_splits` where
    no folder is one of a split, whatever it is called."""
    files = found.files
    made = FolderRecords(root=found.root, files=files, files_of={IMAGE: np.arange(len(files), dtype=np.int32)})
    if any(word in files.names.tobytes().lower() for word in MASK_ENDINGS):
        refuse_masks_among(found.root, found.paths())
    images = images_beside_texts(found.root)
    if images is not None and all(folder.partition(os.sep)[0] == images for folder in found.folders):
        return made
    if not are_classes and not no_splits:
        refuse_other_readings(found)
    numbers = labelled_folders(found, are_classes=no_splits)
    if numbers is not None:
        if _may_hold_masks(found, numbers):
            refuse_masks(found.root, found.paths(), are_classes=are_classes)
        array = np.repeat(np.array(numbers, np.int64), np.diff(files.folder_starts))
        made.values[LABEL] = LabelValues(array=array, there=np.ones(len(array), bool), classes=found.classes)
    return made


def _may_hold_masks(found: Listing, numbers: Sequence[int]) -> bool:
    """Whether the first images of a class are grey or have a palette, that is one of two or is called as masks are."""
    classes = dict.fromkeys(numbers)
    suspects = [number for number in classes if len(classes) == 2 or MASK_WORDS.search(found.classes[number])]
    for number in suspects[:MOST_SUSPECTS]:
        at = numbers.index(number)  # Folders of one class follow each other.
        first, stop = (int(found.files.folder_starts[place]) for place in (at, at + numbers.count(number)))
        if are_numbers("", [found.files[row].path for row in range(first, min(stop, first + LOOKED_AT))]):
            return True
    return False


def _numbers_by_name(found: Listing) -> dict[str, int]:
    """The number of each file in the table, by its path relative to the root."""
    return {name: number for number, name in enumerate(found.paths())}


def _pairs(found: Listing, images: str, masks: str) -> FolderRecords:
    """Images in one folder, and the mask of each in another."""
    numbers = _numbers_by_name(found)
    names, own, alone = paired(found.root, images, masks)
    below = [] if names else sorted({folder.split(os.sep)[1] for folder in found.folders if folder.startswith(images + os.sep)})
    if below:
        raise ConfigError(
            f"{found.root} holds no image in '{images}' itself, but in folders below it "
            f"({', '.join(below[:3])}{', ...' * (len(below) > 3)}): masks are looked for beside images.",
            hint=f"Put each of these folders beside the folder of its masks, as train/{images} and train/{masks}; split= then chooses one.",
            path=found.root,
        )
    files_of = {IMAGE: [numbers.get(name, -1) for name in names], MASK: [numbers.get(name or "", -1) for name in own]}
    made = FolderRecords(root=found.root, files=found.files, files_of={name: np.array(one, np.int32) for name, one in files_of.items()})
    made.omissions += _omitted("a mask without an image", alone)
    known = {*names, *alone, *(name for name in own if name is not None)}
    made.omissions += _omitted("deeper than images and masks are looked for", [name for name in found.paths() if name not in known])
    return made


def _from_table(found: Listing, table: str, path: str) -> FolderRecords:
    """The images that a table names, in its order, and what it says of them; it may name those of all splits of `path`."""
    numbers = _numbers_by_name(found)
    read = table_of_split(table, found.root, path, numbers)
    if not read.names:
        raise CorruptDataError(
            f"{table} holds no records: it has no row.", hint="Give it a row for each image, or take it out of the folder.", path=table
        )
    of_images = np.array([numbers.get(name, -1) for name in read.names], np.int32)
    made = FolderRecords(root=found.root, files=found.files, files_of={IMAGE: of_images})
    for name, column in read.values.items():
        key = name if name != IMAGE else f"{name}_column"
        values = labels_or_texts(column, as_classes=True if name == LABEL else None)
        if values.array is None and values.texts is None:
            made.aside[key] = f"holds {values.why}" if values.why != "no record has one" else "has no values"
        else:
            made.values[key] = values if read.rows is None else values.of(read.rows)
    lacking = [name for name, number in zip(read.names, of_images.tolist(), strict=True) if number < 0]
    if lacking:
        listed = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        made.notes.append(f"{table} names {len(lacking):,} file{'' if len(lacking) == 1 else 's'} of which there is no image: {listed}")
    if read.rows is not None and (others := len(next(iter(read.values.values()), read.rows)) - len(read.rows)):
        made.notes.append(f"{table} has {others:,} row{'' if others == 1 else 's'} of files outside of {found.root}")
    named = set(read.names)
    why = f"an image that {os.path.basename(table)} does not name"
    made.omissions += _omitted(why, [name for name in numbers if name not in named])
    return made

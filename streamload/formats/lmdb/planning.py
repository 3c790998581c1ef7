"""A source over LMDB databases: images by offset, labels and texts held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SourceError
from streamload.formats.columns.file_ranges import FileRanges
from streamload.formats.lmdb.pages import HEAD_NBYTES, LmdbPages
from streamload.formats.lmdb.records import LmdbRecords, Places, records_of
from streamload.formats.naming.field_names import Fields
from streamload.formats.tables.planned_fields import Made, PlannedField, field_of_values, planned_source
from streamload.images import named_as_mask
from streamload.nulls import SKIP
from streamload.schema import BYTES, Field
from streamload.source import Lengths, Source
from streamload.storage.files import fingerprint, recheck


def plan_files(paths: Sequence[str], fields: Fields | None, *, fill: Any = None) -> Source:
    """The source, planned anew."""
    fingerprints = [fingerprint(path) for path in paths]
    databases = [_database(path) for path in paths]
    for was in fingerprints:
        recheck(was)
    starts = np.cumsum([0, *(one.count for one in databases)]).astype(np.int64)
    omissions = [omission for one in databases for omission in one.omissions]
    if not starts[-1]:
        told = "; ".join(map(str, omissions))
        raise CorruptDataError(
            f"{paths[0]} holds no records{f': {told}' if told else ''}.", hint="Is it whole, and the database that you mean?", path=paths[0]
        )
    if fill is not None:
        _refuse_unreadable(databases)
    found: dict[str, PlannedField] = {}
    aside = {name: f"holds {why}" for one in databases for name, why in one.aside.items()}
    for name in dict.fromkeys(name for one in databases for name in (*one.images, *one.values)):
        made = _field(name, databases, starts)
        if isinstance(made, str):
            aside[name] = f"holds {made}"
        else:
            found[name] = made
    return planned_source(
        found,
        fields,
        format_name="LMDB",
        title=paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths):,} files)",
        path=paths[0],
        fingerprints=fingerprints,
        starts=starts,
        fill=fill,
        aside={name: why for name, why in aside.items() if name not in found},
        notes=[],
        omissions=omissions,
    )


def _database(path: str) -> LmdbRecords:
    """The records of a file, each of whose values lies in it, and in the place of no other."""
    try:
        pages = LmdbPages(path)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions and the disk.", path=path) from error
    try:
        found = records_of(pages)
        _refuse_overlaps(pages, found)
    finally:
        pages.close()
    return found


def _refuse_overlaps(pages: LmdbPages, found: LmdbRecords) -> None:
    """Raise CorruptDataError where values lie beyond the end, or two of them, pages of their own included, in one place."""
    every = [place for places in found.images.values() for place in places if place is not None]
    table = np.array([(one.offset, one.nbytes, one.page >= 0) for one in every], np.int64).reshape(-1, 3)
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts, stops = table[:, 0] - HEAD_NBYTES * table[:, 2], table[:, 0] + table[:, 1]
    if len(table) and int(stops.max()) > pages.file_nbytes:
        worst = int(stops.argmax())
        raise pages.damaged(f"{int(table[worst, 1]):,} bytes at byte {int(table[worst, 0]):,}, beyond the end at {pages.file_nbytes:,}")
    astray = np.flatnonzero(starts[1:] < stops[:-1])
    if len(astray):
        raise pages.damaged(f"two values at byte {int(table[astray[0] + 1, 0]):,}")


def _refuse_unreadable(databases: Sequence[LmdbRecords]) -> None:
    """Raise CorruptDataError where something would be filled in for a value that is there and cannot be read."""
    for path, name, rows in ((one.path, name, rows) for one in databases for name, rows in one.unreadable.items()):
        raise CorruptDataError(
            f"{path}: {name!r} of record {rows[0]:,} is no text. "
            "fill= stands for values that are missing, not for those that cannot be read.",
            hint=f"Write that value anew, as UTF-8, or leave fill= out, and such records too: {SKIP}.",
            path=path,
        )


def _field(name: str, databases: Sequence[LmdbRecords], starts: NDArray[np.int64]) -> PlannedField | str:
    """A field of all databases, null where one lacks it; or why it can be none."""
    if any(name in one.images for one in databases):
        if any(name in one.values for one in databases):
            return "images in some files, and texts in others"
        nothing = [list[Any]([None]) * one.count for one in databases]
        return _of_images(name, [one.images.get(name, lacking) for one, lacking in zip(databases, nothing, strict=True)], starts)
    values = [value for one in databases for value in one.values.get(name, [None] * one.count)]
    unreadable = [start + row for start, one in zip(starts.tolist(), databases, strict=False) for row in one.unreadable.get(name, ())]
    as_classes = True if any(name in one.folders for one in databases) else None
    return field_of_values(name, values, starts, as_classes=as_classes, unreadable=unreadable)


def _of_images(key: str, parts: Sequence[Places], starts: NDArray[np.int64]) -> PlannedField:
    """Images that are read when they are asked for."""
    table = np.array([(-1, 0) if one is None else (one.offset, one.nbytes) for places in parts for one in places], np.int64).reshape(-1, 2)

    def make(field: Field, stands: Any) -> Made:
        column = FileRanges(
            field=field,
            column=key,
            starts=starts,
            numbers=np.arange(len(parts), dtype=np.int32),
            offsets=np.ascontiguousarray(table[:, 0]),
            sizes=np.ascontiguousarray(table[:, 1]),
            lengths=Lengths.of(table[table[:, 0] >= 0, 1]),
            label="a value a record",
            fill=stands,
        )
        return column, int((table[:, 0] < 0).sum()) if stands is None else 0

    return PlannedField(dtype=np.dtype(np.uint8), shape=(), ragged=BYTES, make=make, is_mask=named_as_mask(key))

"""A source over tar archives: members found by their heads, labels held, images and texts read by offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, StreamloadError
from streamload.formats.columns.file_ranges import FileRanges
from streamload.formats.columns.packed_blocks import PackedBlocks, blocks_of
from streamload.formats.columns.packed_records import PackedRanges
from streamload.formats.naming.field_names import Fields
from streamload.formats.tables.planned_fields import Made, PlannedField, field_of_values, held_field, planned_source
from streamload.formats.tar import walk
from streamload.formats.tar.archive import Archive, held_fields, kind_of_member, names_of_files, notes_on_points, refuse_counted_endings
from streamload.formats.tar.arrays import array_field
from streamload.formats.tar.class_folders import folder_labels
from streamload.formats.tar.unread_members import refuse_unread
from streamload.images import named_as_mask
from streamload.kernels import tar_kernels
from streamload.nulls import SKIP
from streamload.omissions import MOST_NAMED, Omission
from streamload.schema import BYTES, Field
from streamload.source import Lengths, Source
from streamload.storage.compressed_file import open_unpacked
from streamload.storage.file_table import total_nbytes
from streamload.storage.files import Fingerprint, fingerprint, recheck

IMAGE, LABEL = "image", "label"
CLASSES = (LABEL, "cls", "cls2")
"""Fields whose texts are names of classes, however many there are."""
READING_THREADS = 8
"""Archives that are read at once."""


def plan_files(paths: Sequence[str], fields: Fields | None, *, fill: Any = None, on_damage: str = "raise") -> Source:
    """The source, planned anew."""
    fingerprints = [fingerprint(path) for path in paths]
    archives = _archives(paths, fingerprints)
    damage = [archive.damage for archive in archives if archive.damage is not None]
    if damage and (on_damage == "raise" or not any(archive.keys for archive in archives)):
        raise CorruptDataError(damage[0].message, hint=damage[0].hint, **damage[0].details | {"option": "on_damage"})
    starts = np.cumsum([0, *(len(one.keys) for one in archives)]).astype(np.int64)
    omissions = _omissions(archives)
    if not starts[-1]:
        raise _without_records(paths[0], omissions)
    refuse_counted_endings(paths[0], archives)
    if fill is not None:
        _refuse_damaged(archives)
    title = paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths):,} files)"
    packed = any(not archive.addressable for archive in archives)
    found, aside = _planned_fields(archives, fingerprints, starts, packed=packed)
    notes = [*notes_on_points(archives), *_add_labels_of_folders(archives, fields, starts, found, aside)]
    if fields is None and not packed:
        refuse_unread(title, archives, total_nbytes(fingerprints), list(found))
    return planned_source(
        found,
        fields,
        format_name="tar",
        title=title,
        path=paths[0],
        fingerprints=fingerprints,
        starts=starts,
        fill=fill,
        aside=aside,
        notes=notes,
        omissions=omissions,
    )


def _add_labels_of_folders(
    archives: Sequence[Archive], fields: Fields | None, starts: NDArray[np.int64], found: dict[str, PlannedField], aside: dict[str, str]
) -> list[str]:
    """Add the field of labels that folders of members say, where these are images alone, or labels are asked for; returns notes."""
    asked = LABEL in (fields.values() if isinstance(fields, Mapping) else fields or ())
    if any(one in found or one in aside for one in CLASSES) or not (asked or set(found) == {IMAGE}):
        return []
    labels = folder_labels(archives, asked=asked)
    if labels.values is not None:
        found[LABEL] = held_field(LABEL, [labels.values], starts)
    return [labels.note] if labels.note else []


def _without_records(path: str, omissions: Sequence[Omission]) -> CorruptDataError:
    """What is said of archives that hold no record: that they are empty, or what else they hold."""
    if not omissions:
        return CorruptDataError(f"{path} holds no records.", hint="Is it the right file, and was all of it fetched?", path=path)
    return CorruptDataError(
        f"{path} holds no member that could be a field of a record: {'; '.join(map(str, omissions))}.",
        hint="A record is made of members such as 0001.jpg and 0001.cls: what stands before the first point is its key.",
        path=path,
    )


def _planned_fields(
    archives: Sequence[Archive], fingerprints: Sequence[Fingerprint], starts: NDArray[np.int64], *, packed: bool
) -> tuple[dict[str, PlannedField], dict[str, str]]:
    """(found, aside): the fields that archives hold, and what speaks against those that are left out, by name.

    `starts`: the first record of each archive, and how many records there are; `packed`: whether an archive is compressed.
    """
    found: dict[str, PlannedField] = {}
    aside: dict[str, str] = {}
    files = names_of_files(archives)
    listed = {field: [name for name, of in files.items() if of == field] for field in dict.fromkeys(files.values())}
    members = {field: (names, _places(names, archives)) for field, names in listed.items()}
    blocks = blocks_of([(one[:, 0], one[:, 1]) for _, one in members.values()], starts) if packed and members else None
    for field, (names, places) in members.items():
        _add(field, _of_members(field, names, places, blocks, fingerprints, starts), found, aside)
    for source, field in held_fields(archives).items():
        column: list[Any] = [None] * int(starts[-1])
        for start, archive in zip(starts.tolist(), archives, strict=False):
            for row, value in archive.values.get(source, {}).items():
                column[start + row] = value
        bad = [start + row for start, one in zip(starts.tolist(), archives, strict=False) for name, row in one.bad if name == source[0]]
        made = field_of_values(field, column, starts, as_classes=True if field in CLASSES else None, unreadable=bad)
        _add(field, made, found, aside)
    return found, aside


def _archives(paths: Sequence[str], fingerprints: Sequence[Fingerprint]) -> list[Archive]:
    """What each archive holds; of many bytes several are walked through at once: heads lie far apart, and each waits for the disk."""
    found: list[Archive | None] = [None] * len(paths)
    if total_nbytes(fingerprints) >= walk.WORTH_NBYTES:
        from concurrent.futures import ThreadPoolExecutor

        tar_kernels()  # They are loaded once, before several threads ask for them.
        with ThreadPoolExecutor(min(READING_THREADS, len(paths)), thread_name_prefix="streamload-tar") as pool:
            try:
                found = list(pool.map(walk.walked, paths, [was.path for was in fingerprints]))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [_archive(path, was, one) for path, was, one in zip(paths, fingerprints, found, strict=True)]


def _archive(path: str, was: Fingerprint, archive: Archive | None) -> Archive:
    """The members of an archive, as a walk found them, or found now: as far as it is not damaged."""
    if archive is None:
        file = open_unpacked(was.path)
        try:
            archive = Archive(path, file)
        finally:
            file.close()
    recheck(was)
    return archive


def _refuse_damaged(archives: Sequence[Archive]) -> None:
    """Raise CorruptDataError where values would be filled in for a member that is there and cannot be read."""
    for error in (error for archive in archives for error in archive.bad.values()):
        raise CorruptDataError(
            f"{error.message} fill= stands for values that are missing, not for those that cannot be read.",
            hint=f"Replace that member, or leave fill= out, and such records too: {SKIP}.",
            **error.details,
        )


def _add(name: str, made: PlannedField | str, found: dict[str, PlannedField], aside: dict[str, str]) -> None:
    if isinstance(made, str):
        aside[name] = f"holds {made}" if made != "no record has one" else "has no values"
    else:
        found[name] = made


def _omissions(archives: Sequence[Archive]) -> list[Omission]:
    """Members that are not taken, by reason; and records of which something cannot be read."""
    found: list[Omission] = []
    for why in dict.fromkeys(why for archive in archives for why in archive.counts):
        names = [name for archive in archives for name in archive.left_out.get(why, ())]
        found.append(Omission.of("member", why, names[:MOST_NAMED], count=sum(archive.counts[why] for archive in archives)))
    bad: list[StreamloadError] = [error for archive in archives for error in archive.bad.values()]
    damage = [archive.damage.message for archive in archives if archive.damage is not None]
    if damage:
        found.append(Omission.of("record", "damaged", damage))
    if bad:
        found.append(Omission.of("member", "text or JSON that cannot be read", [error.message for error in bad]))
    return found


def _places(names: Sequence[str], archives: Sequence[Archive]) -> NDArray[np.int64]:
    """Where a field lies in each record, under any of its names: offset and length, -1 and 0 where nowhere; shape (records, 2)."""
    parts: list[NDArray[np.int64]] = []
    for archive in archives:
        places = np.full((len(archive.keys), 2), -1, np.int64)
        for name in names:
            own = archive.places.get(name)
            if own is not None:
                places[own[:, 0] >= 0] = own[own[:, 0] >= 0]
        parts.append(places)
    found = np.concatenate(parts)
    found[found[:, 0] < 0, 1] = 0
    return found


def _of_members(
    key: str,
    names: Sequence[str],
    places: NDArray[np.int64],
    blocks: PackedBlocks | None,
    fingerprints: Sequence[Fingerprint],
    starts: NDArray[np.int64],
) -> PlannedField | str:
    """A field of members that are read when they are asked for, of archives that are compressed where there are `blocks`; or why it
    can be none."""
    kinds = {kind_of_member(name) for name in names}
    if kinds == {"npy"}:
        return array_field(key, places, blocks, fingerprints, starts)
    if kinds != {"image"}:
        return f"members of several kinds, .{' and .'.join(names[:3])}"
    offsets, sizes = np.ascontiguousarray(places[:, 0]), np.ascontiguousarray(places[:, 1])
    lengths, missing = Lengths.of(sizes[offsets >= 0]), int((offsets < 0).sum())

    def make(field: Field, stands: Any) -> Made:
        nulls = missing if stands is None else 0
        if blocks is not None:
            label = "a member a record, compressed as a whole"
            return PackedRanges(
                field=field, column=key, blocks=blocks, offsets=offsets, sizes=sizes, lengths=lengths, label=label, fill=stands
            ), nulls
        return FileRanges(
            field=field,
            column=key,
            starts=starts,
            numbers=np.arange(len(fingerprints), dtype=np.int32),
            offsets=offsets,
            sizes=sizes,
            lengths=lengths,
            label="a member a record",
            fill=stands,
        ), nulls

    return PlannedField(dtype=np.dtype(np.uint8), shape=(), ragged=BYTES, make=make, is_mask=named_as_mask(key))

"""Ways in which a file could be read, where more than one is likely: each with the arguments that ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamload.errors import ConfigError
from streamload.formats.hdf5.discovery.families import Family, families, star_of
from streamload.formats.hdf5.discovery.field_selection import Found, argument, named_fields
from streamload.formats.hdf5.discovery.links import MissingPathError, Tree, names_in
from streamload.formats.hdf5.metadata import FIELD_NAME
from streamload.formats.hdf5.request import Axis
from streamload.formats.naming.field_names import matches
from streamload.formats.split_choice import is_column, splits_beside

MOST_FIELDS = 12
"""Fields that an argument lists; a reading of more is not shown."""
MOST_READINGS = 4
LITTLE = 0.1
"""The share of a family's bytes that may be left out with a note, where nothing else is as long."""
GROUP = "group"
"""What a field that names groups is called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One way to read a file."""

    fields: Mapping[str, str] | Sequence[str]
    record_axis: Axis
    records: int
    about: bool = False
    """Whether the number of records is an estimate."""

    def __str__(self) -> str:
        axis = "" if self.record_axis == 0 else f", record_axis={self.record_axis}"
        return f"fields={self.fields}{axis} ({'about ' * self.about}{self.records:,} record{'s' * (self.records != 1)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileContents:
    """What a file holds, as far as it was looked at."""

    tree: Tree
    arrays: Sequence[Found]
    """Datasets that have axes."""
    singles: Sequence[Found]
    """Datasets of a single value."""


def refuse_unsafe(layout: FileContents, chosen: Sequence[Found], left_out: Sequence[Found]) -> None:
    """Raise ConfigError, with all readings, unless it is safe to read the datasets `chosen` along their first axis, and no others."""
    why = _unsafe(layout, chosen, left_out)
    if why:
        alike = {id(one) for family in families(layout.arrays) for one in family.members.values()}
        others = [one for one in layout.arrays if id(one) not in alike]
        splits = _by_split(chosen)
        together = [Reading(fields=argument(named_fields(chosen)), record_axis=0, records=chosen[0].stored.records)]
        whole = together if splits or (not left_out and len(chosen) <= MOST_FIELDS) else []
        readings = [*splits, *(whole if splits else ()), *stacks_and_joins(layout), *_by_length(others, -1), *_by_length(layout.arrays, 0)]
        raise refusal(layout, why, readings, kept=whole)


def _unsafe(layout: FileContents, chosen: Sequence[Found], left_out: Sequence[Found]) -> str:
    """Why a guess is not safe; "" where it is."""
    records = chosen[0].stored.records
    if layout.tree.crowded:
        return "it holds more than was looked at"
    found = families(layout.arrays)
    within: dict[tuple[str, ...], set[int]] = {}
    for family in found:
        within.setdefault(family.before, set()).update(map(id, family.members.values()))
    ours = {id(one) for one in chosen}
    theirs = {id(one) for one in left_out}
    for family in found:
        # A dataset that says that its path is the name of a field is one, however many are like it.
        inside = [one for one in family.members.values() if id(one) in ours and one.stored.attribute(FIELD_NAME) != one.stored.key]
        alike = len({one.stored.shape for one in inside}) == 1
        where = "lie in sibling groups" if family.after else "differ in their number"
        if (family.after or family.counts_records) and len(inside) > 1 and alike and ours <= within[family.before]:
            return f"'{inside[0].stored.key}' and '{inside[1].stored.key}', of one shape, {where}"
        apart = next((one for one in family.members.values() if id(one) in theirs and one.stored.records), None)
        if inside and apart is not None and family.numbered and not _is_by_the_way(family, inside, chosen, left_out):
            several = f"{inside[0].stored.records:,} records and '{apart.stored.key}' has {apart.stored.records:,}"
            return f"'{inside[0].stored.key}' has {several}, and their paths {where}"
        if not family.after and len(inside) > 1 and family.lies_apart:
            others = "another dataset like it lie" if len(inside) == 2 else f"{len(inside) - 1:,} datasets like it lie"
            return f"'{inside[0].stored.key}' and {others} in files of their own"
        if not family.after and len(inside) > max(records, 2) and len(inside[0].stored.shape) > 1:
            return f"'{inside[0].stored.key}' and {len(inside) - 1:,} datasets like it have {records:,} along their first axis"
    splits = _by_split(chosen)
    if splits:
        first, other = (next(iter(one.fields)) for one in splits[:2])
        return f"'{first}' and '{other}' are of two splits, and would be fields of one record"
    lost, kept = (sum(one.stored.nbytes for one in some if one.stored.written) for some in (left_out, chosen))
    if lost > kept:
        return f"{lost / (lost + kept):.0%} of its bytes would be left out if the longest set of fields were read alone"
    last = next(iter(_sets(layout.arrays, -1)), [])
    if len(last) > max(1, len(chosen)):
        counts = last[0].stored.shape[-1]
        if counts > max(1, records) or (counts > 1 and any(len(one.stored.shape) > 1 and one.stored.records == 1 for one in last)):
            return f"{len(last)} datasets have {counts:,} along their last axis"
    return ""


def _is_by_the_way(family: Family, inside: Sequence[Found], chosen: Sequence[Found], left_out: Sequence[Found]) -> bool:
    """Whether what is left out of a family is little, and nothing is as long as it: one dataset is meant, as others are as long as that."""
    if family.after or any(family.beside) or len(inside) > 1:
        return False
    members = {id(one) for one in family.members.values()}
    lengths = {one.stored.records for one in left_out if id(one) in members}
    followed = any(one.stored.records in lengths and id(one) not in members for one in left_out)
    lost = sum(one.stored.nbytes for one in left_out if id(one) in members)
    return not followed and len(chosen) > 1 and lost < LITTLE * family.nbytes


def refusal(layout: FileContents, why: str, readings: Sequence[Reading], *, kept: Sequence[Reading] = ()) -> ConfigError:
    """The error that lists readings: those that come first, and those of `kept` wherever they stand."""
    path = layout.tree.path
    distinct = list({str(reading): reading for reading in (*readings, *kept) if reading.records}.values())
    last = [one for one in distinct[MOST_READINGS:] if str(one) in map(str, kept)]
    distinct = distinct[: MOST_READINGS - len(last)] + last
    listed = "; or ".join(map(str, distinct))
    return ConfigError(
        f"{path}: what a record is cannot be told: {why}.",
        hint=f"Say it: {listed}." if listed else "Choose datasets that belong together, by their names.",
        path=path,
        readings=[
            {"fields": reading.fields, "record_axis": reading.record_axis, "records": reading.records, "about": reading.about}
            for reading in distinct
        ],
    )


def stacks_and_joins(layout: FileContents) -> list[Reading]:
    """Datasets in sibling groups, each one record, and joined along their first axis."""
    found = families([*layout.arrays, *layout.singles])
    readings: list[Reading] = []
    for before in dict.fromkeys(family.before for family in found):
        some = [family for family in found if family.before == before]
        names = some[0].names
        kind = bool(some[0].after), some[0].beside[0], any(some[0].beside)
        together = [one for one in some if one.names == names and (bool(one.after), one.beside[0], any(one.beside)) == kind]
        readings += _of(layout, together)
    return readings


def _of(layout: FileContents, together: Sequence[Family]) -> list[Reading]:
    first = together[0]
    siblings, count = _siblings(layout.tree, first)
    star = "*" if any(first.beside) else star_of(list(first.members), [name for name in siblings if name not in first.members])
    if not layout.tree.crowded and any(_leads_to(layout.tree, first, name) for name in siblings if _is_other(name, first, star)):
        return []
    total = (
        sum(matches(name, star.join(first.beside)) for name in siblings) if "/".join((*first.before, "")) in layout.tree.crowded else count
    )
    about = total != count
    stacked = [family for family in together if len({one.stored.shape for one in family.members.values()}) == 1 or _can_be_ragged(family)]
    joined = [family for family in together if all(one.stored.axis == 0 for one in family.members.values())]
    lengths = [[one.stored.records for one in family.members.values()] for family in joined]
    joined = [family for family, length in zip(joined, lengths, strict=True) if length == lengths[0]]
    group = {GROUP: "/".join((*first.before, star))} if first.after else {}
    readings: list[Reading] = []
    if stacked:
        readings.append(Reading(fields=_fields(stacked, star), record_axis=None, records=total))
    if joined:
        records = sum(lengths[0]) * total // max(1, count)
        readings.append(Reading(fields=_fields(joined, star) | group, record_axis=0, records=records, about=about))
    several = len({one.stored.records for one in first.members.values()}) > 1
    return readings[::-1] if several or first.lies_apart else readings


def _is_other(name: str, family: Family, star: str) -> bool:
    return name not in family.members and matches(name, star)


def _leads_to(tree: Tree, family: Family, name: str) -> bool:
    """Whether something lies where the dataset of this name would: none of the family. Raises SourceError for a link that leads nowhere."""
    try:
        tree.locate(family.place(name))
    except MissingPathError:
        return False
    return True


def _can_be_ragged(family: Family) -> bool:
    return all(one.stored.axis == 0 and not one.stored.ragged for one in family.members.values())


def _fields(some: Sequence[Family], star: str) -> dict[str, str]:
    often = Counter(family.field for family in some)
    return {("/".join(family.after) if often[family.field] > 1 else family.field) or "x": family.path(star) for family in some}


def _siblings(tree: Tree, family: Family) -> tuple[list[str], int]:
    """The names that stand where the names of a family differ, and how many of them it has."""
    try:
        group = tree.locate("/".join(family.before)).node
    except MissingPathError:
        return list(family.members), len(family.members)
    return [name.decode(errors="replace") for name in names_in(group)], len(family.members)  # pyright: ignore[reportArgumentType]


def _sets(arrays: Sequence[Found], axis: int) -> list[list[Found]]:
    """Datasets that agree on the length of an axis, those of most bytes first."""
    sets: dict[int, list[Found]] = {}
    for one in arrays:
        if not one.stored.ragged or axis == 0:
            sets.setdefault(one.stored.shape[: len(one.dataset.shape)][axis], []).append(one)
    return sorted(sets.values(), key=lambda group: -sum(one.stored.nbytes for one in group))


def _by_length(arrays: Sequence[Found], axis: int) -> list[Reading]:
    readings: list[Reading] = []
    for group in _sets(arrays, axis)[:2]:
        several = len(group) > 1 and any(len(one.stored.shape) > 1 and one.stored.shape[0] != one.stored.shape[-1] for one in group)
        if len(group) <= MOST_FIELDS and (axis == 0 or several):
            records = group[0].stored.shape[: len(group[0].dataset.shape)][axis]
            readings.append(Reading(fields=argument(named_fields(group)), record_axis=axis, records=records))
    return readings


def _by_split(chosen: Sequence[Found]) -> list[Reading]:
    """Datasets of each split by themselves, where they say that they are of several.

    Nothing where they are columns of a table: beside datasets of no split, and each a number of a record.
    """
    plain = {one.stored.key: one for one in chosen if one.stored.attribute(FIELD_NAME) != one.stored.key}
    parts = splits_beside(list(plain), lambda key: _is_column(plain[key]))
    named = [named_fields([plain[key] for key in keys]) for keys in parts.values()]
    return [Reading(fields=[one.stored.key for _, one in some], record_axis=0, records=some[0][1].stored.records) for some in named]


def _is_column(one: Found) -> bool:
    stored = one.stored
    return not stored.ragged and is_column(stored.key, stored.native, stored.shape[1:])

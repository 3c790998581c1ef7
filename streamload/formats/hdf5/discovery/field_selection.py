"""Which datasets of a file are the fields of its records: asked for by name, or found by their common length."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsupportedFeatureError
from streamload.formats.hdf5.metadata import FIELD_NAME, DatasetInfo
from streamload.formats.naming.pairs import are_a_pair
from streamload.sizes import format_nbytes


class Found(NamedTuple):
    """A dataset in an open file."""

    dataset: Any
    """Of the HDF5 library."""
    stored: DatasetInfo
    """Seen along its first axis."""


class LeftOut(NamedTuple):
    """A dataset that cannot serve."""

    name: str
    """The path to it."""
    nbytes: int
    """Of all its values."""
    error: SourceError | ConfigError
    """What asking for it raises."""


MOST_LISTED = 12
"""Names that an error lists."""


def find(candidates: Sequence[Found], odd: Sequence[LeftOut], file_path: str, notes: list[str]) -> list[tuple[str, Found]]:
    """The fields of a file that nobody named: the datasets of one length that hold the most bytes. `odd` are those that cannot serve.

    The field with the largest records comes first, the others in the order of their names. Raises ConfigError where
    nothing fits or two guesses are equally good, SchemaMismatchError where a pair such as x and y differs in length.
    """
    largest = max(odd, key=lambda one: one.nbytes, default=None)
    if not candidates:
        if largest is not None and not isinstance(largest.error, (ConfigError, UnsupportedFeatureError)):
            raise largest.error
        raise ConfigError(
            f"{file_path} holds no dataset whose first axis could count records" + (f" ({notes[0]})." if notes else "."),
            hint="Write arrays of one length, one a field; or name datasets with fields=[...] to learn why they do not serve.",
            path=file_path,
        )
    ranked = _ranked(candidates)
    best = ranked[0]
    if len(ranked) > 1 and _nbytes(best) == _nbytes(ranked[1]) and _nbytes(best):
        options = [f"fields={[one.stored.key for one in group]} ({group[0].stored.records:,} records)" for group in ranked[:2]]
        raise ConfigError(
            f"{file_path} holds two sets of fields, equally large: {options[0]}; {options[1]}.",
            hint="Choose one with the argument shown.",
            path=file_path,
        )
    if best[0].stored.records and not any(one.stored.written for one in best):
        raise never_written(best[0].stored, file_path)
    if largest is not None and largest.nbytes > _nbytes(best):
        raise largest.error
    left_out = [one for group in ranked[1:] for one in group]
    _refuse_unequal_pairs(best, left_out, file_path)
    chosen = named_fields(best)
    if len(candidates) > 1:
        notes.insert(0, f"fields were found, not named; fields={argument(chosen)} says the same")
    records = best[0].stored.records
    notes.extend(f"'{one.stored.key}' left out: {one.stored.records:,} records, not {records:,}" for one in left_out[:MOST_LISTED])
    if len(left_out) > MOST_LISTED:
        notes.append(f"{len(left_out) - MOST_LISTED} more datasets of other lengths left out")
    return chosen


def best_of(candidates: Sequence[Found]) -> tuple[list[Found], list[Found]]:
    """The datasets of one length that hold the most bytes, and the others."""
    best, *others = _ranked(candidates)
    return best, [one for group in others for one in group]


def named_fields(found: Sequence[Found]) -> list[tuple[str, Found]]:
    """Datasets as fields with names: that with the largest records first."""
    first = max(found, key=lambda one: one.stored.record_nbytes)
    ordered = [first, *(one for one in found if one is not first)]
    return list(zip(_names([one.stored for one in ordered]), ordered, strict=True))


def _ranked(candidates: Sequence[Found]) -> list[list[Found]]:
    sets: dict[int, list[Found]] = {}
    for one in candidates:
        sets.setdefault(one.stored.records, []).append(one)
    return sorted(sets.values(), key=lambda group: -_nbytes(group))


def _nbytes(group: Sequence[Found]) -> int:
    return sum(one.stored.nbytes for one in group if one.stored.written)


def never_written(stored: DatasetInfo, file_path: str) -> CorruptDataError:
    """The error for a dataset without data where data was expected."""
    return CorruptDataError(
        f"{file_path}: dataset '{stored.key}' claims {stored.records:,} records ({format_nbytes(stored.nbytes)}), "
        "and no data is stored for them.",
        hint=f"Was the program that wrote it interrupted? Write it again; fields=[{stored.place!r}] delivers fill values.",
        path=file_path,
        dataset=stored.key,
    )


def unequal(lengths: Mapping[str, int], file_path: str) -> SchemaMismatchError:
    """The error for fields that differ in their number of records."""
    listed = ", ".join(f"{name}: {count:,}" for name, count in lengths.items())
    return SchemaMismatchError(
        f"{file_path}: fields differ in their number of records ({listed}).",
        hint="The file is incomplete, or the fields do not belong together: choose with fields=[...].",
        path=file_path,
    )


def different(name: str, first: DatasetInfo | None, here: DatasetInfo | None, first_path: str, path: str) -> SchemaMismatchError:
    """The error for a field that is not in a file as it is in the first one."""
    return SchemaMismatchError(
        f"Field '{name}' differs: {first} in {first_path}, {here if here is not None else 'missing'} in {path}.",
        hint="Files of one source have one schema: open them apart, or choose other fields with fields=[...].",
        path=path,
        dataset=name,
    )


def match(asked: str, candidates: Sequence[Found], file_path: str) -> list[Found]:
    """The candidates meant by a name that is no full path: by last component, or a compound dataset with all its members.

    Raises ConfigError with the names that come close where there is none, or more than one.
    """
    key = asked.strip("/")
    groups: dict[str, list[Found]] = {}
    for one in candidates:
        for known in {one.stored.key, one.stored.place, _leaf(one.stored)}:
            groups.setdefault(known, []).append(one)
    found = groups.get(key, [])
    keys = [one.stored.key for one in found]
    if len({one.stored.place for one in found}) > 1:
        raise ConfigError(
            f"{file_path} holds more than one dataset called {asked!r}: {', '.join(map(repr, keys[:MOST_LISTED]))}.",
            hint="Give the full path.",
            path=file_path,
        )
    if not found:
        inside = [repr(one.stored.key) for one in candidates if one.stored.place.startswith(f"{key}/")]
        if inside:
            listed = ", ".join(inside[:MOST_LISTED]) + (", ..." if len(inside) > MOST_LISTED else "")
            raise ConfigError(
                f"{file_path}: {asked!r} is a group, and no dataset; it holds {listed}.",
                hint="Name one of these.",
                path=file_path,
            )
        close = difflib.get_close_matches(key, groups, n=1)
        known = [one.stored.key for one in candidates]
        listed = ", ".join(map(repr, known[:MOST_LISTED])) + (", ..." if len(known) > MOST_LISTED else "")
        raise ConfigError(
            f"{file_path} holds no dataset {asked!r}; it holds {listed or 'none that could serve'}.",
            hint=f"Did you mean {close[0]!r}?" if close else "Choose among these with fields=[...].",
            path=file_path,
        )
    return found


def named(found: Sequence[tuple[str | None, list[Found]]]) -> list[tuple[str, Found]]:
    """Requests and what they led to, as fields with names: members of a compound get its name before theirs."""
    plain = [(name, one, len(group) > 1) for name, group in found for one in group]
    own = iter(_names([one.stored for name, one, _ in plain if name is None]))
    return [(next(own) if name is None else ".".join((name, *one.stored.member)) if several else name, one) for name, one, several in plain]


def _leaf(stored: DatasetInfo) -> str:
    return ".".join((stored.place.rsplit("/", 1)[-1], *stored.member))


def _names(chosen: Sequence[DatasetInfo]) -> list[str]:
    """Last components of the paths where these are unique, full paths elsewhere, and where a dataset says that its path is its name."""
    leaves = Counter(map(_leaf, chosen))
    return [one.key if leaves[_leaf(one)] > 1 or one.attribute(FIELD_NAME) == one.key else _leaf(one) for one in chosen]


def argument(chosen: Sequence[tuple[str, Found]]) -> list[str] | dict[str, str]:
    """What asks for fields."""
    if all(name == found.stored.key for name, found in chosen):
        return [name for name, _ in chosen]
    return {name: found.stored.key for name, found in chosen}


def _refuse_unequal_pairs(best: Sequence[Found], left_out: Sequence[Found], file_path: str) -> None:
    for one in (found.stored for found in best):
        for found in left_out:
            other = found.stored
            fewer, more = sorted((one.records, other.records))
            texts = other.dtype.kind == "S" or other.ragged or _leaf(one) == _leaf(other)
            alone = len(best) == len(left_out) == 1 and not texts and 2 * fewer >= more
            if alone or (fewer and are_a_pair(one.key, other.key)):
                axis = _axis_of(one.records, found)
                hint = f"ile is incomplete, or they do not belong together: choose, for example fields=[{one.key!r}]."
                along = f"'{other.key}' has {one.records:,} along axis {axis}: record_axis={{{other.key!r}: {axis}}} counts these."
                raise SchemaMismatchError(
                    f"{file_path}: '{one.key}' has {one.records:,} records and '{other.key}' has {other.records:,}: "
                    "they look like a pair that should agree.",
                    hint=f"{along} Else the f{hint}" if axis else f"The f{hint}",
                    path=file_path,
                    dataset=other.key,
                )


def _axis_of(records: int, other: Found) -> int:
    """The only axis, but the first, along which a dataset has so many: MATLAB has columns as one row. 0 where there is none."""
    axes = [axis for axis, length in enumerate(other.dataset.shape) if axis and length == records]
    return axes[0] if len(axes) == 1 and records > 1 and not other.stored.ragged else 0

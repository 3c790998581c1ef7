"""Which arrays of a store are the fields of its records: asked for by name, or found by their common length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamload.errors import ConfigError, SchemaMismatchError, UnsafeSourceError, UnsupportedFeatureError
from streamload.formats.naming.field_names import Fields, is_pattern, matches, natural_key, plain_names
from streamload.formats.naming.pairs import are_a_pair
from streamload.formats.zarr.metadata import ArrayInfo
from streamload.formats.zarr.stores import Store
from streamload.formats.zarr.tree import ALONE, Nodes

MOST_LISTED = 12
"""Names that an error lists."""

Chosen = Mapping[str, str | Sequence[str]]
"""{name to deliver: path in the store, or several}."""


def named(store: Store, nodes: Nodes, fields: Fields) -> Chosen:
    """The arrays that are asked for, by path in the store, or by the name that they would be given.

    Raises ConfigError where one is named twice, UnsafeSourceError where one could run anything. A name that is unknown stays.
    """
    plain = plain_names(list(nodes.arrays))
    names = {key: one for one, key in plain.items()}

    def key_of(asked: str) -> str:
        key = asked if asked in nodes.arrays else plain.get(asked, asked)
        if key in nodes.unsafe:
            raise _unsafe(store, key, nodes)
        return key

    if isinstance(fields, Mapping):
        return {one: key_of(asked) if isinstance(asked, str) else [*map(key_of, asked)] for one, asked in fields.items()}
    chosen: dict[str, str] = {}
    for asked in fields:
        pattern = is_pattern(asked) and asked not in nodes.arrays
        found = sorted((key for key in nodes.arrays if pattern and matches(key, asked)), key=natural_key) or [key_of(asked)]
        for key in found:
            if names.get(key, key) in chosen:
                raise ConfigError(f"fields names {asked!r} twice.", hint="Name each field once, or rename with fields={name: column}.")
            chosen[names.get(key, key)] = key
    return chosen


def guessed(store: Store, nodes: Nodes, notes: list[str]) -> Chosen:
    """The arrays of one length that hold the most bytes; what is left out is noted.

    Raises ConfigError where two lengths are equally good, SchemaMismatchError where a pair such as x and y differs in length.
    """
    if not nodes.arrays:
        raise _nothing(store, nodes)
    sets: dict[int, list[ArrayInfo]] = {}
    for info in nodes.arrays.values():
        sets.setdefault(info.shape[0], []).append(info)
    ranked = sorted(sets.values(), key=_nbytes, reverse=True)
    if len(ranked) > 1 and _nbytes(ranked[0]) == _nbytes(ranked[1]) > 0:
        options = [f"fields={[key_in(one) for one in group]} ({group[0].shape[0]:,} records)" for group in ranked[:2]]
        raise ConfigError(
            f"{store.path} holds two sets of arrays, equally large: {options[0]}; {options[1]}.",
            hint="Choose one with the argument shown.",
            path=store.path,
        )
    left_out = [one for group in ranked[1:] for one in group]
    _refuse_unequal_pairs(store, ranked[0], left_out)
    records = ranked[0][0].shape[0]
    others = {key_in(one): f"has {one.shape[0]:,} records, not {records:,}" for one in left_out} | nodes.aside | nodes.unsafe
    notes += [f"'{key}' left out: it {why}" for key, why in sorted(others.items())]
    return plain_names([key_in(one) for one in ranked[0]])


def key_in(info: ArrayInfo) -> str:
    """What `fields=` calls an array."""
    return info.key or ALONE


def _nbytes(group: Sequence[ArrayInfo]) -> int:
    return sum(one.nbytes for one in group)


def _nothing(store: Store, nodes: Nodes) -> UnsafeSourceError | UnsupportedFeatureError:
    if nodes.unsafe:
        return _unsafe(store, next(iter(nodes.unsafe)), nodes)
    told = "; ".join(f"'{key}' {why}" for key, why in [*nodes.aside.items()][:MOST_LISTED]) or "it has no arrays"
    return UnsupportedFeatureError(
        f"{store.path} holds no array that could be a field: {told}.", hint="Records are arrays of numbers of one length.", path=store.path
    )


def _refuse_unequal_pairs(store: Store, best: Sequence[ArrayInfo], left_out: Sequence[ArrayInfo]) -> None:
    for one in best:
        for other in left_out:
            fewer, more = sorted((one.shape[0], other.shape[0]))
            alone = len(best) == len(left_out) == 1 and 2 * fewer >= more
            if alone or (fewer and are_a_pair(one.key, other.key)):
                raise SchemaMismatchError(
                    f"{store.path}: '{one.key}' has {one.shape[0]:,} records and '{other.key}' has {other.shape[0]:,}: "
                    "they look like a pair that should agree.",
                    hint=f"The store is incomplete, or they do not belong together: choose, for example fields=[{one.key!r}].",
                    path=store.path,
                    dataset=other.key,
                )


def _unsafe(store: Store, key: str, nodes: Nodes) -> UnsafeSourceError:
    return UnsafeSourceError(
        f"{store.path}: '{key}' {nodes.unsafe[key]}.",
        hint="Choose other arrays with fields=[...], or save this one as numbers where you trust it.",
        path=store.path,
        dataset=key,
    )

"""Fields that were asked for, as the first file settles them: datasets by path or name, members of compounds, patterns."""

from __future__ import annotations

import difflib
from dataclasses import replace
from itertools import islice

from h5py import h5d  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import ConfigError, UnsupportedFeatureError
from streamload.formats.hdf5.discovery import field_selection
from streamload.formats.hdf5.discovery.candidates import candidates_in, examined_at, told
from streamload.formats.hdf5.discovery.collecting import Wish
from streamload.formats.hdf5.discovery.field_selection import Found
from streamload.formats.hdf5.discovery.links import LocatedNode, MissingPathError, Tree, names_in
from streamload.formats.hdf5.discovery.patterns import walk
from streamload.formats.hdf5.discovery.sparse import COLUMNS, VALUES, Sparse, sparse_at
from streamload.formats.hdf5.metadata import Beat
from streamload.formats.hdf5.request import Axis, Request
from streamload.formats.naming.field_names import is_pattern

MOST_TRIED = 1000
"""Things that a pattern leads to among which a dataset is looked for."""
MOST_LISTED = 8
"""Names that an error lists."""


def asked_wishes(tree: Tree, request: Request, notes: list[str], beat: Beat) -> list[Wish]:
    """The fields of a request, in its order. Raises ConfigError for what is not in the file."""
    found: list[tuple[str | None, list[Found]]] = []
    paths: list[str | None] = []
    """For each field, the path or pattern that leads to it, where it has one; None for a member of what was found before."""
    groups: dict[int, str] = {}
    matrices: dict[int, Sparse] = {}
    listed: list[Found] | None = None
    for name, asked in request.fields or ():
        matrix = sparse_at(tree, asked.strip("/"))
        if matrix is not None:
            matrices[len(found)] = matrix
            found.append((name, []))
            paths.append(None)
            continue
        single = request.axis_of(name, asked, asked.rsplit("/", 1)[-1]) is None
        there, path = _at(tree, asked, notes, single=single), asked
        if there is None and is_pattern(asked):
            there, path = _first_match(tree, asked, notes, single=single)
            if there is None:
                groups[len(found)] = path
                there = []
        elif there is None:
            listed = candidates_in(tree, [], [], beat) if listed is None else listed
            there = field_selection.match(asked, listed, tree.path)
            path = there[0].stored.place
        found.append((name, there))
        paths.append(path)
    wishes = [_within_matrix(tree, wish) for wish in _settled(request, found, paths, groups, matrices)]
    asked_for = [part for name, asked in request.fields or () for part in (name, asked, asked.rsplit("/", 1)[-1])]
    held = [part for wish in wishes for part in (wish.name, wish.first.key if wish.first is not None else None)]
    request.refuse_unknown_axes([*asked_for, *held])
    return wishes


def dense_wish(name: str, matrix: Sparse) -> Wish:
    """The field of the rows of a sparse matrix."""
    place, stored = matrix.values
    assert isinstance(place.node, h5d.DatasetID)
    return Wish(name=name, path=stored.place, pattern=False, axis=0, first=stored, dataset=place.node, matrix=matrix, dense=True)


def _within_matrix(tree: Tree, wish: Wish) -> Wish:
    """A field of a dataset; of the values of a sparse matrix or of their columns, the rows are the records."""
    group, _, name = wish.path.rpartition("/")
    if wish.pattern or wish.matrix is not None or not group or name not in (VALUES, COLUMNS) or wish.axis != 0:
        return wish
    matrix = sparse_at(tree, group)
    return wish if matrix is None else replace(wish, matrix=matrix)


def _settled(
    request: Request,
    found: list[tuple[str | None, list[Found]]],
    paths: list[str | None],
    groups: dict[int, str],
    matrices: dict[int, Sparse],
) -> list[Wish]:
    named = iter(field_selection.named(found))
    wishes: list[Wish] = []
    for number, ((name, asked), (_, there)) in enumerate(zip(request.fields or (), found, strict=True)):
        if number in groups:
            own = name or asked.strip("/").rsplit("/", 1)[-1].strip("*?_-. ") or "group"
            wishes.append(Wish(name=own, path=groups[number], pattern=True, axis=0, first=None, dataset=None))
        if number in matrices:
            wishes.append(dense_wish(name or asked.strip("/").rsplit("/", 1)[-1], matrices[number]))
        for one in there:
            delivered = next(named)[0]
            path = paths[number]
            pattern = path is not None and is_pattern(path) and one.stored.place != path
            axis = request.axis_of(name, asked, delivered, one.stored.key)
            wishes.append(
                Wish(
                    name=delivered,
                    path=path if pattern and path is not None else one.stored.place,
                    pattern=pattern,
                    axis=_axis(axis, one),
                    first=one.stored,
                    dataset=one.dataset,
                )
            )
    return wishes


def _axis(axis: Axis, one: Found) -> Axis:
    """The axis that counts records, counted from the front; of a single value there is none."""
    rank = len(one.dataset.shape)
    return axis + rank if axis is not None and -rank <= axis < 0 else axis


def _first_match(tree: Tree, asked: str, notes: list[str], *, single: bool) -> tuple[list[Found] | None, str]:
    """The first dataset that a pattern leads to (None: it leads to groups), and the pattern without names of members."""
    path = head = asked.strip("/")
    groups = False
    while True:
        members = tuple(path[len(head) + 1 :].split(".")) if head != path else ()
        for match in islice(walk(tree, {head: head}), MOST_TRIED):
            groups |= not members and not isinstance(match.place.node, h5d.DatasetID)
            if isinstance(match.place.node, h5d.DatasetID):
                there = _members_at(tree, match.place, match.path, members, notes, single=single)
                if there:
                    return there, head
        if groups:
            return None, path
        dot = head.rfind(".")
        if dot <= head.rfind("/"):
            raise _no_match(tree, asked)
        head = head[:dot]


def _no_match(tree: Tree, asked: str) -> ConfigError:
    names = [name.decode(errors="replace") for name in names_in(tree.root.node)]
    close = difflib.get_close_matches(asked.strip("/").split("/")[0].strip("*"), names, n=1, cutoff=0.4)
    listed = ", ".join(map(repr, sorted(names)[:MOST_LISTED])) + ", ..." * (len(names) > MOST_LISTED)
    meant = f"Did you mean something like {close[0]!r}? " if close else ""
    return ConfigError(
        f"{tree.path}: nothing in it matches {asked!r}; it holds {listed or 'nothing'}.",
        hint=meant + '"*" stands for letters within one part of a path: "data/*/image".',
        path=tree.path,
    )


def _at(tree: Tree, asked: str, notes: list[str], *, single: bool) -> list[Found] | None:
    """The dataset at a full path, or a member of a compound there ("table.image"); None if there is none."""
    head, dot = asked, len(asked)
    while True:
        place = located(tree, head.strip("/"))
        if place is not None and isinstance(place.node, h5d.DatasetID):
            members = tuple(asked[dot + 1 :].split(".")) if dot < len(asked) else ()
            return _members_at(tree, place, head.strip("/"), members, notes, single=single) or None
        dot = asked.rfind(".", 0, dot)
        if dot <= 0:
            return None
        head = asked[:dot]


def _members_at(tree: Tree, place: LocatedNode, path: str, members: tuple[str, ...], notes: list[str], *, single: bool) -> list[Found]:
    """A dataset, or those of its members whose names begin as `members`. Raises UnsupportedFeatureError where none can be delivered."""
    left_out: list[tuple[str, str]] = []
    found = [one for one in examined_at(place, path, left_out, single=single) if one.stored.member[: len(members)] == members]
    asked = ".".join((path, *members))
    odd = [(name, why) for name, why in left_out if (name + ".").startswith(asked + ".")]
    if odd and not found:
        raise UnsupportedFeatureError(
            f"{tree.path}: '{odd[0][0]}' holds {odd[0][1]}, which cannot be delivered as arrays of one shape.",
            hint="Choose other fields with fields=[...].",
            path=tree.path,
            dataset=odd[0][0],
        )
    notes.extend(map(told, odd))
    return found


def located(tree: Tree, path: str) -> LocatedNode | None:
    """What a path leads to; None for nothing."""
    try:
        return tree.locate(path)
    except MissingPathError:
        return None

"""Fields of every file of a source, collected file after file: single datasets, or all that a pattern leads to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import basename

import numpy as np
from h5py import h5d  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from streamload.errors import SchemaMismatchError
from streamload.formats.hdf5.discovery import field_selection
from streamload.formats.hdf5.discovery.links import LocatedNode, MissingPathError, Tree
from streamload.formats.hdf5.discovery.patterns import Match, walk
from streamload.formats.hdf5.discovery.series import FieldPieces, Series
from streamload.formats.hdf5.discovery.source_files import SourceFiles
from streamload.formats.hdf5.discovery.sparse import Sparse, sparse_at
from streamload.formats.hdf5.metadata import DatasetInfo
from streamload.formats.hdf5.request import Axis
from streamload.formats.naming.field_names import is_pattern, stands_for
from streamload.schema import ARRAY

MOST_LISTED = 3
"""Names that an error lists."""

MATCHES_A_BEAT = 64
"""Matches of patterns after which the work is said to go on."""
Key = tuple[str, ...]
"""What the stars of a pattern stand for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A field, as the first file has settled it."""

    name: str
    """As it is delivered."""
    path: str
    """Of its dataset, or a pattern."""
    pattern: bool
    axis: Axis
    first: DatasetInfo | None
    """Its first dataset, seen along its first axis; None for a field that names groups."""
    dataset: h5d.DatasetID | None
    """The same, as long as the first file is open."""
    matrix: Sparse | None = None
    """The sparse matrix that the dataset is a part of; records are its rows."""
    dense: bool = False
    """Whether its rows are delivered with all their zeros."""


class Collected:
    """What was found of each field so far."""

    def __init__(self, wishes: Sequence[Wish], files: SourceFiles, paths: tuple[str, ...], *, named: bool) -> None:
        self.series: dict[int, Series] = {}
        """By number of the field; those that name groups have none."""
        self.paths = paths
        self._wishes = wishes
        self._files = files
        self._named = named
        self._lengths: defaultdict[int, list[int]] = defaultdict(list)
        """For each field and file, how many datasets were found."""
        self._keys: list[list[Key]] = []
        """For each file, what the patterns' stars stand for."""
        self.minor: dict[int, Series] = {}
        """By number of the field, the columns of a sparse matrix that is delivered dense."""
        self._starts: defaultdict[int, list[NDArray[np.int64]]] = defaultdict(list)
        """For each field that is rows of a sparse matrix, and each file, where rows begin."""
        self._labels: list[dict[Key, str]] = []
        """For each file, the names of the groups that these lead to."""

    def take(self, tree: Tree, number: int, beat: Callable[[int, int], None], notes: list[str]) -> None:
        """Take in the fields of file number `number`. Raises SchemaMismatchError where it does not have them, or others."""
        for index, wish in enumerate(self._wishes):
            if wish.first is not None and index not in self.series:
                assert wish.dataset is not None
                self.series[index] = Series(wish.name, wish.first, wish.dataset, wish.axis, self._files, beat)
        self._take_patterns(tree, number, beat)
        for index, wish in enumerate(self._wishes):
            if wish.first is None or wish.pattern:
                continue
            if wish.matrix is not None:
                self._take_matrix(tree, index, wish, wish.matrix, beat)
                continue
            place = self._same(tree, wish)
            self.series[index].add(place, wish.path, self._files.number(place.file))
            self._lengths[index].append(1)
            self._note_unwritten(index, number, notes)

    def _take_matrix(self, tree: Tree, index: int, wish: Wish, first: Sparse, beat: Callable[[int, int], None]) -> None:
        here = sparse_at(tree, first.path)
        if here is None or here.columns != first.columns:
            shape = "missing" if here is None else f"rows of {here.columns:,}"
            raise SchemaMismatchError(
                f"Field '{wish.name}' differs: rows of {first.columns:,} in {self.paths[0]}, {shape} in {tree.path}.",
                hint="Files of one source have one schema: open them apart, or choose other fields with fields=[...].",
                path=tree.path,
                dataset=wish.name,
            )
        parts = {True: here.indices, False: here.values}
        place, stored = parts[not wish.dense and wish.path == first.indices[1].place]
        self.series[index].add(place, stored.place, self._files.number(place.file))
        if wish.dense:
            place, stored = here.indices
            if index not in self.minor:
                assert isinstance(place.node, h5d.DatasetID)
                self.minor[index] = Series(wish.name, stored, place.node, 0, self._files, beat)
            self.minor[index].add(place, stored.place, self._files.number(place.file))
        self._lengths[index].append(1)
        self._starts[index].append(here.starts)

    def finished(self, index: int) -> FieldPieces:
        """What a field is made of."""
        made, starts = self.series[index].finish(), self._starts.get(index)
        if starts is None:
            return made
        ends = np.cumsum([0, *(int(one[-1]) for one in starts)])
        joined = np.concatenate([np.zeros(1, np.int64), *(one[1:] + end for one, end in zip(starts, ends[:-1], strict=True))])
        return replace(made, starts=joined, counts=tuple(len(one) - 1 for one in starts), ragged=ARRAY)

    def _same(self, tree: Tree, wish: Wish) -> LocatedNode:
        """The dataset of a field in the file at hand."""
        try:
            place = tree.locate(wish.path)
        except MissingPathError:
            place = None
        if place is None or not isinstance(place.node, h5d.DatasetID):
            raise field_selection.different(wish.name, wish.first, None, self.paths[0], tree.path)
        return place

    def _note_unwritten(self, index: int, number: int, notes: list[str]) -> None:
        wish, path = self._wishes[index], self.paths[number]
        stored = self.series[index].last
        if stored is None or not stored.records or stored.written:
            return
        if number and wish.first is not None and wish.first.written and not self._named:
            raise field_selection.never_written(stored, path)
        notes.append(f"'{wish.name}' was never written{f' in {path}' * (number > 0)}: its records are fill values")

    def _take_patterns(self, tree: Tree, number: int, beat: Callable[[int, int], None]) -> None:
        patterns = {wish.path: wish.path for wish in self._wishes if wish.pattern}
        keys: defaultdict[str, list[Key]] = defaultdict(list)
        labels: dict[Key, str] = {}
        of: defaultdict[str, list[int]] = defaultdict(list)
        for index, wish in enumerate(self._wishes):
            if wish.pattern:
                of[wish.path].append(index)
        for count, match in enumerate(walk(tree, patterns) if patterns else ()):
            if not count % MATCHES_A_BEAT:
                beat(0, 0)
            taken = [index for index in of[match.which] if (index in self.series) == isinstance(match.place.node, h5d.DatasetID)]
            if not taken:
                continue
            keys[match.which].append(match.key)
            for index in taken:
                if index in self.series:
                    self.series[index].add(match.place, match.path, self._files.number(match.place.file))
                else:
                    labels[match.key] = self._label(match, number)
        for index, wish in enumerate(self._wishes):
            if wish.pattern:
                self._lengths[index].append(len(keys[wish.path]))
        datasets = [wish.path for wish in self._wishes if wish.pattern and wish.first is not None]
        for other in datasets[1:]:
            _refuse_unpaired(tree.path, datasets[0], other, keys[datasets[0]], keys[other])
        self._keys.append(keys[datasets[0]] if datasets else [])
        self._labels.append(labels)

    def _label(self, match: Match, number: int) -> str:
        """What a group is called: the last part of its path that stars stand for, and on; with its file where there are several."""
        parts = match.which.strip("/").split("/")
        first = next((place for place, part in enumerate(parts) if is_pattern(part)), 0)
        name = "/".join(match.path.split("/")[first:])
        return name if len(self.paths) == 1 else f"{basename(self.paths[number])}/{name}"

    def records_per_file(self, made: Mapping[int, FieldPieces]) -> tuple[int, ...]:
        """Records of each file."""
        index, pieces = next(iter(made.items()))
        ends = np.cumsum([0, *self._lengths[index]])
        return tuple(sum(pieces.counts[first:stop]) for first, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))

    def groups_of_records(self, number: int, made: Mapping[int, FieldPieces]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """For each record, the number of the group that it is from, and the names of groups."""
        index = next((at for at in made if self._wishes[at].pattern), None)
        names: list[str] = []
        for path, keys, labels in zip(self.paths, self._keys, self._labels, strict=True):
            missing = [key for key in keys if key not in labels]
            if index is None or missing or not keys:
                raise SchemaMismatchError(
                    f"{path}: field '{self._wishes[number].name}' names the groups at '{self._wishes[number].path}', "
                    "which do not hold the datasets of the other fields.",
                    hint='Name the groups by the path that leads to those: fields={"x": "data/*/x", "group": "data/*"}.',
                    path=path,
                )
            names += [labels[key] for key in keys]
        assert index is not None
        words = list(dict.fromkeys(names))
        numbers = {word: place for place, word in enumerate(words)}
        return np.repeat(np.array([numbers[name] for name in names], np.int64), made[index].counts), tuple(words)

    def refuse_unlike_lengths(self, made: Mapping[int, FieldPieces]) -> None:
        """Raise SchemaMismatchError where the datasets of a group differ in length."""
        index, *others = [at for at in made if self._wishes[at].pattern] or [0]
        for other in others:
            here, there = made[index].counts, made[other].counts
            at = next((place for place, (one, two) in enumerate(zip(here, there, strict=True)) if one != two), None)
            if at is not None:
                key = [key for keys in self._keys for key in keys][at]
                raise SchemaMismatchError(
                    f"{self.paths[0]}: at '{'/'.join(key)}', '{self._wishes[index].name}' has {here[at]:,} records and "
                    f"'{self._wishes[other].name}' has {there[at]:,}.",
                    hint="The file is incomplete, or the fields do not belong together: choose with fields=.",
                    path=self.paths[0],
                )


def _refuse_unpaired(path: str, one: str, other: str, keys: list[Key], others: list[Key]) -> None:
    """Raise SchemaMismatchError unless two patterns lead to datasets that pair by what their stars stand for."""
    if keys == others:
        return
    if _starred(one) != _starred(other):
        keys, others = _stars_of(keys, one), _stars_of(others, other)
        if keys == others:
            return
    for here, there, some, rest in ((one, other, keys, set(others)), (other, one, others, set(keys))):
        alone = [key for key in some if key not in rest]
        if alone:
            listed = ", ".join("/".join(key) for key in alone[:MOST_LISTED]) + ", ..." * (len(alone) > MOST_LISTED)
            raise SchemaMismatchError(
                f"{path}: '{here}' leads to {len(some):,} datasets, and for {len(alone):,} of them '{there}' leads to none: {listed}.",
                hint="Fields pair by what their stars stand for: write what is missing, or choose fields that all groups hold.",
                path=path,
                dataset=here,
            )


def _starred(path: str) -> list[str]:
    return [part for part in path.split("/") if is_pattern(part)]


def _stars_of(keys: list[Key], path: str) -> list[Key]:
    """What the stars of a pattern stand for, without the letters around them: 7 for "7_boxes" and "*_boxes"."""
    parts = _starred(path)
    return [tuple(letters for name, part in zip(key, parts, strict=True) for letters in stands_for(name, part)) for key in keys]

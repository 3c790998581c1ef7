"""The HDF5 library's part of planning, in one call: paths in, plain values out, every file closed again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from h5py import h5g  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.formats.hdf5.discovery import field_selection
from streamload.formats.hdf5.discovery.collecting import Collected, Wish
from streamload.formats.hdf5.discovery.finding import found_wishes
from streamload.formats.hdf5.discovery.links import Tree, names_in
from streamload.formats.hdf5.discovery.series import FieldPieces
from streamload.formats.hdf5.discovery.source_files import SourceFiles
from streamload.formats.hdf5.discovery.wanted import asked_wishes
from streamload.formats.hdf5.metadata import Beat, Columns, FilesInfo, Piece, no_progress
from streamload.formats.hdf5.open_file import guarded
from streamload.formats.hdf5.request import Request
from streamload.storage.files import recheck

MOST_BESIDE = 1000
"""What lies beside fields is looked at in groups of so many at most."""


def inspect_files(request: Request, beat: Beat = no_progress) -> FilesInfo:
    """What is stored in the files, and which datasets are the fields.

    The first file decides on the fields; the others must have the same datasets, of the same types and shapes.
    """
    notes: list[str] = []
    files = SourceFiles(request.paths)
    collected: Collected | None = None
    wishes: list[Wish] = []
    beside: dict[str, set[str]] = {}
    extra: dict[str, str] = {}
    look_beside = request.fields is None and len(request.paths) > 1
    for number, path in enumerate(request.paths):
        beat(number, 0, 0)
        with guarded(path), Tree(path) as tree:
            if collected is None:
                wishes = found_wishes(tree, request, notes, beat) if request.fields is None else asked_wishes(tree, request, notes, beat)
                _refuse_twice([wish.name for wish in wishes])
                collected = Collected(wishes, files, request.paths, named=request.fields is not None)
            collected.take(tree, number, partial(beat, number), notes)
            if look_beside:
                here = _beside(tree, wishes)
                beside = beside or here
                for group, names in here.items():
                    extra |= {f"{group}/{name}".lstrip("/"): path for name in sorted(names - beside[group]) if beside[group]}
        recheck(files.found[number])
    assert collected is not None
    listed = list(extra.items())[: field_selection.MOST_LISTED]
    notes += [f"'{name}' left out: in {path}, not in {collected.paths[0]}" for name, path in listed]
    return _survey(wishes, collected, files, notes)


def _beside(tree: Tree, wishes: Sequence[Wish]) -> dict[str, set[str]]:
    """What lies in the groups of the datasets that are fields: names, by path of the group; of large groups none."""
    found: dict[str, set[str]] = {}
    for group in dict.fromkeys(wish.path.rpartition("/")[0] for wish in wishes if not wish.pattern):
        node = tree.locate(group).node if group else tree.root.node
        is_small = isinstance(node, h5g.GroupID) and node.get_num_objs() <= MOST_BESIDE
        found[group] = {name.decode(errors="replace") for name in names_in(node)} if is_small else set()
    return found


def _survey(wishes: list[Wish], collected: Collected, files: SourceFiles, notes: list[str]) -> FilesInfo:
    made = {number: collected.finished(number) for number in collected.series}
    _refuse_unequal(wishes, made, collected)
    per_file = collected.records_per_file(made)
    values: dict[int, NDArray[np.generic]] = {}
    classes: dict[str, tuple[str, ...]] = {}
    fields: list[tuple[Piece, ...]] = []
    dense = {number: wish.matrix for number, wish in enumerate(wishes) if wish.dense and wish.matrix is not None}
    for number, wish in enumerate(wishes):
        if number in made:
            fields.append(made[number].pieces)
            continue
        fields.append(())
        values[number], classes[wish.name] = collected.groups_of_records(number, made)
    return FilesInfo(
        names=tuple(wish.name for wish in wishes),
        asked=tuple(map(_asked, wishes)),
        files=tuple(files.found),
        records=per_file,
        fields=tuple(fields),
        notes=tuple(notes),
        values=values,
        starts={number: pieces.starts for number, pieces in made.items() if pieces.starts is not None},
        ragged={number: pieces.ragged for number, pieces in made.items() if pieces.ragged},
        sparse={number: Columns(count=matrix.columns, pieces=collected.minor[number].finish().pieces) for number, matrix in dense.items()},
        classes=classes,
    )


def _asked(wish: Wish) -> str:
    """The path or pattern that asks for a field."""
    if wish.matrix is not None and wish.dense:
        return wish.matrix.path
    return ".".join((wish.path, *(wish.first.member if wish.first is not None else ())))


def _refuse_twice(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise ConfigError(f"Two fields would be called {twice!r}.", hint="Rename them with fields={name: path}.")


def _refuse_unequal(wishes: list[Wish], made: dict[int, FieldPieces], collected: Collected) -> None:
    """Raise SchemaMismatchError unless all fields have one length."""
    path = collected.paths[0]
    if not made:
        raise ConfigError(
            f"{path}: fields names groups alone, which tell records apart but hold none.",
            hint='Name a dataset too: fields={"x": "*/x", "group": "*"}.',
            path=path,
        )
    collected.refuse_unlike_lengths(made)
    lengths = {wishes[number].name: pieces.records for number, pieces in made.items()}
    if len(set(lengths.values())) > 1:
        raise field_selection.unequal(lengths, path)

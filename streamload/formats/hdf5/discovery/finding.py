"""Fields that nobody named, found by what datasets have in common: only where that is safe."""

from __future__ import annotations

from collections.abc import Sequence

from streamload.errors import ConfigError
from streamload.formats.hdf5.discovery import field_selection, readings, views
from streamload.formats.hdf5.discovery.candidates import candidates_in
from streamload.formats.hdf5.discovery.collecting import Wish
from streamload.formats.hdf5.discovery.field_selection import Found, LeftOut
from streamload.formats.hdf5.discovery.internals import refuse_weights
from streamload.formats.hdf5.discovery.links import Tree
from streamload.formats.hdf5.discovery.readings import FileContents, Reading
from streamload.formats.hdf5.discovery.sparse import without_sparse
from streamload.formats.hdf5.discovery.wanted import asked_wishes, dense_wish
from streamload.formats.hdf5.metadata import Beat
from streamload.formats.hdf5.request import Axis, Request


def found_wishes(tree: Tree, request: Request, notes: list[str], beat: Beat) -> list[Wish]:
    """The fields of a file that nobody named.

    Raises ConfigError, with the arguments that decide, where more than one reading is likely, or most would be left out.
    """
    odd: list[LeftOut] = []
    found = candidates_in(tree, odd, notes, beat, single=True)
    refuse_weights(tree.root.node, [one.stored.place for one in found], tree.path)
    by_rows = request.axis == 0 and not request.axes
    found, matrices = without_sparse(tree, found, odd, notes) if by_rows else (found, {})
    layout = FileContents(
        tree=tree, arrays=[one for one in found if one.stored.axis == 0], singles=[one for one in found if one.stored.axis is None]
    )
    held = [part for one in found for part in (one.stored.key, one.stored.place, one.stored.place.rsplit("/", 1)[-1])]
    request.refuse_unknown_axes([*held, *(part for one in odd for part in (one.name, one.name.rsplit("/", 1)[-1]))])
    if request.axis is None and not request.axes:
        return _one_each(layout, request, notes, beat)
    for one in layout.singles:
        notes.append(f"'{one.stored.key}' left out: it holds a single value, not one a record")
    seen: list[Found] = []
    natural: dict[int, Found] = {}
    axes: dict[int, Axis] = {}
    for one in layout.arrays:
        axis = request.axis_of(one.stored.key, one.stored.place, one.stored.place.rsplit("/", 1)[-1])
        try:
            view = views.whole(one.stored) if axis is None else views.along(one.stored, None, axis, len(one.dataset.shape), tree.path)[0]
        except ConfigError as error:
            odd.append(LeftOut(one.stored.place, one.stored.nbytes, error))
            notes.append(f"'{one.stored.key}' left out: it has {len(one.dataset.shape)} axes")
            continue
        seen.append(one if view is one.stored else Found(one.dataset, view))
        natural[len(seen) - 1], axes[len(seen) - 1] = one, axis
    if by_rows and seen:
        best, left_out = field_selection.best_of(seen)
        readings.refuse_unsafe(layout, best, left_out)
    chosen = field_selection.find(seen, odd, tree.path, notes)
    if request.axis and notes and notes[0].startswith("fields were found"):
        notes[0] = notes[0].replace(" says the same", f" with record_axis={request.axis} says the same")
    places = {id(one): place for place, one in enumerate(seen)}
    wishes = [_wish(name, natural[places[id(one)]], axes[places[id(one)]]) for name, one in chosen]
    return [dense_wish(wish.name, matrices[wish.path]) if wish.path in matrices else wish for wish in wishes]


def _wish(name: str, one: Found, axis: Axis) -> Wish:
    rank = len(one.dataset.shape)
    axis = axis + rank if axis is not None and axis < 0 else axis
    return Wish(name=name, path=one.stored.place, pattern=False, axis=axis, first=one.stored, dataset=one.dataset)


def _one_each(layout: FileContents, request: Request, notes: list[str], beat: Beat) -> list[Wish]:
    """Each dataset is one record: of a file, or of sibling groups where most of the file lies in these."""
    stacks = [one for one in readings.stacks_and_joins(layout) if one.record_axis is None]
    found = [*layout.arrays, *layout.singles]
    if len(stacks) == 1 and _covers(stacks[0], found, layout):
        notes.insert(0, f"fields were found, not named; {str(stacks[0]).rpartition(' (')[0]} says the same")
        asked = Request.of(request.paths, stacks[0].fields, None)
        return asked_wishes(layout.tree, asked, notes, beat)
    if stacks:
        raise readings.refusal(layout, "datasets that are alike lie in sibling groups", stacks)
    if not found:
        raise ConfigError(f"{layout.tree.path} holds no dataset that could serve.", hint="Write arrays.", path=layout.tree.path)
    return [_wish(name, one, None) for name, one in field_selection.named_fields(found)]


def _covers(reading: Reading, found: Sequence[Found], layout: FileContents) -> bool:
    """Whether a reading leaves out nothing that was looked at."""
    return len(found) == reading.records * len(reading.fields) or bool(layout.tree.crowded)

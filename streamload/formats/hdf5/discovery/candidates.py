"""All datasets of a file, as far as they could serve as fields; and why the others cannot."""

from __future__ import annotations

import math
from dataclasses import replace

import h5py
from h5py import h5a, h5d, h5t  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import ConfigError, SourceError
from streamload.formats.hdf5.discovery import dataset_info, field_selection
from streamload.formats.hdf5.discovery.field_selection import Found
from streamload.formats.hdf5.discovery.links import LocatedNode, Tree
from streamload.formats.hdf5.metadata import Beat


def examined_at(place: LocatedNode, path: str, left_out: list[tuple[str, str]], *, single: bool) -> list[Found]:
    """What can be known of a dataset, which `path` leads to; `single` allows one that holds a single value.

    Members that cannot be delivered are added to `left_out`, with what they are.
    """
    assert isinstance(place.node, h5d.DatasetID)
    own = place.path
    odd: list[tuple[str, str]] = []
    stored = dataset_info.examine(place.file, own, place.node, odd, single=single)
    left_out.extend((path + name.removeprefix(own), why) for name, why in odd)
    return [Found(place.node, one if own == path else replace(one, alias=path)) for one in stored]


def candidates_in(tree: Tree, odd: list[field_selection.LeftOut], notes: list[str], beat: Beat, *, single: bool = False) -> list[Found]:
    """The datasets that could serve; those that cannot are added to `odd`, and to `notes`."""
    candidates: list[Found] = []
    for name, place in tree.listing(notes, lambda: beat(0, 0, 0)):
        dataset = place.node
        assert isinstance(dataset, h5d.DatasetID)
        if _is_dimension(dataset):
            notes.append(f"'{name}' left out: it is a netCDF dimension without coordinates")
            continue
        try:
            left_out: list[tuple[str, str]] = []
            candidates += examined_at(place, name, left_out, single=single)
            notes.extend(map(told, left_out))
        except (ConfigError, SourceError) as error:
            odd.append(field_selection.LeftOut(name, _values_nbytes(dataset), error))
            reason = error.message.removeprefix(f"{place.file}: ").split(f"dataset '{place.path}' ", 1)[-1].rstrip(".")
            notes.append(f"'{name}' left out: it {reason}" if reason != error.message else f"'{name}' left out: {reason}")
    return candidates


def told(left_out: tuple[str, str]) -> str:
    """The note for a member that cannot be delivered."""
    name, why = left_out
    return f"'{name}' left out: it holds {why}"


def _values_nbytes(dataset: h5d.DatasetID) -> int:
    """Bytes of all values of a dataset; of variable-length ones, which may hold next to nothing, none are counted."""
    kind = dataset.get_type()
    variable = any(kind.detect_class(one) for one in (h5t.VLEN, h5t.REFERENCE))
    variable |= isinstance(kind, h5t.TypeStringID) and bool(kind.is_variable_str())
    return 0 if variable else math.prod(map(int, dataset.shape or (0,))) * kind.get_size()


def _is_dimension(dataset: h5d.DatasetID) -> bool:
    """Whether a dataset only stands for a dimension of netCDF-4, and was never meant to hold anything."""
    if dataset.get_storage_size() or not h5a.exists(dataset, b"NAME"):
        return False
    said = h5py.AttributeManager(h5py.Dataset(dataset)).get("NAME")
    return isinstance(said, bytes) and said.startswith(b"This is a netCDF dimension but not a netCDF variable")

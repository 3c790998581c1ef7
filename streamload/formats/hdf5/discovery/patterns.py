"""Patterns of paths: what they lead to in a file, in natural order, every group opened once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from h5py import h5g, h5l  # pyright: ignore[reportAttributeAccessIssue]

from streamload.formats.hdf5.discovery.links import LocatedNode, MissingPathError, Tree
from streamload.formats.naming.field_names import is_pattern, matches, natural_key


class Match(NamedTuple):
    """Something that a pattern leads to."""

    which: str
    """The pattern."""
    key: tuple[str, ...]
    """The names that its components with stars stand for."""
    path: str
    place: LocatedNode


@dataclass(slots=True)
class _Step:
    """What patterns ask of one group."""

    ends: list[str] = field(default_factory=list[str])
    """Patterns that lead to the group itself."""
    names: dict[str, _Step] = field(default_factory=dict)
    """By name of what it holds, what is asked of that."""
    patterns: dict[str, _Step] = field(default_factory=dict)


def walk(tree: Tree, patterns: Mapping[str, str]) -> Iterator[Match]:
    """What patterns lead to; `patterns` are {how each is called: its path, with "*" and "?" for letters within a component}.

    The matches of each come in natural order of their paths. Raises what following links raises.
    """
    first = _Step()
    for which, path in patterns.items():
        step = first
        for part in filter(None, path.split("/")):
            step = (step.patterns if is_pattern(part) else step.names).setdefault(part, _Step())
        step.ends.append(which)
    yield from _below(tree, tree.root, "", (), first)


def _below(tree: Tree, place: LocatedNode, path: str, key: tuple[str, ...], step: _Step) -> Iterator[Match]:
    for which in step.ends:
        yield Match(which, key, path, place)
    if not isinstance(place.node, h5g.GroupID):
        return
    prefix = path + "/" if path else ""
    for name, after in step.names.items():
        there = _there(tree, place, name, hard=False)
        if there is not None:
            yield from _below(tree, there, prefix + name, key, after)
    for pattern, after in step.patterns.items():
        kinds = _kinds(place.node)
        for name in sorted((name for name in kinds if matches(name, pattern)), key=natural_key):
            there = _there(tree, place, name, hard=kinds[name] == h5l.TYPE_HARD)
            if there is not None:
                yield from _below(tree, there, prefix + name, (*key, name), after)


def _kinds(group: h5g.GroupID) -> dict[str, int]:
    """The names of all that a group holds, and by what kind of link."""
    kinds: dict[str, int] = {}

    def note(name: bytes, info: h5l.LinkInfo) -> None:
        kinds[name.decode(errors="surrogateescape")] = info.type

    group.links.iterate(note, info=True)
    return kinds


def _there(tree: Tree, group: LocatedNode, name: str, *, hard: bool) -> LocatedNode | None:
    """What a group holds under a name; None for nothing."""
    encoded = name.encode(errors="surrogateescape")
    try:
        return tree.held(group, encoded) if hard else tree.below(group, encoded)
    except MissingPathError:
        return None
    except (KeyError, ValueError, RuntimeError):
        if encoded in group.node:
            raise
        return None

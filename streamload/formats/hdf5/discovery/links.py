"""The tree of groups in a file, walked a component at a time: links are followed within the file's folder, and no further."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

import h5py
from h5py import h5d, h5g, h5i, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import SourceError, StreamloadError, UnsafeSourceError
from streamload.formats.hdf5.discovery.internals import internal
from streamload.formats.hdf5.open_file import open_file

MOST_OBJECTS = 10_000
"""Objects that a listing visits."""
DEEPEST = 32
"""Groups within groups that a listing enters."""
CROWD = 1000
"""Where a group holds more than so many, and the first of them are all groups, ..."""
FIRST_GROUPS = 200
"""... only so many of these are entered."""
MOST_LINKS = 16
"""Soft links, and links into other files, that one path may go through."""
MOST_FILES = 64
"""Other files that are open at a time."""


class MissingPathError(LookupError):
    """A path that leads nowhere; internal to planning."""


class LocatedNode(NamedTuple):
    """A dataset or a group, and the file that it lies in."""

    node: h5d.DatasetID | h5g.GroupID
    file: str
    """That file's path: as it was given, or absolute where a link led into another one."""

    @property
    def path(self) -> str:
        """Its path in that file, without the leading slash."""
        return (h5i.get_name(self.node) or b"").decode(errors="replace").strip("/")


class Tree:
    """One file, and the files in its folder that links lead into."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._folder = os.path.realpath(os.path.dirname(path) or ".")
        self._file = open_file(path)
        self._others: dict[str, h5py.File] = {}
        self.crowded: set[str] = set()
        """Groups, by path, of which a listing has not looked at all that they hold."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in (*self._others.values(), self._file):
            file.close()

    @property
    def root(self) -> LocatedNode:
        """The group that all paths begin at."""
        return LocatedNode(h5o.open(self._file.id, b"/"), self.path)

    def locate(self, path: str) -> LocatedNode:
        """The dataset or group at `path`.

        Raises MissingPathError if there is none, SourceError for links in a circle and for files that are not there,
        UnsafeSourceError for a link that leaves the folder.
        """
        return self._follow(self.root, self.root, path, path, 0)

    def held(self, place: LocatedNode, name: bytes) -> LocatedNode:
        """What a group holds under a name that is known to be no link."""
        return LocatedNode(h5o.open(place.node, name), place.file)

    def below(self, place: LocatedNode, name: bytes) -> LocatedNode:
        """What a group holds under a name, links followed. Raises as `locate` does."""
        if place.node.links.get_info(name).type == h5l.TYPE_HARD:
            return self.held(place, name)
        return self._follow(self._root_of(place), place, name.decode(errors="surrogateescape"), name.decode(errors="replace"), 0)

    def _follow(self, root: LocatedNode, start: LocatedNode, path: str, said: str, hops: int) -> LocatedNode:
        todo = deque(part for part in path.encode(errors="surrogateescape").split(b"/") if part not in (b"", b"."))
        here = root if path.startswith("/") else start
        while todo:
            name = todo.popleft()
            if not isinstance(here.node, h5g.GroupID) or name not in here.node:
                raise MissingPathError(path)
            kind = here.node.links.get_info(name).type
            if kind == h5l.TYPE_HARD:
                here = LocatedNode(h5o.open(here.node, name), here.file)
                continue
            hops += 1
            if hops > MOST_LINKS:
                raise SourceError(
                    f"{self.path}: '{said}' goes through more than {MOST_LINKS} links; they may form a circle.",
                    hint="Name the dataset itself.",
                    path=self.path,
                    dataset=said,
                )
            if kind == h5l.TYPE_SOFT:
                target = here.node.links.get_val(name)
                here = root if target.startswith(b"/") else here
            else:
                here, target = self._other(here, name, kind)
                root = here
            todo.extendleft(reversed([part for part in target.split(b"/") if part not in (b"", b".")]))
        if not isinstance(here.node, (h5d.DatasetID, h5g.GroupID)):
            raise MissingPathError(path)
        return here

    def _root_of(self, place: LocatedNode) -> LocatedNode:
        return LocatedNode(h5o.open(place.node, b"/"), place.file)

    def _other(self, group: LocatedNode, name: bytes, kind: int) -> tuple[LocatedNode, bytes]:
        """The root of the file in this folder that a link leads into, and the path there."""
        place = "/" + f"{group.path}/{name.decode(errors='replace')}".lstrip("/")
        if kind != h5l.TYPE_EXTERNAL:
            raise UnsafeSourceError(
                f"{group.file}: '{place}' is a link of a kind defined by a program (class {kind}), which is not followed.",
                hint="Choose other fields with fields=[...].",
                path=group.file,
                dataset=place,
            )
        other, target = group.node.links.get_val(name)
        said = f"{group.file}: '{place}' links to {target.decode(errors='replace')} in {other.decode(errors='replace')},"
        real = os.path.realpath(os.path.join(self._folder, os.fsdecode(other)))
        if os.path.commonpath([real, self._folder]) != self._folder:
            raise UnsafeSourceError(
                f"{said} which is outside the file's folder.",
                hint="Open that file itself, or choose other fields with fields=[...].",
                path=group.file,
                dataset=place,
            )
        if not os.path.isfile(real):
            raise SourceError(
                f"{said} which does not exist.",
                hint="Put the file back beside it, or open the files that are there, by a pattern of their names.",
                path=group.file,
                dataset=place,
            )
        return LocatedNode(h5o.open(self._opened(real).id, b"/"), real), target

    def _opened(self, real: str) -> h5py.File:
        if real == os.path.realpath(self.path):
            return self._file
        if real not in self._others:
            if len(self._others) >= MOST_FILES:
                # What was opened by it stays open with it; the library closes it when the last of that is gone.
                self._others.pop(next(iter(self._others)))
            self._others[real] = open_file(real)
        return self._others[real]

    def listing(self, notes: list[str], beat: Callable[[], None]) -> Iterator[tuple[str, LocatedNode]]:
        """Every dataset, once each, with the path that leads to it, in the order of names.

        Stops after MOST_OBJECTS objects and DEEPEST levels, and says so in `notes`. Soft links are aliases: they are
        left out, and those that lead nowhere are noted, as are links that cannot be followed. `beat` is called at each object.
        """
        root = self.root
        seen = {(root.file, h5o.get_info(root.node).addr)}
        todo: list[tuple[str, LocatedNode, int]] = [("", root, 0)]
        visited = 0
        while todo:
            prefix, group, depth = todo.pop()
            below: list[tuple[str, LocatedNode, int]] = []
            names = sorted(names_in(group.node))
            for number, name in enumerate(names):
                if len(names) > CROWD and number == len(below) == FIRST_GROUPS:
                    self.crowded.add(prefix)
                    notes.append(f"'/{prefix}' holds {len(names):,} groups: only the first {number:,} were looked into")
                    break
                visited += 1
                beat()
                if visited > MOST_OBJECTS:
                    self.crowded.add(prefix)
                    notes.append(
                        f"the file holds more than {MOST_OBJECTS:,} objects: only the first were looked at; choose with fields=[...]"
                    )
                    return
                path = prefix + name.decode(errors="replace")
                if why := internal(path):
                    notes.append(f"'{path}' left out: {why}")
                    continue
                found = self._listed(group, name, path, notes)
                if found is None:
                    continue
                key = found.file, h5o.get_info(found.node).addr
                if key in seen:
                    continue
                seen.add(key)
                if isinstance(found.node, h5d.DatasetID):
                    yield path, found
                elif depth < DEEPEST:
                    below.append((path + "/", found, depth + 1))
                else:
                    notes.append(f"'{path}' is more than {DEEPEST} groups deep: not looked into")
            todo.extend(reversed(below))

    def _listed(self, group: LocatedNode, name: bytes, path: str, notes: list[str]) -> LocatedNode | None:
        """What stands under a name in a listing; None, perhaps with a note, for what is not to be listed."""
        kind = group.node.links.get_info(name).type
        try:
            found = self.below(group, name)
        except MissingPathError:
            target = group.node.links.get_val(name)
            where = target if isinstance(target, bytes) else b":".join(target)
            notes.append(f"'{path}' is a link to {where.decode(errors='replace')}, where nothing is: left out")
            return None
        except StreamloadError as error:
            said = error.message.removeprefix(f"{group.file}: ").rstrip(".")
            circle = "they may form a circle" in said
            notes.append(f"'{path}' is a link in a circle: left out" if circle else f"'{path}' left out: {said}")
            return None
        return found if kind != h5l.TYPE_SOFT and isinstance(found.node, (h5d.DatasetID, h5g.GroupID)) else None


def names_in(group: h5g.GroupID) -> list[bytes]:
    """The names of all that a group holds."""
    names: list[bytes] = []
    group.links.iterate(names.append)
    return names

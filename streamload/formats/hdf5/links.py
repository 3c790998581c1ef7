"""The tree of groups in a file, walked a component at a time: no link is followed that leaves the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import h5py
from h5py import h5d, h5g, h5i, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]

from streamload.errors import SourceError, UnsafeSourceError

MOST_OBJECTS = 10_000
"""Objects that a listing visits."""
DEEPEST = 32
"""Groups within groups that a listing enters."""
MOST_SOFT_LINKS = 16
"""Soft links that one path may go through."""


class MissingPathError(LookupError):
    """A path that leads nowhere; internal to planning."""


def locate(file: h5py.File, path: str) -> h5d.DatasetID | h5g.GroupID:
    """The dataset or group at `path`.

    Raises MissingPathError if there is none, SourceError for soft links in a circle, UnsafeSourceError for a link that
    leaves the file.
    """
    return _follow(file, h5o.open(file.id, b"/"), path)


def _follow(file: h5py.File, start: h5g.GroupID, path: str) -> h5d.DatasetID | h5g.GroupID:
    root = h5o.open(file.id, b"/")
    todo = deque(part for part in path.encode().split(b"/") if part not in (b"", b"."))
    here = root if path.startswith("/") else start
    hops = 0
    while todo:
        name = todo.popleft()
        if not isinstance(here, h5g.GroupID) or name not in here:
            raise MissingPathError(path)
        kind = here.links.get_info(name).type
        if kind == h5l.TYPE_SOFT:
            hops += 1
            if hops > MOST_SOFT_LINKS:
                raise SourceError(
                    f"{_name(file)}: '{path}' goes through more than {MOST_SOFT_LINKS} soft links; they may form a circle.",
                    hint="Name the dataset itself.",
                    path=_name(file),
                    dataset=path,
                )
            target = here.links.get_val(name)
            here = root if target.startswith(b"/") else here
            todo.extendleft(reversed([part for part in target.split(b"/") if part not in (b"", b".")]))
        elif kind == h5l.TYPE_HARD:
            here = h5o.open(here, name)
        else:
            raise leaving(file, here, name, kind)
    if not isinstance(here, (h5d.DatasetID, h5g.GroupID)):
        raise MissingPathError(path)
    return here


def leaving(file: h5py.File, group: h5g.GroupID, name: bytes, kind: int) -> UnsafeSourceError:
    """The error for a link that leads out of the file."""
    place = ((h5i.get_name(group) or b"").rstrip(b"/") + b"/" + name).decode(errors="replace")
    if kind == h5l.TYPE_EXTERNAL:
        other, target = group.links.get_val(name)
        what = f"a link into another file, {other.decode(errors='replace')}:{target.decode(errors='replace')}"
    else:
        what = f"a link of a kind defined by a program (class {kind})"
    return UnsafeSourceError(
        f"{_name(file)}: '{place}' is {what}: links that leave a file are not followed.",
        hint="Open that file itself, or choose other fields with fields=[...].",
        path=_name(file),
        dataset=place,
    )


def listing(file: h5py.File, notes: list[str], beat: Callable[[], None]) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Every dataset of the file that hard links lead to, once each, with its path, in the order of names.

    Stops after MOST_OBJECTS objects and DEEPEST levels, and says so in `notes`. Soft links are aliases: they are
    left out, and those that lead nowhere are noted. `beat` is called at each object. Raises UnsafeSourceError at a link that
    leaves the file.
    """
    root = h5o.open(file.id, b"/")
    seen = {h5o.get_info(root).addr}
    todo: list[tuple[str, h5g.GroupID, int]] = [("", root, 0)]
    visited = 0
    while todo:
        prefix, group, depth = todo.pop()
        below: list[tuple[str, h5g.GroupID, int]] = []
        for name in _members(group):
            visited += 1
            beat()
            if visited > MOST_OBJECTS:
                notes.append(f"the file holds more than {MOST_OBJECTS:,} objects: only the first were looked at; choose with fields=[...]")
                return
            kind = group.links.get_info(name).type
            path = prefix + name.decode(errors="replace")
            if kind == h5l.TYPE_SOFT:
                notes.extend(_dangling(file, group, name, path))
                continue
            if kind != h5l.TYPE_HARD:
                raise leaving(file, group, name, kind)
            info = h5o.get_info(group, name)
            if info.addr in seen:
                continue
            seen.add(info.addr)
            found = h5o.open(group, name)
            if isinstance(found, h5d.DatasetID):
                yield path, found
            elif isinstance(found, h5g.GroupID) and depth < DEEPEST:
                below.append((path + "/", found, depth + 1))
            elif isinstance(found, h5g.GroupID):
                notes.append(f"'{path}' is more than {DEEPEST} groups deep: not looked into")
        todo.extend(reversed(below))


def _members(group: h5g.GroupID) -> list[bytes]:
    names: list[bytes] = []

    def note(name: bytes) -> bool | None:
        names.append(name)
        return True if len(names) > MOST_OBJECTS else None

    group.links.iterate(note)
    return sorted(names)


def _dangling(file: h5py.File, group: h5g.GroupID, name: bytes, path: str) -> list[str]:
    try:
        _follow(file, group, name.decode())
    except UnsafeSourceError:
        raise
    except MissingPathError:
        return [f"'{path}' is a soft link to {group.links.get_val(name).decode(errors='replace')}, where nothing is: left out"]
    except SourceError:
        return [f"'{path}' is a soft link in a circle: left out"]
    return []


def _name(file: h5py.File) -> str:
    return str(file.filename)

"""The folder in which a conversion works: what may lie in it, whether it is ours, and how it is emptied."""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from typing import Any

from streamload.errors import UnsafeSourceError
from streamload.storage.owned_files import Folder
from streamload.tools.convert.existing_target import named_in
from streamload.tools.convert.manifest import FOLDER_NAME
from streamload.tools.convert.writers.registry import SUFFIXES

MARK = "conversion.json"
"""What a folder of ours holds: its own number, which no archive and no copy can know."""
_HALF = r"\.tmp-[0-9a-f-]+"
"""How names end of files that are under way."""
_HALF_MARK = re.compile(rf"\.{re.escape(MARK)}{_HALF}")
BESIDE = "beside"
"""A file that is on its way to stand beside the target."""
FILES = re.compile(rf"\.?((conversion|request)\.json|{BESIDE})({_HALF})?|kept\.i64|order\.i64")
"""The files in it."""
ENTRIES, BUCKETS, OUT, OLD = "entries", "buckets", "out", "out.old"
"""The folders in it: of notes, of records on their way, of what is made, and of what that replaced."""
_IN_FOLDERS = {ENTRIES: re.compile(rf"\.?[^/]+\.json({_HALF})?"), BUCKETS: re.compile(r"(places|records|(lengths|values)[0-9]+)-[0-9]{5}")}
_SHARD = rf"[a-z]+-[0-9]{{5,}}-of-[0-9]{{5,}}({'|'.join(map(re.escape, SUFFIXES))})|{re.escape(FOLDER_NAME)}"
_SILLY = re.compile(r"\.nfs[0-9a-f]+")
"""What network file systems make of a file that is deleted while it is open; it goes by itself."""


def opened(parent: Folder, name: str, *, made: bool) -> Folder:
    """The working folder. Raises UnsafeSourceError for a link, a file, and a folder of another user's."""
    status = parent.status(name)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise _not_ours(parent.path_of(name), "it is a link" if stat.S_ISLNK(status.st_mode) else "it is a file")
    held = parent.folder(name)
    if made or parent.is_like_ours(held):
        return held
    held.close()
    raise _not_ours(parent.path_of(name), "it belongs to another user, or others may write to it")


def staged(folder: str, inode: int) -> Folder:
    """The working folder, for a process that does a task in it. Raises UnsafeSourceError where it is another by now."""
    parent, name = os.path.split(folder)
    with Folder.named(parent) as whole:
        held = opened(whole, name, made=False)
    if held.inode != inode:
        held.close()
        raise _not_ours(folder, "another was put in its place")
    return held


def require_ours(held: Folder, target: str) -> None:
    """Raise UnsafeSourceError for a folder that no conversion has marked, or that holds what none writes; mark a new one.

    `target` is the name of what is made in it.
    """
    names = held.names()
    if MARK not in names and all(_HALF_MARK.fullmatch(name) for name in names):
        # Made just now, by this process or by one that was ended before it could mark it.
        held.write(MARK, json.dumps({"folder": held.inode}).encode())
        return
    if MARK not in names:
        raise _not_ours(held.path, "no conversion has marked it")
    if read_json(held, MARK) != {"folder": held.inode}:
        raise _not_ours(held.path, "its mark is not its own, as in a copy or out of an archive")
    for name in names:
        if name not in (ENTRIES, BUCKETS, OUT, OLD):
            _require_file(held, name, FILES, "")
            continue
        with _inner(held, name) as folder:
            pattern = names_in(folder, target)
            for one in folder.names():
                _require_file(folder, one, pattern, f"{name}/")


def names_in(folder: Folder, target: str) -> re.Pattern[str]:
    """The names that a folder in the working folder may hold."""
    name = os.path.basename(folder.path)
    if name in _IN_FOLDERS:
        return _IN_FOLDERS[name]
    # After an exchange it holds what stood under the final name before.
    listed = "".join(f"|{re.escape(one)}" for one in named_in(folder))
    return re.compile(rf"\.?({re.escape(target)}|{_SHARD})({_HALF})?{listed}")


def _inner(held: Folder, name: str) -> Folder:
    """A folder of the working folder. Raises UnsafeSourceError for a link or a file."""
    status = held.status(name)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise _not_ours(held.path, f"'{name}' in it is {'a link' if stat.S_ISLNK(status.st_mode) else 'a file'}")
    return held.folder(name)


def clear(held: Folder, name: str, target: str) -> bool:
    """Delete a folder of the working folder, and what a conversion has written to it; whether it is gone."""
    with suppress(FileNotFoundError):
        with _inner(held, name) as folder:
            pattern = names_in(folder, target)
            # What says which names are ours goes last.
            for one in sorted(folder.names(), key=lambda one: one == FOLDER_NAME):
                delete(folder, one, pattern)
        held.claim(name)
        return held.delete_folder(name)
    return True


def delete(folder: Folder, name: str, pattern: re.Pattern[str]) -> None:
    """Delete a file of the working folder, as far as it is one that a conversion writes."""
    status = folder.status(name)
    if status is not None and stat.S_ISREG(status.st_mode) and pattern.fullmatch(name):
        folder.claim(name)
        folder.delete(name)


def _require_file(folder: Folder, name: str, pattern: re.Pattern[str], within: str) -> None:
    """Raise UnsafeSourceError for anything but a file that a conversion writes."""
    status = folder.status(name)
    if status is None or _SILLY.fullmatch(name):
        return
    whole = os.path.dirname(folder.path) if within else folder.path
    if stat.S_ISLNK(status.st_mode):
        raise _not_ours(whole, f"'{within}{name}' in it is a link")
    if not stat.S_ISREG(status.st_mode) or not pattern.fullmatch(name):
        raise _not_ours(whole, f"'{within}{name}' in it is nothing that a conversion writes")


def _not_ours(path: str, why: str) -> UnsafeSourceError:
    return UnsafeSourceError(
        f"{path} is no working folder of a conversion: {why}.",
        hint="Nothing in it was touched. Look what it is, and move or delete it.",
        path=path,
    )


def read_json(folder: Folder, name: str) -> Any:
    """JSON of a file in a folder; None where there is none, or it cannot be read."""
    try:
        with folder.open(name) as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError):
        return None

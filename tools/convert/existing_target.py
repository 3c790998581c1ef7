"""What stands under a conversion's final names already, and whether it may be replaced: looked at before the work, and again after it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable

from streamload.errors import ConfigError, StreamloadError
from streamload.storage.owned_files import Folder
from streamload.tools.console import clean
from streamload.tools.convert.manifest import FOLDER_NAME, SUFFIX, read_manifest

LOG = ".bad.jsonl"
"""The ending of the list of records that could not be read."""
MOST_NAMED = 3


def require_replaceable(target: str, *, one_file: bool, overwrite: bool, logs: bool) -> None:
    """Raise ConfigError where something stands that was not asked to be replaced, or that no conversion wrote.

    A link is never replaced: neither it nor what it leads to was meant for certain.
    """
    whole = os.path.abspath(target)
    name = os.path.basename(whole)
    with Folder.named(os.path.dirname(whole)) as parent:
        status = parent.status(name)
        if status is not None:
            _require_target(parent, name, status, target, one_file=one_file, overwrite=overwrite)
        if one_file:
            _require_ours(parent, name + SUFFIX, target + SUFFIX, _is_manifest, "no manifest that a conversion wrote")
        if logs:
            _require_ours(parent, name + LOG, os.path.join(os.path.dirname(target), name + LOG), _is_log, "no list that a conversion wrote")


def _require_target(parent: Folder, name: str, status: os.stat_result, target: str, *, one_file: bool, overwrite: bool) -> None:
    if stat.S_ISLNK(status.st_mode):
        there = os.path.realpath(parent.path_of(name))
        raise ConfigError(
            f"{target} is a link to {clean(there)}{'' if os.path.exists(there) else ', which does not exist'}; links are not replaced.",
            hint="Name what it leads to, or delete the link.",
            path=target,
        )
    if not overwrite:
        raise ConfigError(f"{target} exists.", hint="Give another name, or --overwrite.", path=target)
    if one_file != stat.S_ISREG(status.st_mode):
        is_folder = stat.S_ISDIR(status.st_mode)
        raise ConfigError(
            f"{target} is a {'folder' if is_folder else 'file'}, and a {'file' if one_file else 'folder'} would be written: "
            "one does not replace the other.",
            hint="Give another name, or move it away.",
            path=target,
        )
    if not one_file:
        with parent.folder(name) as folder:
            _require_dataset(folder, target)


def _require_dataset(folder: Folder, target: str) -> None:
    """Raise ConfigError for a folder in which there is anything but what its manifest names."""
    names = folder.names()
    if not names:
        return
    named = named_in(folder)
    ours = {FOLDER_NAME, *named} if named else set[str]()
    strange = [name for name in names if name not in ours or not _is_file(folder, name)]
    if not strange:
        return
    listed = ", ".join(map(clean, strange[:MOST_NAMED])) + (f" and {len(strange) - MOST_NAMED:,} more" if len(strange) > MOST_NAMED else "")
    raise ConfigError(
        f"{target} holds what no manifest of a conversion names: {listed}.",
        hint="--overwrite replaces only what a conversion wrote: give another name, or move the rest away.",
        path=target,
    )


def named_in(folder: Folder) -> list[str]:
    """The files that the manifest in a folder names; none where there is no sound one."""
    if not _is_file(folder, FOLDER_NAME):
        return []
    try:
        return [str(file["name"]) for file in read_manifest(folder.path_of(FOLDER_NAME))["files"]]
    except (StreamloadError, OSError):
        return []


def _is_file(folder: Folder, name: str) -> bool:
    status = folder.status(name)
    return status is not None and stat.S_ISREG(status.st_mode)


def _require_ours(parent: Folder, name: str, told: str, is_ours: Callable[[str], bool], what: str) -> None:
    """Raise ConfigError where a file stands beside the target that a conversion did not write."""
    status = parent.status(name)
    if status is None or (stat.S_ISREG(status.st_mode) and is_ours(parent.path_of(name))):
        return
    what = "a link" if stat.S_ISLNK(status.st_mode) else what
    raise ConfigError(f"{told} exists, and is {what}: it is not replaced.", hint="Move it away, or give another name for DST.", path=told)


def _is_manifest(path: str) -> bool:
    """Whether a file says of itself that it is a manifest, be it damaged."""
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip().startswith(b'{\n "manifest": ')
    except OSError:
        return False


def _is_log(path: str) -> bool:
    """Whether the first line of a file is one of a list of records that could not be read."""
    try:
        with open(path, "rb") as file:
            first = file.readline(1 << 20)
        return not first or set(json.loads(first)) == {"record", "why"}
    except (OSError, ValueError, TypeError):
        return False

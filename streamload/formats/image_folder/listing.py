"""The images below a folder, and how what was found is kept from one run to the next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError
from streamload.storage import disk_cache
from streamload.storage.file_table import FileTable
from streamload.storage.files import identity_of

MAGIC = b"SLFOLD02"
"""Changes whenever the meaning of what is kept does."""
LOOKED_AT = 256
"""Files, from all over a folder, that must be what they were for the rest to be believed."""
_ARRAYS: dict[str, Any] = {
    "folder_starts": np.int64,
    "names": np.uint8,
    "name_starts": np.int64,
    "devices": np.int64,
    "inodes": np.uint64,
    "mtimes_ns": np.int64,
}
"""Of a table of files; and `nbytes`, in one of two types."""
_SIZES: dict[str, Any] = {"<u4": np.uint32, "<i8": np.int64}


@dataclass(kw_only=True, slots=True)
class Listing:
    """Images in a folder and below it, in order."""

    root: str
    """As the user named it."""
    folders: list[str]
    """Relative to the root, "" the root itself: those that hold images, in the order of `files`."""
    files: FileTable
    """The images: those of each folder sorted by their names."""
    classes: list[str]
    """Names of all folders in the root, sorted."""
    others: dict[str, list[str]]
    """Files that are no images, or cannot be read, by what is said of them: relative to the root."""

    def paths(self) -> list[str]:
        """Images relative to the root, in order."""
        starts, names = self.files.folder_starts.tolist(), self.files.name_list()
        return [os.path.join(folder, name) for at, folder in enumerate(self.folders) for name in names[starts[at] : starts[at + 1]]]


def kept_listing(root: str) -> Listing | None:
    """What was found in an earlier run, if no folder has changed since, and no file of some that are looked at."""
    asked = disk_cache.request([root], "images")
    found = disk_cache.load(asked, MAGIC, lambda data: _read(root, data))
    if found is None:
        return None
    table = found.files
    for number in range(0, len(table), max(1, len(table) // LOOKED_AT)):
        was = table[number]
        try:
            if identity_of(os.stat(was.path)) != was.identity:
                return None
        except OSError:
            return None
    return found


def is_kept(root: str) -> bool:
    """Whether an earlier run found images in a folder that has many, and no folder has changed since: its names are the same then."""
    return disk_cache.load(disk_cache.request([root], "images"), MAGIC, lambda data: _read(root, data)) is not None


def keep_listing(found: Listing, folders: Mapping[str, tuple[int, int, int, int]], seconds: float) -> None:
    """Keep what took `seconds` to find; `folders` are all that were looked into, as they were before that."""
    table = found.files
    said = {
        "table_folders": list(table.folders),
        "folders": found.folders,
        "classes": found.classes,
        "others": found.others,
        "nbytes": table.nbytes.dtype.str,
    }
    arrays: list[NDArray[Any]] = [table.nbytes, *(getattr(table, name) for name in _ARRAYS)]
    asked = disk_cache.request([found.root], "images")
    disk_cache.store(asked, MAGIC, dict(folders), lambda more: disk_cache.pack(MAGIC, {**said, "more": dict(more)}, arrays), seconds)


def _read(root: str, data: NDArray[np.uint8]) -> tuple[Listing, Mapping[str, Any]]:
    """What `keep_listing` wrote. Raises CorruptDataError for anything else."""
    try:
        said, (nbytes, *arrays) = disk_cache.unpack(MAGIC, data)
        found: dict[str, Any] = {name: array.view(dtype) for (name, dtype), array in zip(_ARRAYS.items(), arrays, strict=True)}
        table = FileTable(
            folders=tuple(map(str, said["table_folders"])),
            nbytes=nbytes.view(_SIZES[said["nbytes"]]),
            kept_as=(disk_cache.entry_of(said["more"]["request"], MAGIC),),
            **found,
        )
        _refuse_nonsense(table)
        _refuse_names(table)
        listing = Listing(
            root=root,
            folders=_texts(said["folders"]),
            files=table,
            classes=_texts(said["classes"]),
            others={why: _texts(names) for why, names in said["others"].items()},
        )
        _refuse_other_folders(listing)
    except disk_cache.DAMAGED as error:
        raise CorruptDataError(f"what was kept of a folder cannot be read: {error}.", hint="It is found out anew.") from error
    return listing, said["more"]


def _refuse_nonsense(table: FileTable) -> None:
    """Raise ValueError where arrays do not fit together."""
    count = len(table)
    fitting = len(table.nbytes) == len(table.mtimes_ns) == len(table.name_starts) - 1 == count and len(table.devices) in (1, count)
    for starts, stop in ((table.folder_starts, count), (table.name_starts, len(table.names))):
        fitting = fitting and len(starts) > 0 and int(starts[0]) == 0 and int(starts[-1]) == stop and bool((np.diff(starts) >= 0).all())
    if not fitting or len(table.folder_starts) != len(table.folders) + 1 or int(table.nbytes.min(initial=0)) < 0:
        raise ValueError("files are counted wrong")


def _refuse_names(table: FileTable) -> None:
    """Raise ValueError where a name of a file is none: empty, or with what no name may hold."""
    if (np.diff(table.name_starts) == 0).any() or np.isin(table.names, (0, ord(os.sep))).any():
        raise ValueError("names of files are no names")


def _refuse_other_folders(found: Listing) -> None:
    """Raise ValueError where folders are none that lie in the root, or in none of its classes."""
    real = os.path.realpath(found.root)
    if tuple(os.path.join(real, folder) if folder else real for folder in found.folders) != found.files.folders:
        raise ValueError("folders lie elsewhere")
    if found.classes != sorted(set(found.classes)) or not {folder.partition(os.sep)[0] for folder in found.folders} <= {"", *found.classes}:
        raise ValueError("folders are in no class")


def _texts(words: Any) -> list[str]:
    """A list of texts. Raises ValueError for anything else, and for one with a zero byte in it."""
    if not isinstance(words, list) or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise ValueError("what are to be texts are none")
    return words

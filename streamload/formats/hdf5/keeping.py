"""Surveys kept from one run to the next, by what the system says of the files: a million chunks are counted once.

Rules:

1. What was kept is used only if every file still has its path, device, inode, size, and times of change to the nanosecond.
2. It is not kept where a file was changed so lately that a later change could bear the same time.
3. An entry is written under another name and renamed; one that is damaged has a wrong checksum, and is thrown away.
4. The folder is the user's own, and nobody else may write to it. Entries are plain data, checked like those of a surveyor.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamload.errors import CorruptDataError
from streamload.formats.hdf5.facts import Survey
from streamload.formats.hdf5.plain import MAGIC, read_plain, write_plain

Fields = Sequence[str] | Mapping[str, str] | None

WORTH_SECONDS = 0.1
"""A survey that took less is made again next time."""
SETTLED_NS = 2 * 10**9
"""A file that was changed later than this is too young: clocks of file systems tick as rarely as every two seconds."""
MOST_NBYTES = 1024**3
"""What all entries may take together; those that were not used for longest go first."""
MOST_ENTRIES = 1000
"""How many entries there may be."""
_ABANDONED_SECONDS = 3600
_SUFFIX = ".survey"


def folder() -> Path | None:
    """The folder of entries: `$STREAMLOAD_CACHE_DIR/index`, else in the user's cache folder; None where it cannot be trusted or used."""
    root = os.environ.get("STREAMLOAD_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "streamload"
    )
    found = Path(root) / "index"
    try:
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = found.stat()
    except OSError:
        return None
    owned = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return found if owned and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def recall(paths: Sequence[str], fields: Fields) -> Survey | None:
    """What was kept of these files, if it is there, whole, and still true."""
    where = folder()
    if where is None:
        return None
    request = _request(paths, fields)
    entry = where / _name(request)
    try:
        data = np.fromfile(entry, np.uint8)
        found, more = read_plain(data)
        if more["request"] != request or not _still_true(found, more["times"]):
            return None
        os.utime(entry)
    except CorruptDataError:
        entry.unlink(missing_ok=True)
        return None
    except (OSError, LookupError, TypeError, ValueError):
        return None
    return found


def remember(paths: Sequence[str], fields: Fields, found: Survey, seconds: float) -> None:
    """Keep a survey that took `seconds`, if that is worth it. What cannot be written is not kept, and nobody is told."""
    where = folder() if seconds > WORTH_SECONDS else None
    if where is None or _needs_library(found):
        return
    try:
        times = _times(found)
        if any(time.time_ns() - max(mtime, ctime) < SETTLED_NS for mtime, ctime in times.values()):
            return
        request = _request(paths, fields)
        pieces = write_plain(found, {"request": request, "times": times})
        if sum(map(len, pieces)) > MOST_NBYTES // 2:
            return
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=where)
        try:
            with open(descriptor, "wb") as file:
                file.writelines(pieces)
            os.replace(temporary, where / _name(request))
        except BaseException:
            os.unlink(temporary)
            raise
        _prune(where)
    except OSError:
        return


def _needs_library(found: Survey) -> bool:
    """Whether it depends on filters that are installed today, and may not be tomorrow."""
    return any(stored.filters and index is None for file in found.files for stored, index in zip(file.fields, file.indexes, strict=True))


def _request(paths: Sequence[str], fields: Fields) -> list[Any]:
    asked = [list(pair) for pair in fields.items()] if isinstance(fields, Mapping) else None if fields is None else list(fields)
    return [[[os.fspath(path), os.path.realpath(path)] for path in paths], asked]


def _name(request: list[Any]) -> str:
    return hashlib.blake2b(MAGIC + json.dumps(request).encode(), digest_size=16).hexdigest() + _SUFFIX


def _times(found: Survey) -> dict[str, list[int]]:
    """When each file was written to, and when the system changed what it says of it: not even `touch` can set the latter back."""
    paths = [file.fingerprint.path for file in found.files]
    paths += [source for file in found.files for stored in file.fields for source in stored.sources]
    told = {path: os.stat(path) for path in dict.fromkeys(paths)}
    return {path: [status.st_mtime_ns, status.st_ctime_ns] for path, status in told.items()}


def _still_true(found: Survey, times: Mapping[str, list[int]]) -> bool:
    """Whether every file is what it was, and nobody is writing to it."""
    for file in found.files:
        was = file.fingerprint
        status = os.stat(was.path)
        if (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) != was.identity or _is_locked(was.path):
            return False
    return _times(found) == dict(times)


def _is_locked(path: str) -> bool:
    """Whether a writer holds the lock that the HDF5 library takes."""
    try:
        import fcntl
    except ImportError:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # Locks are not supported there; the library does without, too.
    finally:
        os.close(descriptor)
    return False


def _prune(where: Path) -> None:
    """Remove the entries used longest ago beyond what all may take, and what was abandoned half-written."""
    entries: list[tuple[float, int, Path]] = []
    for path in where.iterdir():
        status = path.stat()
        if path.suffix == _SUFFIX:
            entries.append((status.st_mtime, status.st_size, path))
        elif path.suffix == ".part" and time.time() - status.st_mtime > _ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
    total = 0
    for number, (_, nbytes, path) in enumerate(sorted(entries, reverse=True)):
        total += nbytes
        if total > MOST_NBYTES or number >= MOST_ENTRIES:
            path.unlink(missing_ok=True)

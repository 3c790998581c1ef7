"""Entries kept in the user's cache folder from one run to the next: what was found out about files, for as long as it is true.

Rules:

1. What was kept is used only if every file still has its path, device, inode, size, and times of change to the nanosecond.
2. It is not kept where a file was changed so lately that a later change could bear the same time.
3. An entry is written under another name and renamed; one that is damaged has a wrong checksum, and is thrown away.
4. The folder is the user's own, and nobody else may write to it. Entries are plain data: JSON, and arrays of numbers.
5. No link in it is followed, and nothing is deleted but what is called like an entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, UnsafeSourceError, damaged
from streamload.storage.owned_files import Folder, cache_folder

WORTH_SECONDS = 0.1
"""What was found out in less is found out again next time."""
SETTLED_NS = 2 * 10**9
"""A file that was changed later than this is too young: clocks of file systems tick as rarely as every two seconds."""
MOST_NBYTES = 1024**3
"""What all entries may take together; those that were not used for longest go first."""
MOST_ENTRIES = 1000
"""How many entries there may be."""
_ABANDONED_SECONDS = 3600
_SUFFIX = ".survey"
_ENTRY = re.compile(r"[0-9a-f]{32}\.survey")
_HALF = re.compile(r"\.[0-9a-f]{32}\.survey\.tmp-[0-9a-f-]+|\.[0-9a-z_]{8}\.part")
"""Written by this version, and by earlier ones."""
_HEAD = struct.Struct("<8sQQ16s")
_ALIGNMENT = 64

Pieces = list[bytes | memoryview]
Found = TypeVar("Found")


def folder() -> Folder | None:
    """The folder of entries, `index` in the cache folder, to be closed; None where it cannot be trusted or used."""
    return cache_folder("index")


def request(paths: Sequence[str], *asked: Any) -> list[Any]:
    """What an entry answers: these files, wherever links lead today, and what was asked of them. `asked` is what JSON can hold."""
    return [[[os.fspath(path), os.path.realpath(path)] for path in paths], *asked]


def load(asked: list[Any], magic: bytes, read: Callable[[NDArray[np.uint8]], tuple[Found, Mapping[str, Any]]]) -> Found | None:
    """What was kept under a request, if it is there, whole, and still true; `read` undoes what `keep` was given to write."""
    where = folder()
    if where is None:
        return None
    entry = _name(asked, magic)
    with where:
        try:
            with where.open(entry) as file:
                if os.fstat(file.fileno()).st_size > MOST_NBYTES:
                    raise damaged(f"{entry} is larger than all entries may be.", path=entry)
                data = np.fromfile(file, np.uint8)
            found, more = read(data)
            if more["request"] != asked or _times(more["times"]) != more["times"]:
                return None
            where.refresh(entry)
        except CorruptDataError:
            where.claim(entry)
            where.delete(entry)
            return None
        except (OSError, UnsafeSourceError, LookupError, TypeError, ValueError):
            return None
        return found


def store(
    asked: list[Any],
    magic: bytes,
    files: Mapping[str, tuple[int, int, int, int] | None],
    write: Callable[[Mapping[str, Any]], Pieces],
    seconds: float,
) -> None:
    """Keep what took `seconds` to find out, if that is worth it. What cannot be written is not kept, and nobody is told.

    `files` are those it depends on, with their device, inode, size and time of change as they were when it began, where that
    is known. `write` is given what must be written with it, and gives the pieces of the entry.
    """
    where = folder() if seconds > WORTH_SECONDS else None
    if where is None:
        return
    with where, suppress(OSError, UnsafeSourceError):
        times = _times(files)
        if any(was is not None and tuple(times[path][:4]) != was for path, was in files.items()):
            return
        began_ns = time.time_ns() - int(seconds * 1e9)
        if any(began_ns - max(mtime, ctime) < SETTLED_NS for *_, mtime, ctime in times.values()):
            return
        pieces = write({"request": asked, "times": times})
        if sum(map(len, pieces)) > MOST_NBYTES // 2:
            return
        entry = _name(asked, magic)
        where.claim(entry)
        where.write(entry, *pieces, mode=0o600, lasting=False)  # a torn one has a wrong checksum
        _prune(where)


def entry_of(asked: list[Any], magic: bytes) -> str:
    """What the entry is called that answers a request."""
    return _name(asked, magic)


def forget(entry: str) -> None:
    """Throw an entry away that proved to be untrue, if it is there."""
    where = folder() if _ENTRY.fullmatch(entry) else None
    if where is None:
        return
    with where, suppress(OSError, UnsafeSourceError):
        where.claim(entry)
        where.delete(entry)


def is_kept(entry: str) -> bool:
    """Whether there is such an entry."""
    where = folder()
    if where is None:
        return False
    with where:
        return where.status(entry) is not None


def pack(magic: bytes, said: Mapping[str, Any], arrays: Sequence[NDArray[Any]]) -> Pieces:
    """JSON and arrays in pieces, to be written one after the other, with a checksum; `magic` are eight bytes."""
    text = json.dumps({**said, "arrays": [array.nbytes for array in arrays]}).encode()
    pieces: Pieces = [text, bytes(-(_HEAD.size + len(text)) % _ALIGNMENT)]
    for array in arrays:
        pieces += [array.reshape(-1).view(np.uint8).data, bytes(-array.nbytes % _ALIGNMENT)]
    checksum = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        checksum.update(piece)
    return [_HEAD.pack(magic, len(text), sum(map(len, pieces)), checksum.digest()), *pieces]


def unpack(magic: bytes, data: NDArray[np.uint8]) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """What `pack` was given, arrays as bytes. Raises ValueError, or another error that damaged numbers lead to, for anything else."""
    found, text_nbytes, body_nbytes, digest = _HEAD.unpack(data[: _HEAD.size].tobytes())
    body = data[_HEAD.size :]
    if found != magic or len(body) != body_nbytes or hashlib.blake2b(body.data, digest_size=16).digest() != digest:
        raise ValueError("its beginning, its length or its checksum is wrong")
    said = json.loads(body[:text_nbytes].tobytes())
    place = text_nbytes + -(_HEAD.size + text_nbytes) % _ALIGNMENT
    arrays: list[NDArray[np.uint8]] = []
    for nbytes in said["arrays"]:
        piece = body[place : place + nbytes]
        if nbytes < 0 or len(piece) != nbytes:
            raise ValueError("an array is missing")
        arrays.append(piece)
        place += nbytes + -nbytes % _ALIGNMENT
    return said, arrays


DAMAGED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, struct.error, RecursionError)
"""What reading an entry raises that was damaged, or written by someone else."""


def _times(paths: Mapping[str, Any]) -> dict[str, list[int]]:
    """What the system says of each file: when it was changed too, which not even `touch` can set back."""
    told: dict[str, list[int]] = {}
    for path in paths:
        status = os.stat(path)
        told[path] = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return told


def _name(asked: list[Any], magic: bytes) -> str:
    return hashlib.blake2b(magic + json.dumps(asked).encode(), digest_size=16).hexdigest() + _SUFFIX


def _prune(where: Folder) -> None:
    """Remove the entries used longest ago beyond what all may take, and what was abandoned half-written."""
    entries: list[tuple[float, int, str]] = []
    for name in where.names():
        status = where.status(name)
        if status is None or not stat.S_ISREG(status.st_mode):
            continue
        if _ENTRY.fullmatch(name):
            entries.append((status.st_mtime, status.st_size, name))
        elif _HALF.fullmatch(name) and time.time() - status.st_mtime > _ABANDONED_SECONDS:
            where.claim(name)
            where.delete(name)
    total = 0
    for number, (_, nbytes, name) in enumerate(sorted(entries, reverse=True)):
        total += nbytes
        if total > MOST_NBYTES or number >= MOST_ENTRIES:
            where.claim(name)
            where.delete(name)

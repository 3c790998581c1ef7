"""Surveys kept from one run to the next: a million chunks are counted once, and a file that is being written stays busy."""

from __future__ import annotations

import os
from typing import Any

from streamload.formats.hdf5.metadata import FilesInfo
from streamload.formats.hdf5.metadata_json import MAGIC, metadata_from_json, metadata_to_json
from streamload.formats.hdf5.request import Request
from streamload.storage import disk_cache


def load_metadata(request: Request) -> FilesInfo | None:
    """What was kept of these files, if it is there, whole, and still true, and nobody is writing to them."""
    found = disk_cache.load(_asked(request), MAGIC, metadata_from_json)
    return None if found is None or any(_is_locked(file.path) for file in found.files) else found


def store_metadata(request: Request, found: FilesInfo, seconds: float) -> None:
    """Keep a survey that took `seconds`, if that is worth it."""
    if _needs_library(found):
        return
    files = {file.path: file.identity for file in found.files}
    disk_cache.store(_asked(request), MAGIC, files, lambda more: metadata_to_json(found, more), seconds)


def _needs_library(found: FilesInfo) -> bool:
    """Whether it depends on filters that are installed today, and may not be tomorrow."""
    return any(piece.stored.filters and piece.index is None for pieces in found.fields for piece in pieces)


def _asked(request: Request) -> list[Any]:
    fields = None if request.fields is None else [list(pair) for pair in request.fields]
    return disk_cache.request(request.paths, fields, request.axis, [list(pair) for pair in request.axes])


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

"""HDF5: planned with the HDF5 library, then read by offset without it wherever the layout allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamload.source import Source

NAME = "HDF5"
MAGIC = b"\x89HDF\r\n\x1a\n"


def matches(head: bytes, path: str) -> bool:
    """Whether a superblock stands at byte 0, or behind a user block of 512, 1024, 2048, ... bytes."""
    if head.startswith(MAGIC) or any(head[start : start + 8] == MAGIC for start in (512, 1024, 2048)):
        return True
    with open(path, "rb") as file:
        nbytes, start = file.seek(0, 2), 4096
        while start + len(MAGIC) <= nbytes:
            file.seek(start)
            if file.read(len(MAGIC)) == MAGIC:
                return True
            start *= 2
    return False


def plan(paths: Sequence[str], fields: Sequence[str] | Mapping[str, str] | None) -> Source:
    """A source over HDF5 files of one schema; see `streamload.formats.open.open_source`."""
    from streamload.formats.hdf5.planning import plan_files

    return plan_files(paths, fields)

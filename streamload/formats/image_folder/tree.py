"""What lies below a folder: names, and what the system says of each file, found out side by side."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError
from streamload.formats.naming.image_names import is_passed_over
from streamload.formats.partitions import leads_up
from streamload.kernels import identities_plain, identity_kernels
from streamload.storage.files import identity_of

LOOKING_THREADS = 8
"""Threads that ask the system for names, sizes and times: what they wait for is a disk, or a server."""
TOGETHER = 4096
"""Files that a thread looks at before it takes the next ones; fewer than that are looked at by the caller alone."""
FEW_THREADS, QUICK_S = 2, 15e-6
"""How many of them look where a file takes no longer than this, so that the system knows it without a disk: all of them would wait for
the interpreter, which only one has at a time. Of 200,000 files, eight took 1.0 s, and two 0.5."""
MANY = 300_000
"""Files that are worth the time which loading a compiled kernel takes."""

Identity = tuple[int, int, int, int]


@dataclass(kw_only=True, slots=True)
class FolderEntries:
    """What lies in one folder itself."""

    path: str
    """As it was walked to."""
    identity: Identity
    """Of the folder, before it was listed."""
    names: list[bytes]
    """Files, in order, in the bytes of the file system."""
    identities: NDArray[np.int64]
    """Device, inode (the bits of an unsigned number), size, time of change in ns and mode of each, -1 for one that the system
    refuses: shape (files, 5)."""
    folders: list[str] = field(default_factory=list[str])
    """Folders, in order, but for those that are passed over; links to folders among them."""


def tree_below(root: str) -> list[FolderEntries]:
    """A folder and the folders below it; those that are passed over, as hidden ones are, are not looked into.

    Links to folders are followed, each folder once, and under its own name first; none that leads back up. Raises SourceError
    for a folder that cannot be read: what is in it would be missing.
    """
    seen: set[tuple[int, int]] = set()
    found: list[FolderEntries] = []
    waiting = [root]
    with _Pool() as pool:
        while waiting:
            below, links = _walked(waiting.pop(0), seen, pool)
            found += below
            waiting += [link for link in links if not leads_up(link, root)]
    return found


def _walked(path: str, seen: set[tuple[int, int]], pool: _Pool) -> tuple[list[FolderEntries], list[str]]:
    """A folder and those below it, level after level, and the links to folders in them, in the order in which a walk meets them."""
    found: list[FolderEntries] = []
    links: list[tuple[list[str], str]] = []
    level = [path]
    while level:
        inside: list[FolderEntries] = []
        for one in pool.map(_listed, level):
            if one.identity[:2] not in seen:
                seen.add(one.identity[:2])
                inside.append(one)
        _look_at(inside, pool)
        found += inside
        level = []
        for one in inside:
            for name in one.folders:
                if os.path.islink(whole := os.path.join(one.path, name)):
                    links.append((one.path.split(os.sep), whole))
                else:
                    level.append(whole)
    return found, [link for _, link in sorted(links)]


def _listed(path: str) -> FolderEntries:
    """The names in a folder: folders are not told from files yet."""
    try:
        status = os.stat(path)
        names = os.listdir(os.fsencode(path))
    except OSError as error:
        raise SourceError(
            f"{path} cannot be listed: {error.strerror}.", hint="Check its permissions: what lies in it would be missing.", path=path
        ) from error
    # By code points, as Python sorts text: bytes sort alike but for names that are no UTF-8.
    names.sort(key=None if b"".join(names).isascii() else os.fsdecode)
    return FolderEntries(path=path, identity=identity_of(status), names=names, identities=np.zeros((len(names), 5), np.int64))


def _look_at(folders: Sequence[FolderEntries], pool: _Pool) -> None:
    """Find out what each name of some folders is, and tell files from folders."""
    total = sum(len(one.names) for one in folders)
    kernels = identity_kernels(many=pool.counted(total) > MANY)
    parts = [(one, start, kernels.identities) for one in folders for start in range(0, len(one.names), TOGETHER)]
    threads = LOOKING_THREADS
    if kernels is identities_plain and parts:
        last = parts.pop()  # The first ones have been looked at, perhaps, to find out what the folder is.
        began = time.perf_counter()
        _look_at_some(last)
        if time.perf_counter() - began < QUICK_S * min(TOGETHER, len(last[0].names) - last[1]):
            threads = FEW_THREADS
    list(pool.map(_look_at_each, [parts[number::threads] for number in range(threads)]))
    for one in folders:
        modes = one.identities[:, 4]
        are_folders = (modes >= 0) & (modes & 0o170000 == stat.S_IFDIR)
        if are_folders.any():
            inside = (os.fsdecode(one.names[number]) for number in np.flatnonzero(are_folders).tolist())
            one.folders = [name for name in inside if not is_passed_over(name)]
            one.names = [one.names[number] for number in np.flatnonzero(~are_folders).tolist()]
            one.identities = one.identities[~are_folders]


def _look_at_each(parts: Sequence[tuple[FolderEntries, int, Callable[..., None]]]) -> None:
    for part in parts:
        _look_at_some(part)


def _look_at_some(part: tuple[FolderEntries, int, Callable[..., None]]) -> None:
    """Look at the next `TOGETHER` files of a folder, from one on."""
    folder, start, look = part
    names = folder.names[start : start + TOGETHER]
    by_descriptor = os.stat in os.supports_dir_fd
    if not by_descriptor:
        names = [os.path.join(os.fsencode(folder.path), name) for name in names]
    starts = np.zeros(len(names) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, names), np.int64, len(names)) + 1, out=starts[1:])
    fd = os.open(folder.path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)) if by_descriptor else -1
    try:
        look(fd, b"\0".join(names) + b"\0", starts, folder.identities[start : start + len(names)])
    finally:
        if fd >= 0:
            os.close(fd)


class _Pool:
    """Threads that are made when there is enough to do for them; a context manager."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._count = 0

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def counted(self, more: int) -> int:
        """How many files there are so far, with `more` of them."""
        self._count += more
        if self._count > TOGETHER and self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(LOOKING_THREADS, thread_name_prefix="streamload-look")
        return self._count

    def map(self, work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
        """What `work` makes of each part, in order."""
        return map(work, parts) if self._pool is None or len(parts) < 2 else self._pool.map(work, parts)

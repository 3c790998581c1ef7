"""Very many files as a few arrays: the fingerprints of a folder of a million files without a million objects."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from streamload.storage.files import Fingerprint, recheck

LOOKING_THREADS = 8
"""Threads that ask the system for sizes and times: what they wait for is a disk, or a server."""
TOGETHER = 4096
"""Files that a thread looks at before it takes the next ones; fewer than that are looked at by the caller alone."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileTable(Sequence[Fingerprint]):
    """Fingerprints of files, made one at a time when they are asked for. Files lie in folders; 24 bytes each, and their names."""

    folders: tuple[str, ...]
    """Absolute."""
    folder_numbers: NDArray[np.int32]
    """The folder of each file: shape (files,)."""
    names: NDArray[np.uint8]
    """Names in their folders, one after the other, in the bytes of the file system."""
    name_starts: NDArray[np.int64]
    """Where each name begins, and the end of the last: shape (files + 1,)."""
    devices: NDArray[np.int64]
    """Of each file, shape (files,), or of all of them, shape (1,)."""
    inodes: NDArray[np.uint64]
    nbytes: NDArray[np.int64]
    mtimes_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inodes)

    @overload
    def __getitem__(self, index: int) -> Fingerprint: ...

    @overload
    def __getitem__(self, index: slice) -> FileTable: ...

    def __getitem__(self, index: int | slice) -> Fingerprint | FileTable:
        if isinstance(index, slice):
            return self._some(index)
        number = range(len(self))[index]
        device = self.devices[number if len(self.devices) > 1 else 0]
        identity = int(device), int(self.inodes[number]), int(self.nbytes[number]), int(self.mtimes_ns[number])
        return Fingerprint(self.path(number), *identity)

    def __iter__(self) -> Iterator[Fingerprint]:
        return (self[number] for number in range(len(self)))

    def path(self, number: int) -> str:
        """The path of a file."""
        name = self.names[self.name_starts[number] : self.name_starts[number + 1]].tobytes()
        return os.path.join(self.folders[self.folder_numbers[number]], os.fsdecode(name))

    def _some(self, index: slice) -> FileTable:
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise IndexError("files are taken side by side")
        stop = max(start, stop)
        arrays = {name: getattr(self, name)[start:stop] for name in ("folder_numbers", "inodes", "nbytes", "mtimes_ns")}
        devices = self.devices[start:stop] if len(self.devices) > 1 else self.devices
        return replace(self, **arrays, name_starts=self.name_starts[start : stop + 1], devices=devices)


def table_of(folders: Sequence[str], names: Sequence[Sequence[str]]) -> tuple[FileTable, list[tuple[str, str]]]:
    """Look at files, by folder, on several threads where there are many; `folders` are absolute, links to files are followed.

    Returns the table of those that are regular files, in order, and of the others the path, and why they are not there.
    """
    parts = [(folders[at], one[start : start + TOGETHER]) for at, one in enumerate(names) for start in range(0, len(one), TOGETHER)]
    if sum(map(len, names)) > TOGETHER:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(LOOKING_THREADS) as pool:
            looked = list(pool.map(_identities, *zip(*parts, strict=True)))
    else:
        looked = [_identities(*part) for part in parts]
    refused = [one for _, lacking in looked for one in lacking]
    table = np.concatenate([*(found for found, _ in looked), np.zeros((0, 4), np.int64)])
    numbers = np.repeat(np.arange(len(folders), dtype=np.int32), [len(one) for one in names])
    encoded = [os.fsencode(name) for one in names for name in one]
    if refused:
        there = table[:, 2] >= 0
        table, numbers = table[there], numbers[there]
        encoded = [name for name, is_there in zip(encoded, there.tolist(), strict=True) if is_there]
    devices = np.unique(table[:, 0])
    return FileTable(
        folders=tuple(folders),
        folder_numbers=numbers,
        names=np.frombuffer(b"".join(encoded), np.uint8),
        name_starts=np.concatenate([[0], np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))]).astype(np.int64),
        devices=devices if len(devices) == 1 else table[:, 0].copy(),
        inodes=table[:, 1].copy().view(np.uint64),
        nbytes=table[:, 2].copy(),
        mtimes_ns=table[:, 3].copy(),
    ), refused


def table_from(files: Sequence[Fingerprint]) -> FileTable:
    """Files that were looked at already, as a table, in their order."""
    folders: dict[str, int] = {}
    split = [os.path.split(was.path) for was in files]
    numbers = np.array([folders.setdefault(folder, len(folders)) for folder, _ in split], np.int32)
    encoded = [os.fsencode(name) for _, name in split]
    return FileTable(
        folders=tuple(folders),
        folder_numbers=numbers,
        names=np.frombuffer(b"".join(encoded), np.uint8),
        name_starts=np.cumsum([0, *map(len, encoded)]).astype(np.int64),
        devices=np.array([was.device for was in files], np.int64),
        inodes=np.array([was.inode for was in files], np.uint64),
        nbytes=np.array([was.nbytes for was in files], np.int64),
        mtimes_ns=np.array([was.mtime_ns for was in files], np.int64),
    )


def joined_tables(tables: Sequence[FileTable]) -> FileTable:
    """Tables as one, whose files follow each other."""
    if len(tables) == 1:
        return tables[0]
    above = np.cumsum([0, *(len(one.folders) for one in tables)])
    ends = np.cumsum([0, *(int(one.name_starts[-1] - one.name_starts[0]) for one in tables)])
    starts = [one.name_starts[:-1] - one.name_starts[0] + end for one, end in zip(tables, ends[:-1], strict=True)]
    return FileTable(
        folders=tuple(folder for one in tables for folder in one.folders),
        folder_numbers=np.concatenate([one.folder_numbers + np.int32(first) for one, first in zip(tables, above[:-1], strict=True)]),
        names=np.concatenate([one.names[one.name_starts[0] : one.name_starts[-1]] for one in tables]),
        name_starts=np.concatenate([*starts, ends[-1:]]).astype(np.int64),
        devices=np.concatenate([np.broadcast_to(one.devices, (len(one),)) for one in tables]),
        inodes=np.concatenate([one.inodes for one in tables]),
        nbytes=np.concatenate([one.nbytes for one in tables]),
        mtimes_ns=np.concatenate([one.mtimes_ns for one in tables]),
    )


def _identities(folder: str, names: Sequence[str]) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """Device, inode, size and time of each file, shape (files, 4), the size -1 of those that are no files; these, and why."""
    found: list[tuple[int, int, int, int]] = []
    refused: list[tuple[str, str]] = []
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
    fd = os.open(folder, flags) if os.stat in os.supports_dir_fd else None
    try:
        for name in names:
            try:
                status = os.stat(name if fd is not None else os.path.join(folder, name), dir_fd=fd)
            except OSError as error:
                refused.append((os.path.join(folder, name), f"cannot be looked at: {error.strerror}"))
                found.append((0, 0, -1, 0))
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
            else:
                refused.append((os.path.join(folder, name), "no regular file"))
                found.append((0, 0, -1, 0))
    finally:
        if fd is not None:
            os.close(fd)
    table = np.empty((len(found), 4), np.int64)
    for column, values in enumerate(zip(*found, strict=True)):
        table[:, column] = np.array(values, np.uint64 if column == 1 else np.int64).view(np.int64)
    return table, refused


def sizes_of(fingerprints: Sequence[Fingerprint], numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bytes of some files: shape (len(numbers),)."""
    if isinstance(fingerprints, FileTable):
        return fingerprints.nbytes[numbers]
    return np.fromiter((fingerprints[number].nbytes for number in numbers.tolist()), np.int64, len(numbers))


def total_nbytes(fingerprints: Sequence[Fingerprint]) -> int:
    """Bytes of all files together."""
    if isinstance(fingerprints, FileTable):
        return int(fingerprints.nbytes.sum())
    return sum(was.nbytes for was in fingerprints)


def recheck_files(fingerprints: Sequence[Fingerprint]) -> None:
    """Raise SourceChangedError unless all files are what they were; those of a table are looked at when they are read."""
    for was in fingerprints if not isinstance(fingerprints, FileTable) else ():
        recheck(was)

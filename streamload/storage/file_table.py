"""Very many files as a few arrays: the fingerprints of a folder of a million files without a million objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from streamload.storage import disk_cache
from streamload.storage.files import Fingerprint, recheck


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileTable(Sequence[Fingerprint]):
    """Fingerprints of files, made one at a time when they are asked for. Files lie in folders; 20 bytes each, and their names."""

    folders: tuple[str, ...]
    """Absolute; one may stand there several times."""
    folder_starts: NDArray[np.int64]
    """The first file in each folder, and the number of files: shape (folders + 1,)."""
    names: NDArray[np.uint8]
    """Names in their folders, one after the other, in the bytes of the file system."""
    name_starts: NDArray[np.int64]
    """Where each name begins, and the end of the last: shape (files + 1,)."""
    devices: NDArray[np.int64]
    """Of each file, shape (files,), or of all of them, shape (1,)."""
    inodes: NDArray[np.uint64]
    nbytes: NDArray[np.int64] | NDArray[np.uint32]
    """As narrow as they fit: four bytes each unless a file has 4 GB."""
    mtimes_ns: NDArray[np.int64]
    kept_as: tuple[str, ...] = ()
    """Entries of the disk cache that say the same of them, to be dropped where one of the files proves to be another."""

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
        folder = self.folders[int(self.folder_starts.searchsorted(number, side="right")) - 1]
        return os.path.join(folder, os.fsdecode(name))

    def paths(self, numbers: NDArray[np.integer]) -> list[bytes]:
        """The paths of some files, in the bytes of the file system."""
        folders = (self.folder_starts.searchsorted(numbers, side="right") - 1).tolist()
        known = {folder: os.fsencode(os.path.join(self.folders[folder], "")) for folder in set(folders)}
        bounds = zip(self.name_starts[numbers].tolist(), self.name_starts[numbers + 1].tolist(), strict=True)
        names = self.names.data
        return [known[folder] + names[start:stop] for folder, (start, stop) in zip(folders, bounds, strict=True)]

    def identities(self, numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Device, inode, size and time of change in ns of some files, inodes as the bits of unsigned numbers: shape (files, 4)."""
        found = np.empty((len(numbers), 4), np.int64)
        found[:, 0] = self.devices[numbers if len(self.devices) > 1 else 0]
        found[:, 1] = self.inodes.view(np.int64)[numbers]
        found[:, 2] = self.nbytes[numbers]
        found[:, 3] = self.mtimes_ns[numbers]
        return found

    def name_list(self) -> list[str]:
        """The names of all files in their folders, in order."""
        names, starts = self.names.tobytes(), self.name_starts.tolist()
        return [os.fsdecode(names[start:stop]) for start, stop in pairwise(starts)]

    def _some(self, index: slice) -> FileTable:
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise IndexError("files are taken side by side")
        stop = max(start, stop)
        arrays = {name: getattr(self, name)[start:stop] for name in ("inodes", "nbytes", "mtimes_ns")}
        folder_starts = np.clip(self.folder_starts - start, 0, stop - start)
        devices = self.devices[start:stop] if len(self.devices) > 1 else self.devices
        return replace(self, **arrays, folder_starts=folder_starts, name_starts=self.name_starts[start : stop + 1], devices=devices)


def table_of(folders: Sequence[str], names: Sequence[Sequence[bytes]], identities: Sequence[NDArray[np.int64]]) -> FileTable:
    """Files by folder, in order: their names, and of each folder device, inode, size and time of change, shape (files, 4 or more).

    `folders` are absolute.
    """
    table = np.concatenate([*(one[:, :4] for one in identities), np.zeros((0, 4), np.int64)])
    return _table(folders, [len(one) for one in names], [name for one in names for name in one], table)


def table_from(files: Sequence[Fingerprint]) -> FileTable:
    """Files that were looked at already, as a table, in their order."""
    split = [os.path.split(was.path) for was in files]
    runs = [(folder, len([*run])) for folder, run in groupby(folder for folder, _ in split)]
    table = np.zeros((len(files), 4), np.int64)
    for column, values in enumerate(zip(*(was.identity for was in files), strict=True)):
        table[:, column] = np.array(values, np.uint64 if column == 1 else np.int64).view(np.int64)
    return _table([folder for folder, _ in runs], [count for _, count in runs], [os.fsencode(name) for _, name in split], table)


def _table(folders: Sequence[str], counts: Sequence[int], names: Sequence[bytes], table: NDArray[np.int64]) -> FileTable:
    devices = np.unique(table[:, 0])
    return FileTable(
        folders=tuple(folders),
        folder_starts=np.cumsum([0, *counts]).astype(np.int64),
        names=np.frombuffer(b"".join(names), np.uint8),
        name_starts=_starts(np.fromiter(map(len, names), np.int64, len(names))),
        devices=devices if len(devices) == 1 else table[:, 0].copy(),
        inodes=table[:, 1].copy().view(np.uint64),
        nbytes=_narrow(table[:, 2].copy()),
        mtimes_ns=table[:, 3].copy(),
    )


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def _narrow(sizes: NDArray[np.int64]) -> NDArray[np.int64] | NDArray[np.uint32]:
    """Sizes in four bytes each, where they fit."""
    return sizes.astype(np.uint32) if int(sizes.max(initial=0)) <= np.iinfo(np.uint32).max else sizes


def joined_tables(tables: Sequence[FileTable]) -> FileTable:
    """Tables as one, whose files follow each other."""
    if len(tables) == 1:
        return tables[0]
    return FileTable(
        folders=tuple(folder for one in tables for folder in one.folders),
        folder_starts=_starts(np.concatenate([np.diff(one.folder_starts) for one in tables])),
        names=np.concatenate([one.names[one.name_starts[0] : one.name_starts[-1]] for one in tables]),
        name_starts=_starts(np.concatenate([np.diff(one.name_starts) for one in tables])),
        devices=np.concatenate([np.broadcast_to(one.devices, (len(one),)) for one in tables]),
        inodes=np.concatenate([one.inodes for one in tables]),
        nbytes=_narrow(np.concatenate([one.nbytes.astype(np.int64) for one in tables])),
        mtimes_ns=np.concatenate([one.mtimes_ns for one in tables]),
        kept_as=tuple(entry for one in tables for entry in one.kept_as),
    )


def sizes_of(fingerprints: Sequence[Fingerprint], numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bytes of some files: shape (len(numbers),)."""
    if isinstance(fingerprints, FileTable):
        return fingerprints.nbytes[numbers].astype(np.int64)
    return np.fromiter((fingerprints[number].nbytes for number in numbers.tolist()), np.int64, len(numbers))


def total_nbytes(fingerprints: Sequence[Fingerprint]) -> int:
    """Bytes of all files together."""
    if isinstance(fingerprints, FileTable):
        return int(fingerprints.nbytes.sum(dtype=np.int64))
    return sum(was.nbytes for was in fingerprints)


def recheck_files(fingerprints: Sequence[Fingerprint]) -> None:
    """Raise SourceChangedError unless all files are what they were; those of a table are looked at when they are read."""
    for was in fingerprints if not isinstance(fingerprints, FileTable) else ():
        recheck(was)


def forget_kept(fingerprints: Sequence[Fingerprint]) -> None:
    """Drop what is kept of files one of which proved to be another: whoever opens them again finds out anew."""
    for entry in fingerprints.kept_as if isinstance(fingerprints, FileTable) else ():
        disk_cache.forget(entry)


def is_forgotten(fingerprints: Sequence[Fingerprint]) -> bool:
    """Whether what these files are known by was kept, and was dropped since."""
    return isinstance(fingerprints, FileTable) and not all(map(disk_cache.is_kept, fingerprints.kept_as))

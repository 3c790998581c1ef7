"""Many files read whole by one compiled call, which proves of each that it is what it was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.source import ReadStats
from streamload.storage.file_table import FileTable
from streamload.storage.files import Fingerprint


class FilesTogether:
    """The files of a table, to be read by number; may be used by several threads at a time."""

    def __init__(self, table: FileTable, compiled: Any) -> None:
        folders = [os.fsencode(os.path.join(folder, "")) for folder in table.folders]
        arrays = compiled.FileArrays(
            folders=np.frombuffer(b"".join(folders) + b"\0", np.uint8),
            folder_places=np.cumsum([0, *map(len, folders)], dtype=np.int64),
            folder_starts=np.ascontiguousarray(table.folder_starts, np.int64),
            names=np.ascontiguousarray(table.names, np.uint8),
            name_starts=np.ascontiguousarray(table.name_starts, np.int64),
            devices=np.ascontiguousarray(table.devices, np.int64),
            inodes=np.ascontiguousarray(table.inodes, np.uint64),
            sizes=np.ascontiguousarray(table.nbytes),
            mtimes_ns=np.ascontiguousarray(table.mtimes_ns, np.int64),
        )
        self._count = len(table)
        self._sizes = table.nbytes
        self._files = compiled.ListedFiles(arrays)

    @classmethod
    def of(cls, files: Sequence[Fingerprint]) -> FilesTogether | None:
        """For files that are known in a way that a compiled call can go by, where there is a compiler; None otherwise."""
        compiled = kernels.whole_file_kernels()
        return cls(files, compiled) if compiled is not None and isinstance(files, FileTable) else None

    def read(self, numbers: NDArray[np.integer], out: NDArray[np.uint8], places: NDArray[np.int64], meter: ReadStats) -> int:
        """Read file `numbers[k]` into `out[places[k]:]`, one after the other as far as nothing is wrong: how many."""
        numbers = self._checked(numbers)
        failed = self._files.read(numbers, out, np.ascontiguousarray(places))
        done = len(numbers) if failed < 0 else failed
        meter.read_nbytes += int(self._sizes[numbers[:done]].sum(dtype=np.int64))
        return done

    def are_cached(self, numbers: NDArray[np.integer], offsets: NDArray[np.int64]) -> bool:
        """Whether the page cache holds the byte at `offsets[k]` of file `numbers[k]`, for every k; files that are empty or cannot
        be opened do not count: whoever reads them will say why."""
        return self._files.first_absent(self._checked(numbers), np.ascontiguousarray(offsets)) < 0

    def begin_reading(self, numbers: NDArray[np.integer]) -> None:
        """Ask the kernel to begin reading files."""
        self._files.begin_reading(self._checked(numbers))

    def _checked(self, numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Numbers as compiled code may take them: it does not look whether there is such a file."""
        numbers = np.ascontiguousarray(numbers, np.int64)
        if len(numbers) and not (int(numbers.min()) >= 0 and int(numbers.max()) < self._count):
            raise IndexError(f"there are {self._count:,} files, and file {int(numbers.max()):,} or {int(numbers.min()):,} was asked for")
        return numbers

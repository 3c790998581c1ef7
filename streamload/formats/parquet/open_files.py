"""Parquet files that one process keeps open with pyarrow, shared by the readers of all columns: opening one costs what it holds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from streamload.storage.files import OpenFiles

MOST_FILES = 16
"""Files that are kept open."""
FOOTERS_NBYTES = 4 * 1024**2
"""Of footers that are kept parsed, as they are stored: of thousands of files, to each of which every window comes back."""


class ParquetFiles:
    """The files of a source as pyarrow reads them, by number."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._footers: OrderedDict[int, Any] = OrderedDict()
        self._footers_nbytes = 0

    def close(self) -> None:
        """Close them all, and forget their footers."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        self._footers.clear()
        self._footers_nbytes = 0

    def file(self, number: int, path: str) -> Any:
        """A file, opened unless it is; a little later it may be closed again."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        from streamload.formats.parquet.pyarrow_file import open_file

        footer = self._footers.get(number)
        file = open_file(path, footer)
        self._open[number] = file
        if footer is None:
            self._footers[number] = file.metadata
            self._footers_nbytes += file.metadata.serialized_size
            while self._footers_nbytes > FOOTERS_NBYTES and len(self._footers) > 1:
                self._footers_nbytes -= self._footers.popitem(last=False)[1].serialized_size
        else:
            self._footers.move_to_end(number)
        if len(self._open) > MOST_FILES:
            self._open.popitem(last=False)[1].close()
        return file


def parquet_files(files: OpenFiles) -> ParquetFiles:
    """Those of open files: the same for all readers that share these."""
    return files.beside("parquet", ParquetFiles)

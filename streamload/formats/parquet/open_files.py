"""Parquet files that one process keeps open with pyarrow, shared by the readers of all columns: opening one costs what it holds."""

from __future__ import annotations

from typing import Any

from streamload.reuse.lru import LRU
from streamload.storage.files import OpenFiles

MOST_FILES = 16
"""Files that are kept open."""
FOOTERS_NBYTES = 4 * 1024**2
"""Of footers that are kept parsed, as they are stored: of thousands of files, to each of which every window comes back."""


class ParquetFiles:
    """The files of a source as pyarrow reads them, by number."""

    def __init__(self) -> None:
        self._open = LRU[int, Any](limit=MOST_FILES, discard=lambda file: file.close(force=True))
        self._coarse = LRU[str, Any](limit=MOST_FILES, discard=lambda file: file.close(force=True))
        self._footers = LRU[int, Any](limit=FOOTERS_NBYTES, size=lambda footer: footer.serialized_size)

    def close(self) -> None:
        """Close them all, and forget their footers."""
        self._open.clear()
        self._coarse.clear()
        self._footers.clear()

    def file(self, number: int, path: str) -> Any:
        """A file, opened unless it is; a little later it may be closed again."""
        return self._open.get(number, lambda number: self._opened(number, path))

    def in_milliseconds(self, path: str) -> Any:
        """A file whose moments of 96 bits are delivered in milliseconds, opened unless it is."""
        from streamload.formats.parquet.pyarrow_file import open_file

        return self._coarse.get(path, lambda path: open_file(path, int96_unit="ms"))

    def _opened(self, number: int, path: str) -> Any:
        from streamload.formats.parquet.pyarrow_file import open_file

        footer = self._footers.find(number)
        file = open_file(path, footer)
        if footer is None:
            self._footers.put(number, file.metadata)
        return file


def parquet_files(files: OpenFiles) -> ParquetFiles:
    """Those of open files: the same for all readers that share these."""
    return files.beside("parquet", ParquetFiles)

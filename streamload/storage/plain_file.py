"""A file read by the places of its bytes, and what else can be read so."""

from __future__ import annotations

import os
from typing import Protocol

from streamload.storage.files import regular_file


class StoredFile(Protocol):
    """A file that is read."""

    @property
    def addressable(self) -> bool:
        """Whether going back costs no more than going on."""
        ...

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes [offset, offset + nbytes), as far as there are any."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class PlainFile:
    """A file that is not packed."""

    addressable = True

    def __init__(self, path: str) -> None:
        self._fd = regular_file(path)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes [offset, offset + nbytes), as far as there are any."""
        data = os.pread(self._fd, nbytes, offset)
        while 0 < len(data) < nbytes:
            more = os.pread(self._fd, nbytes - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

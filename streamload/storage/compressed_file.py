"""Compressed files, read by the places of their bytes as if they were not: what is unpacked goes by, and never onto a disk."""

from __future__ import annotations

import lzma
import os
import zlib
from typing import Any

from streamload.errors import CorruptDataError, SourceError, damaged
from streamload.storage.files import system_failure
from streamload.storage.plain_file import PlainFile, StoredFile

BLOCK_NBYTES = 1 << 14
"""So much is unpacked at a time: little, since of a block that is damaged nothing is had."""
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""By the bytes with which files begin."""


class CompressedFile:
    """A compressed file: places count unpacked bytes. To go back is to begin anew."""

    addressable = False

    def __init__(self, path: str, compression: str) -> None:
        self._path = path
        self._compression = compression
        self._stream: Any = None
        self._block = b""
        self._start = 0
        self._damage: CorruptDataError | None = None
        """What keeps the rest from being unpacked, once that was found."""

    def _next(self) -> bool:
        """Go on by one block; False at the end."""
        if self._damage is not None:
            raise self._damage
        try:
            if self._stream is None:
                self._stream = _unpacking(self._path, self._compression)
                self._block, self._start = b"", 0
            block = self._stream.read(BLOCK_NBYTES)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if failure := system_failure(self._path, error):
                raise failure from error
            self._damage = damaged(
                f"{self._path} cannot be unpacked beyond byte {self._start + len(self._block):,}: {error}.", path=self._path
            )
            raise self._damage from error
        if block:
            self._start += len(self._block)
            self._block = block
        return bool(block)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes [offset, offset + nbytes), as far as there are any. Raises CorruptDataError where damage keeps the first from being had."""
        if offset < self._start:
            self.close()
        parts: list[bytes] = []
        stop = offset + nbytes
        while offset < stop:
            try:
                if offset >= self._start + len(self._block) and not self._next():
                    break
            except CorruptDataError:
                if not parts:
                    raise
                break
            part = self._block[offset - self._start : stop - self._start] if offset < self._start + len(self._block) else b""
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the file; the next read begins anew."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._block, self._start, self._damage = None, b"", 0, None


def _unpacking(path: str, compression: str) -> Any:
    """What reads the unpacked bytes of a file, one after the other."""
    if compression == "zstd":
        import pyarrow as pa

        # The library says paths in UTF-8, and takes those that are bytes as they are.
        return pa.CompressedInputStream(pa.OSFile(os.fsencode(path)), "zstd")
    if compression == "gzip":
        import gzip

        return gzip.open(path)
    if compression == "bz2":
        import bz2

        return bz2.open(path)
    return lzma.open(path)


def compression_of(head: bytes) -> str | None:
    """How a file is compressed that begins so: "gzip", "bz2", "xz", "zstd"; None where it is not."""
    return next((compression for magic, compression in COMPRESSIONS.items() if head.startswith(magic)), None)


def open_unpacked(path: str) -> StoredFile:
    """The bytes of a file, unpacked where it is compressed. Raises SourceError where it cannot be opened."""
    try:
        plain = PlainFile(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be opened: {error.strerror}.", hint="Check the path and its permissions.", path=path) from error
    compression = compression_of(plain.read(0, 6))
    if compression is None:
        return plain
    plain.close()
    return CompressedFile(path, compression)


def unpacked_head(head: bytes, path: str, nbytes: int) -> bytes:
    """The first bytes of a file that begins with `head`, unpacked where it is compressed; nothing where that fails."""
    compression = compression_of(head)
    if compression is None:
        return head[:nbytes]
    file = CompressedFile(path, compression)
    try:
        return file.read(0, nbytes)
    except CorruptDataError:
        return b""
    finally:
        file.close()

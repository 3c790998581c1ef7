"""Bytes of a file by their place in it, whether it is packed or not: what is packed is unpacked as it goes by, never onto a disk."""

from __future__ import annotations

from typing import Any

from streamload.errors import CorruptDataError, SourceError
from streamload.storage.plain_file import PlainFile, StoredFile

BLOCK_NBYTES = 1 << 14
"""Packed files are unpacked so much at a time: little, since of a block that is damaged nothing is had."""
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
SUFFIXES = (".gz", ".zst")


class CompressedFile:
    """A packed file: places count unpacked bytes. To go back is to begin anew."""

    addressable = False

    def __init__(self, path: str, packing: str) -> None:
        self._path = path
        self._packing = packing
        self._stream: Any = None
        self._block = b""
        self._start = 0

    def _next(self) -> bool:
        """Go on by one block; False at the end."""
        try:
            if self._stream is None:
                import pyarrow as pa

                self._stream = pa.input_stream(self._path, compression=self._packing)
                self._block, self._start = b"", 0
            block = self._stream.read(BLOCK_NBYTES)
        except OSError as error:
            raise CorruptDataError(
                f"{self._path} cannot be unpacked beyond byte {self._start + len(self._block):,}: {error}.",
                hint="It is damaged or cut short: fetch it again.",
                path=self._path,
            ) from error
        if block:
            self._start += len(self._block)
            self._block = block
        return bool(block)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes [offset, offset + nbytes), as far as there are any."""
        if offset < self._start:
            self.close()
        parts: list[bytes] = []
        stop = offset + nbytes
        while offset < stop:
            if offset >= self._start + len(self._block) and not self._next():
                break
            part = self._block[offset - self._start : stop - self._start] if offset < self._start + len(self._block) else b""
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the file; the next read begins anew."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._block, self._start = None, b"", 0


def bytes_of(path: str) -> StoredFile:
    """The bytes of a file, unpacked where it begins as packed files do. Raises SourceError where it cannot be opened."""
    try:
        plain = PlainFile(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be opened: {error.strerror}.", hint="Check the path and its permissions.", path=path) from error
    head = plain.read(0, 4)
    for magic, packing in MAGIC.items():
        if head.startswith(magic):
            plain.close()
            return CompressedFile(path, packing)
    return plain

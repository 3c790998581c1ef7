"""The head of an IDX file: a code for the type of its values, and the lengths of its axes."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SourceError, damaged
from streamload.storage.files import regular_file

MAGIC_NBYTES = 4
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""By the code in the third byte."""
MOST_AXES = 8
MOST_UNPACKED_NBYTES = 1 << 30
"""What a compressed file may unpack to, to be held in memory: larger ones are unpacked as they go by."""
PIECE_NBYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IdxArray:
    """The array of one file."""

    dtype: np.dtype
    """As it lies in the file."""
    shape: tuple[int, ...]
    """The number of records first."""
    offset: int
    """Of its first byte."""
    values: NDArray[np.generic] | None
    """All of it, where the file is compressed and not too large for that."""
    compressed: bool


def begins_as_idx(head: bytes) -> bool:
    """Whether the first bytes are those of an IDX file."""
    return len(head) >= MAGIC_NBYTES and head[:2] == b"\0\0" and head[2] in DTYPES and 0 < head[3] <= MOST_AXES


def is_images(name: str) -> bool:
    """Whether a file is called as MNIST's images are."""
    return "images-idx" in name or "images.idx" in name


def read_idx(path: str) -> IdxArray:
    """The array of a file: where it lies, or its values where it is packed.

    Raises CorruptDataError where the file is shorter or longer than its head says: a compressed one is unpacked to see that.
    """
    try:
        with open(path, "rb", opener=regular_file) as file:
            packed = file.read(2) == b"\x1f\x8b"
        with cast("IO[bytes]", gzip.open(path, "rb") if packed else open(path, "rb")) as file:
            head = file.read(MAGIC_NBYTES)
            if not begins_as_idx(head):
                raise EOFError("it does not begin as IDX files do")
            lengths = file.read(4 * head[3])
            if len(lengths) != 4 * head[3]:
                raise EOFError("its head is cut short")
            shape = tuple(np.frombuffer(lengths, ">u4").astype(int).tolist())
            dtype, offset = np.dtype(DTYPES[head[2]]), MAGIC_NBYTES + len(lengths)
            nbytes = math.prod(shape) * dtype.itemsize
            values = _unpacked(path, file, nbytes, dtype, shape) if packed else None
            if not packed and os.path.getsize(path) - offset != nbytes:
                raise _wrong_size(path, os.path.getsize(path) - offset, nbytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(f"{path} cannot be read as IDX: {error}.", path=path) from error
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions and the disk.", path=path) from error
    return IdxArray(dtype=dtype, shape=shape, offset=offset, values=values, compressed=packed)


def _unpacked(path: str, file: IO[bytes], nbytes: int, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The values of a compressed file, in native order of bytes, None where they are too many; no more is unpacked than its head says."""
    if nbytes > MOST_UNPACKED_NBYTES:
        found = 0
        while found <= nbytes and (piece := file.read(min(PIECE_NBYTES, nbytes + 1 - found))):
            found += len(piece)
        if found != nbytes:
            raise _wrong_size(path, found, nbytes)
        return None
    data = file.read(nbytes + 1)
    if len(data) != nbytes:
        raise _wrong_size(path, len(data), nbytes)
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _wrong_size(path: str, found: int, nbytes: int) -> CorruptDataError:
    return damaged(f"{path} holds {found:,} bytes of values, and its head says {nbytes:,}.", path=path)

"""CRC-32 as fast as memory, of files in blocks and of records as they go by."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamload.tools.direct_writes import ALIGNMENT, LEAST_NBYTES, direct_descriptor

from streamload.ragged import Ragged

READERS = 4
"""Threads that read and compute: a device answers several at a time, and all of it is done without the interpreter's lock."""
AT_ONCE_BLOCKS = 4
PROBES = 16
"""Places at which the page cache is asked whether it holds a file."""


@cache
def crc32() -> Callable[[Any, int], int]:
    """The CRC-32 that zip and PNG have: libdeflate's, ten times as fast as zlib's, where it is there."""
    try:
        import imagecodecs
    except ImportError:
        return zlib.crc32
    if not getattr(imagecodecs.DEFLATE, "available", False):
        return zlib.crc32
    return lambda data, before: int(imagecodecs.deflate_crc32(data, before))


@cache
def adler32() -> Callable[[Any, int], int]:
    """The checksum of zlib's own streams, where libdeflate is there as fast as memory, too."""
    try:
        import imagecodecs
    except ImportError:
        return zlib.adler32
    if not getattr(imagecodecs.DEFLATE, "available", False):
        return zlib.adler32
    return lambda data, before: int(imagecodecs.deflate_adler32(data, before))


def quick_hash(data: memoryview) -> bytes:
    """16 bytes that tell large records apart: two checksums of either half. No secret: whoever wants to can make equal ones."""
    half = len(data) // 2
    return struct.pack("<4I", *(make()(part, start) for part in (data[:half], data[half:]) for make, start in ((crc32, 0), (adler32, 1))))


def block_checksums(
    path: str,
    block_nbytes: int,
    saw: Callable[[int], None] | None = None,
    also: Callable[[memoryview, int], None] | None = None,
    *,
    past_cache: bool = False,
) -> Iterator[int]:
    """CRC-32 of every block of a file, in order; a few megabytes of memory serve a file of any size.

    `saw` hears how many bytes were read; `also` is given the bytes, in order, and the place in the file of the first. With
    `past_cache`, what the page cache does not hold is read past it: from the device, at a tenth of the processor time.
    """
    checksum = crc32()
    fd = os.open(path, os.O_RDONLY)
    direct: int | None = None
    try:
        nbytes = os.fstat(fd).st_size
        stretch = min(AT_ONCE_BLOCKS, -(-nbytes // block_nbytes)) * block_nbytes
        if past_cache and nbytes >= LEAST_NBYTES and not stretch % ALIGNMENT and not _is_cached(fd, nbytes):
            direct = direct_descriptor(path, os.O_RDONLY)
        if direct is None and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        # Memory is taken once: fresh pages for every block would cost as much as their checksums.
        buffers = [memoryview(mmap.mmap(-1, stretch)) for _ in range(min(READERS + 1, -(-nbytes // max(1, stretch))))]

        def checksums(offset: int, view: memoryview) -> tuple[list[int], int]:
            there, wanted = 0, min(stretch, nbytes - offset)
            while there < wanted:
                which = fd if direct is None or there % ALIGNMENT else direct
                came = os.preadv(which, [view[there:]], offset + there)
                if not came:
                    break
                there += came
            there = min(there, wanted)
            return [checksum(view[at : min(at + block_nbytes, there)], 0) for at in range(0, there, block_nbytes)], there

        def told(future: Future[tuple[list[int], int]], number: int) -> list[int]:
            found, came = future.result()
            if also is not None:
                also(buffers[number % len(buffers)][:came], number * stretch)
            if saw is not None:
                saw(came)
            return found

        with ThreadPoolExecutor(READERS) as pool:
            waiting: deque[Future[tuple[list[int], int]]] = deque()
            for number, offset in enumerate(range(0, nbytes, max(1, stretch))):
                if len(waiting) == len(buffers):
                    yield from told(waiting.popleft(), number - len(buffers))
                waiting.append(pool.submit(checksums, offset, buffers[number % len(buffers)]))
            first = -(-nbytes // max(1, stretch)) - len(waiting)
            for number, future in enumerate(waiting, start=first):
                yield from told(future, number)
    finally:
        for one in (fd, direct):
            if one is not None:
                os.close(one)


def _is_cached(fd: int, nbytes: int) -> bool:
    """Whether the page cache seems to hold a file: asked at some places."""
    try:
        places = range(0, nbytes, max(1, nbytes // PROBES))
        return all(os.preadv(fd, [bytearray(1)], place, os.RWF_NOWAIT) == 1 for place in places)
    except (OSError, AttributeError):
        return False


def record_checksums(taken: Mapping[str, NDArray[Any] | Ragged]) -> dict[str, tuple[int, int]]:
    """By field, a checksum of the bytes of records, and of their lengths where these differ."""
    checksum = crc32()
    found: dict[str, tuple[int, int]] = {}
    for name, values in taken.items():
        lengths = 0
        data: Any = values
        if isinstance(values, Ragged):
            lengths = checksum(np.ascontiguousarray(np.diff(values.offsets)).view(np.uint8).data, 0)
            data = values.values[int(values.offsets[0]) : int(values.offsets[-1])]
        little = np.ascontiguousarray(data.astype(data.dtype.newbyteorder("<"), copy=False)).reshape(-1)
        found[name] = (checksum(little.view(np.uint8).data, 0) if little.size else 0, lengths)
    return found

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

from streamload.ragged import Ragged

READERS = 4
"""Threads that read and compute: a device answers several at a time, and all of it is done without the interpreter's lock."""
AT_ONCE_BLOCKS = 4
POLYNOMIAL, ONE = 0xEDB88320, 1 << 31
"""Of CRC-32, with its bits in the order in which bytes have them: the highest is that of 1."""


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


def joined_crc32(before: int, then: int, nbytes: int) -> int:
    """The CRC-32 of bytes whose checksum is `before` and, behind them, `nbytes` others whose own is `then`."""
    while before and nbytes:
        # Byte by byte of the length, so that few powers serve all lengths.
        least = nbytes & -nbytes
        part = nbytes & (0xFF << (least.bit_length() - 1) // 8 * 8)
        before = _product(_power(part), before)
        nbytes -= part
    return before ^ then


@cache
def _power(nbytes: int) -> int:
    """x to the power of the bits of so many bytes, modulo the polynomial of CRC-32."""
    made, square, bits = ONE, ONE >> 1, 8 * nbytes
    while bits:
        made = _product(square, made) if bits & 1 else made
        square, bits = _product(square, square), bits >> 1
    return made


def _product(first: int, second: int) -> int:
    """Two polynomials over bits, multiplied modulo that of CRC-32; the highest bit stands for 1."""
    made = 0
    while first:
        if first & ONE:
            made ^= second
        first = first << 1 & 0xFFFFFFFF
        second = second >> 1 ^ POLYNOMIAL if second & 1 else second >> 1
    return made


def block_checksums(path: str, block_nbytes: int, saw: Callable[[int], None] | None = None) -> Iterator[int]:
    """CRC-32 of every block of a file, in order; a few megabytes of memory serve a file of any size.

    `saw` hears how many bytes were read.
    """
    checksum = crc32()
    fd = os.open(path, os.O_RDONLY)
    try:
        nbytes = os.fstat(fd).st_size
        stretch = min(AT_ONCE_BLOCKS, -(-nbytes // block_nbytes)) * block_nbytes
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        # Memory is taken once: fresh pages for every block would cost as much as their checksums.
        buffers = [memoryview(mmap.mmap(-1, stretch)) for _ in range(min(READERS + 1, -(-nbytes // max(1, stretch))))]

        def checksums(offset: int, view: memoryview) -> tuple[list[int], int]:
            there = 0
            while there < stretch and (came := os.preadv(fd, [view[there:]], offset + there)):
                there += came
            return [checksum(view[at : min(at + block_nbytes, there)], 0) for at in range(0, there, block_nbytes)], there

        def told(future: Future[tuple[list[int], int]]) -> list[int]:
            found, came = future.result()
            if saw is not None:
                saw(came)
            return found

        with ThreadPoolExecutor(READERS) as pool:
            waiting: deque[Future[tuple[list[int], int]]] = deque()
            for number, offset in enumerate(range(0, nbytes, max(1, stretch))):
                if len(waiting) == len(buffers):
                    yield from told(waiting.popleft())
                waiting.append(pool.submit(checksums, offset, buffers[number % len(buffers)]))
            for future in waiting:
                yield from told(future)
    finally:
        os.close(fd)


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

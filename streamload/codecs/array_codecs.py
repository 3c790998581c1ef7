"""Codecs of Zarr's arrays that HDF5 has no number for, undone like HDF5's filters: bounded by the buffer that is there."""

from __future__ import annotations

import bz2
import lzma as xz
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.codecs.filters import FilterStep, Undo, codec, stream
from streamload.errors import ChecksumError, CorruptDataError
from streamload.kernels import checksum_kernels

GZIP, LZ4, XZ, BZ2, CRC32C, CRC32, ADLER32, DELTA, PACKBITS, TRANSPOSE = range(1 << 16, (1 << 16) + 10)
"""Their numbers here: above all that HDF5 can give out."""
XZ_NBYTES = 80 * 1024**2
"""Memory that LZMA may take for its dictionary: the strongest preset needs 65 MiB."""
BZ2_NBYTES = 4 * 1024**2
START, END = 0, 1
"""Where a checksum of four bytes stands: before the data, or behind them."""


def lz4(values: tuple[int, ...], itemsize: int) -> Undo:
    """One block of LZ4 behind its length, four bytes, little-endian."""
    lz4_decode = codec("lz4_decode")

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(data) < 4:
            raise CorruptDataError(f"lz4 needs a length of 4 bytes, and there are {len(data)} bytes.")
        (nbytes,) = struct.unpack("<I", data[:4].data)
        if nbytes > len(room):
            raise CorruptDataError(f"lz4's length says {nbytes:,} bytes, where there can be {len(room):,} at most.")
        return lz4_decode(data[4:], out=room[:nbytes])

    return undo


def whole(name: str, begin: Callable[[], Any]) -> Callable[[tuple[int, ...], int], Undo]:
    """One stream that `begin` makes a decompressor of the standard library for: no more is made of it than fits."""

    def make(values: tuple[int, ...], itemsize: int) -> Undo:
        def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
            decompressor = begin()
            found = decompressor.decompress(data.data, len(room) + 1)
            if not decompressor.eof or len(found) > len(room):
                raise CorruptDataError(f"{name}'s stream is cut short, or holds more than the {len(room):,} bytes that there can be.")
            room[: len(found)] = np.frombuffer(found, np.uint8)
            return room[: len(found)]

        return undo

    return make


def checksum(name: str, compute: Callable[[NDArray[np.uint8]], int]) -> Callable[[tuple[int, ...], int], Undo]:
    """A checksum of four bytes, little-endian, before the data or behind them, which is verified and cut off."""

    def make(values: tuple[int, ...], itemsize: int) -> Undo:
        at_start = bool(values) and values[0] == START

        def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
            if len(data) < 4:
                raise CorruptDataError(f"{name} needs 4 bytes of checksum, and there are {len(data)} bytes.")
            head, body = (data[:4], data[4:]) if at_start else (data[-4:], data[:-4])
            (stored,), computed = struct.unpack("<I", head.data), compute(body)
            if stored != computed:
                raise ChecksumError(f"its {name} checksum is {stored:#010x}, and its bytes give {computed:#010x}.")
            return body

        return undo

    return make


def delta(values: tuple[int, ...], itemsize: int) -> Undo:
    """Differences between elements, the first as it is; `values` are the letters of the dtype."""
    dtype = np.dtype(bytes(values).decode("ascii"))

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(data) % dtype.itemsize or len(data) > len(room):
            raise CorruptDataError(f"delta cannot make {len(room):,} bytes of elements of {dtype.itemsize} from {len(data):,}.")
        # NumPy sums in the byte order of the machine, whatever it is asked for.
        summed = np.cumsum(data.view(dtype), dtype=dtype).astype(dtype, copy=False)
        room[: len(data)] = summed.view(np.uint8)
        return room[: len(data)]

    return undo


def packbits(values: tuple[int, ...], itemsize: int) -> Undo:
    """Eight truth values a byte, behind a byte that says how many bits of the last are none."""

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        count = 8 * (len(data) - 1) - int(data[0]) if len(data) else -1
        if not 0 <= count <= len(room) or data[0] > 7:
            raise CorruptDataError(f"packbits cannot make {len(room):,} truth values of {len(data):,} bytes.")
        room[:count] = np.unpackbits(data[1:])[:count]
        return room[:count]

    return undo


def transpose(values: tuple[int, ...], itemsize: int) -> Undo:
    """Axes in another order: `values` are the axes of the chunk in the order in which they are stored, and its shape."""
    axes = len(values) // 2
    order, shape = values[:axes], values[axes:]
    stored = [shape[axis] for axis in order]
    back = np.argsort(order)
    element = np.dtype({1: "u1", 2: "u2", 4: "u4", 8: "u8"}.get(itemsize, f"V{itemsize}"))
    nbytes = math.prod(shape) * itemsize

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(data) != nbytes or len(room) < nbytes:
            raise CorruptDataError(f"its axes cannot be turned: {len(data):,} bytes, where the chunk has {nbytes:,}.")
        room[:nbytes].view(element).reshape(shape)[...] = data.view(element).reshape(stored).transpose(back)
        return room[:nbytes]

    return undo


def _begin_xz() -> xz.LZMADecompressor:
    return xz.LZMADecompressor(xz.FORMAT_XZ, memlimit=XZ_NBYTES)


def _same(nbytes: int) -> int:
    return nbytes


def _more(nbytes: int) -> int:
    return nbytes + 4


ARRAY_STEPS: dict[int, FilterStep] = {
    GZIP: FilterStep(name="gzip", make=stream("gzip_decode")),
    LZ4: FilterStep(name="lz4", make=lz4),
    XZ: FilterStep(
        name="lzma",
        make=whole("lzma", _begin_xz),
        scratch=lambda nbytes: XZ_NBYTES + nbytes,
    ),
    BZ2: FilterStep(name="bz2", make=whole("bz2", bz2.BZ2Decompressor), scratch=lambda nbytes: BZ2_NBYTES + nbytes),
    CRC32C: FilterStep(name="crc32c", make=checksum("crc32c", lambda data: checksum_kernels().crc32c(data.data)), writes=False, most=_more),
    CRC32: FilterStep(name="crc32", make=checksum("crc32", lambda data: zlib.crc32(data.data)), writes=False, most=_more),
    ADLER32: FilterStep(name="adler32", make=checksum("adler32", lambda data: zlib.adler32(data.data)), writes=False, most=_more),
    DELTA: FilterStep(name="delta", make=delta, most=_same, scratch=_same),
    PACKBITS: FilterStep(name="packbits", make=packbits, most=lambda nbytes: nbytes // 8 + 2, scratch=_same),
    TRANSPOSE: FilterStep(name="transpose", make=transpose, most=_same),
}
"""By number."""

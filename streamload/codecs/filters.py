"""The filters one by one: for each number that HDF5 gives out, how its work is undone into a buffer that is there."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.codecs import blosc_snappy
from streamload.codecs.blosc2_frame import MOST_PADDING, unpack
from streamload.errors import ChecksumError, CorruptDataError
from streamload.kernels import unshuffle_kernels
from streamload.reuse.scratch import Scratch

Undo = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]]
"""Takes stored bytes and a buffer that is large enough for honest ones; returns what they were, in the buffer or in the input."""


def _always(values: tuple[int, ...]) -> bool:
    return True


def _nothing(nbytes: int) -> int:
    return 0


def _same(nbytes: int) -> int:
    return nbytes


def _compressed(nbytes: int) -> int:
    """More than any of the compressors makes of `nbytes` that it cannot compress."""
    return 2 * nbytes + 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterStep:
    """One filter."""

    name: str
    """What people call it."""
    make: Callable[[tuple[int, ...], int], Undo]
    """From the values stored with the filter and the bytes of an element to the function that undoes it."""
    writes: bool = True
    """Whether the result stands in the buffer; if not, it is a part of the input."""
    most: Callable[[int], int] = _compressed
    """The most bytes that the filter makes of so many."""
    accepts: Callable[[tuple[int, ...]], bool] = _always
    """Whether the filter, used with these values, can be undone here."""
    scratch: Callable[[int], int] = _nothing
    """Bytes of private memory used on the way to a result of so many."""


def codec(name: str) -> Any:
    """A function of imagecodecs, loaded on first use; its annotations do not admit the arrays that it takes."""
    import imagecodecs

    return getattr(imagecodecs, name)


def stream(name: str) -> Callable[[tuple[int, ...], int], Undo]:
    """A filter whose bytes are a codec's, without framing of HDF5's: 1 (zlib, whose Adler-32 is verified), 32000, 32015."""

    def make(values: tuple[int, ...], itemsize: int) -> Undo:
        decode = codec(name)

        def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return decode(data, out=room)

        return undo

    return make


def shuffle(values: tuple[int, ...], itemsize: int) -> Undo:
    """Filter 2: byte k of all elements stands in plane k; bytes after the last whole element stay as they are."""
    width = values[0] if values else itemsize

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        body = len(data) // width * width
        if body:
            unshuffle_kernels().unshuffle(data[:body], room[:body], width)
        room[body : len(data)] = data[body:]
        return room[: len(data)]

    return undo


def fletcher32(values: tuple[int, ...], itemsize: int) -> Undo:
    """Filter 3: four bytes of checksum behind the data, verified and cut off."""
    h5checksum_fletcher32 = codec("h5checksum_fletcher32")

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(data) < 4:
            raise CorruptDataError(f"fletcher32 needs 4 bytes of checksum, and there are {len(data)} bytes.")
        body = data[:-4]
        (stored,) = struct.unpack("<I", data[-4:].data)
        computed = h5checksum_fletcher32(body, None) if len(body) else 0
        # HDF5 before 1.6.3 swapped the bytes of each half on some machines; libhdf5 still takes that too.
        if stored != computed and stored != (computed >> 8 & 0x00FF00FF) | (computed << 8 & 0xFF00FF00):
            raise ChecksumError(f"its fletcher32 checksum is {stored:#010x}, and its bytes give {computed:#010x}.")
        return body

    return undo


def blosc(values: tuple[int, ...], itemsize: int) -> Undo:
    """Filter 32001: one Blosc buffer, whose header is checked because the library trusts its lengths."""
    blosc_decode = codec("blosc_decode")

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(data) < 16:
            raise CorruptDataError(f"blosc needs a header of 16 bytes, and there are {len(data)} bytes.")
        nbytes, _, stored_nbytes = struct.unpack_from("<III", data[:16].tobytes(), 4)
        if nbytes > len(room) or stored_nbytes > len(data):
            raise CorruptDataError(
                f"blosc's header says {stored_nbytes:,} to {nbytes:,} bytes, where {len(data):,} are stored for at most {len(room):,}."
            )
        if blosc_snappy.holds_snappy(data):
            return blosc_snappy.unpack(data[:stored_nbytes], room)
        return blosc_decode(data[:stored_nbytes], out=room[:nbytes])

    return undo


def lz4(values: tuple[int, ...], itemsize: int) -> Undo:
    """Filter 32004: total and block sizes, big-endian, then blocks with their sizes."""
    lz4h5_decode = codec("lz4h5_decode")

    def undo(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return lz4h5_decode(data, out=room[: _total(data, room, "lz4")])

    return undo


def bitshuffle(values: tuple[int, ...], itemsize: int) -> Undo:
    """Filter 32008: bits of elements in planes, block by block; each block LZ4 or Zstandard, or nothing."""
    bitshuffle_decode = codec("bitshuffle_decode")
    width = values[2] if len(values) > 2 else itemsize
    elements = values[3] if len(values) > 3 else 0
    inner = values[4] if len(values) > 4 else 0
    expand = codec("zstd_decode" if inner == 3 else "lz4_decode")
    scratch = Scratch()

    # Memoryviews, because for an array the codec takes the array's own itemsize, whatever it is told.
    def bits(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bitshuffle_decode(data.data, itemsize=width, blocksize=elements, out=room[: len(data)].data)
        return room[: len(data)]

    def blocks(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
        total = _total(data, room, "bitshuffle")
        (block_nbytes,) = struct.unpack(">I", data[8:12].data)
        unit = 8 * width
        if block_nbytes == 0 or block_nbytes % unit or total % width:
            raise CorruptDataError(f"bitshuffle's header says blocks of {block_nbytes:,} bytes for elements of {width}.")
        planes = scratch.room(len(room))
        whole = total - total % unit
        place, done = 12, 0
        while done < whole:
            wanted = min(block_nbytes, whole - done)
            (nbytes,) = struct.unpack(">I", data[place : place + 4].data)
            if nbytes > len(data) - place - 4:
                raise CorruptDataError(
                    f"bitshuffle's block at byte {place:,} says {nbytes:,} bytes, and {len(data) - place - 4:,} are left."
                )
            got = expand(data[place + 4 : place + 4 + nbytes], out=planes[done : done + wanted])
            if len(got) != wanted:
                raise CorruptDataError(f"bitshuffle's block at byte {place:,} holds {len(got):,} bytes, not {wanted:,}.")
            place, done = place + 4 + nbytes, done + wanted
        if len(data) - place < total - whole:
            raise CorruptDataError(f"bitshuffle's last {total - whole} bytes are missing.")
        planes[whole:total] = data[place : place + total - whole]
        bitshuffle_decode(planes[:total].data, itemsize=width, blocksize=block_nbytes // width, out=room[:total].data)
        return room[:total]

    return blocks if inner in (2, 3) else bits


def blosc2(values: tuple[int, ...], itemsize: int) -> Undo:
    """Filter 32026: a Blosc2 frame of one chunk, which may be an array in blocks."""
    return unpack


def _total(data: NDArray[np.uint8], room: NDArray[np.uint8], name: str) -> int:
    """The length of the result, which stands big-endian before the blocks of lz4 and bitshuffle."""
    if len(data) < 12:
        raise CorruptDataError(f"{name} needs a header of 12 bytes, and there are {len(data)} bytes.")
    (total,) = struct.unpack(">Q", data[:8].data)
    if total > len(room):
        raise CorruptDataError(f"{name}'s header says {total:,} bytes, where there can be {len(room):,} at most.")
    return total


def _one_of(place: int, allowed: set[int]) -> Callable[[tuple[int, ...]], bool]:
    """Accepts values whose number `place` is allowed, or is not there."""

    def accepts(values: tuple[int, ...]) -> bool:
        return len(values) <= place or values[place] in allowed

    return accepts


STEPS: dict[int, FilterStep] = {
    1: FilterStep(name="deflate", make=stream("deflate_decode")),
    2: FilterStep(name="shuffle", make=shuffle, most=_same),
    3: FilterStep(name="fletcher32", make=fletcher32, writes=False, most=lambda nbytes: nbytes + 4),
    32000: FilterStep(name="lzf", make=stream("lzf_decode")),
    32001: FilterStep(name="blosc", make=blosc, accepts=_one_of(6, {0, 1, 2, 3, 4, 5}), scratch=_same),
    32004: FilterStep(name="lz4", make=lz4),
    32008: FilterStep(name="bitshuffle", make=bitshuffle, accepts=_one_of(4, {0, 2, 3}), scratch=_same),
    32015: FilterStep(name="zstd", make=stream("zstd_decode")),
    32026: FilterStep(name="blosc2", make=blosc2, accepts=_one_of(6, {0, 1, 2, 4, 5}), scratch=lambda nbytes: 2 * MOST_PADDING * nbytes),
}
"""Every filter that can be undone here, by HDF5's number."""

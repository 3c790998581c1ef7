"""Blosc buffers with Snappy inside, which the codec library was built without: the frame here, Snappy from the library."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError
from streamload.kernels import unshuffle_kernels

SNAPPY = 2
"""Blosc's number of the format, in the three highest bits of the flags."""
SHUFFLED, STORED, BITS, WHOLE = 1, 2, 4, 16
"""Flags: bytes in planes; not compressed at all; bits in planes; blocks not split into a stream a byte of an element."""


def holds_snappy(data: NDArray[np.uint8]) -> bool:
    """Whether a Blosc buffer, of 16 bytes at least, is Snappy's."""
    return int(data[2]) >> 5 == SNAPPY and not data[2] & STORED


def unpack(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The `room` full of bytes that the buffer holds. Raises CorruptDataError where its lengths cannot be right."""
    flags, width = int(data[2]), int(data[3])
    nbytes, block_nbytes, _ = struct.unpack("<III", data[4:16].data)
    blocks = -(-nbytes // block_nbytes) if block_nbytes else 0
    if not width or (nbytes and not blocks) or 16 + 4 * blocks > len(data):
        raise CorruptDataError(f"blosc's header says {nbytes:,} bytes in blocks of {block_nbytes:,}, which {len(data):,} cannot hold.")
    begins = np.frombuffer(data[16 : 16 + 4 * blocks].data, "<u4").tolist()
    planes = np.empty(min(block_nbytes, nbytes), np.uint8)
    for number, begin in enumerate(begins):
        target = room[number * block_nbytes : min((number + 1) * block_nbytes, nbytes)]
        shuffled = width > 1 and bool(flags & SHUFFLED)
        bits = bool(flags & BITS) and len(target) // width % 8 == 0
        aside = planes[: len(target)] if shuffled or bits else target
        split = width if not flags & WHOLE and len(target) == block_nbytes else 1
        _streams(data, begin, aside, split)
        if shuffled:
            body = len(target) // width * width
            unshuffle_kernels().unshuffle(aside[:body], target[:body], width)
            target[body:] = aside[body:]
        elif bits:
            _unshuffle_bits(aside, target, width)
    return room[:nbytes]


def _streams(data: NDArray[np.uint8], place: int, target: NDArray[np.uint8], split: int) -> None:
    """Fill `target` from the streams of a block: each its length, then Snappy's bytes, or the plain ones where they are as many."""
    import imagecodecs

    snappy_decode: Any = imagecodecs.snappy_decode
    wanted, rest = divmod(len(target), split)
    if rest:
        raise CorruptDataError(f"blosc's header says elements of {split} bytes, which do not divide its blocks of {len(target):,}.")
    for number in range(split):
        if place + 4 > len(data):
            raise CorruptDataError(f"blosc's stream at byte {place:,} is beyond the {len(data):,} that there are.")
        (stored,) = struct.unpack("<I", data[place : place + 4].data)
        stream, place = data[place + 4 : place + 4 + stored], place + 4 + stored
        if len(stream) < stored:
            raise CorruptDataError(f"blosc's stream of {stored:,} bytes is cut short after {len(stream):,}.")
        part = target[number * wanted : (number + 1) * wanted]
        if stored == wanted:
            part[:] = stream
        elif len(snappy_decode(stream, out=part)) != wanted:
            raise CorruptDataError(f"blosc's stream of {stored:,} bytes does not hold the {wanted:,} that it should.")


def _unshuffle_bits(aside: NDArray[np.uint8], target: NDArray[np.uint8], width: int) -> None:
    """Undo Blosc's shuffle of bits, which leaves bytes behind the last whole element as they are."""
    import imagecodecs

    bitshuffle_decode: Any = imagecodecs.bitshuffle_decode
    elements = len(target) // width
    body = elements * width
    if body:
        bitshuffle_decode(aside[:body].data, itemsize=width, blocksize=elements, out=target[:body].data)
    target[body:] = aside[body:]

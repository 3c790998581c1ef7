"""Blosc2's contiguous frames, as its HDF5 filter writes them: one chunk, and the shape of the blocks that it was cut into."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError

MINIMUM_NBYTES = 87
"""Bytes of a header without metalayers."""
HEADER_NBYTES = 32
"""Bytes of a chunk's own header where it is an extended one."""
EXTENDED = 0b101
"""The flags that say so."""
DELTA, NEVER_UNDONE = 3, (0, 4)
"""The filter of differences to the first block; and what is not undone: no filter, and rounding."""
NEVER_WRITTEN = 4
"""A kind of chunk: of no values in particular."""
MOST_PADDING = 16
"""Blocks that do not divide a chunk are padded; honest ones pad it to no more than this many times its size."""


def unpack(data: NDArray[np.uint8], room: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The elements of the one chunk in a frame, in C order, at the beginning of `room`.

    Raises CorruptDataError for a frame whose lengths do not fit the bytes that are there, or the room.
    """
    import imagecodecs

    blosc2_decode: Any = imagecodecs.blosc2_decode
    frame = bytes(data[:16384]) if len(data) > 16384 else bytes(data)
    if len(data) < MINIMUM_NBYTES or frame[2:10] != b"b2frame\0":
        raise CorruptDataError(f"blosc2's frame does not begin as one ({len(data):,} bytes).")
    (start,) = struct.unpack_from(">i", frame, 11)
    nbytes, stored_nbytes = struct.unpack_from(">q", frame, 30)[0], struct.unpack_from(">q", frame, 39)[0]
    typesize, chunk_nbytes = struct.unpack_from(">i", frame, 48)[0], struct.unpack_from(">i", frame, 58)[0]
    if (
        not MINIMUM_NBYTES <= start <= min(len(data), len(frame))
        or not 0 <= stored_nbytes <= len(data) - start
        or nbytes != chunk_nbytes
        or typesize < 1
    ):
        raise CorruptDataError(f"blosc2's frame of {len(data):,} bytes has a damaged header, or more than one chunk.")
    shapes = _shapes(frame[:start])
    if shapes is None:
        wanted = plain = nbytes
        woven = False
    else:
        shape, blocks = shapes
        wanted = typesize * math.prod(-(-side // block) * block for side, block in zip(shape, blocks, strict=True))
        plain = typesize * math.prod(shape)
        woven = wanted != plain or shape[1:] != blocks[1:]
    if not 0 <= plain <= len(room) or wanted > MOST_PADDING * len(room):
        raise CorruptDataError(f"blosc2's frame says {plain:,} bytes ({wanted:,} with padding), where there can be {len(room):,} at most.")
    target = np.empty(wanted, np.uint8) if woven else room[:wanted]
    if stored_nbytes == 0:
        _check_zeros(blosc2_decode(data[start:], out=np.empty(8, np.uint8)))
        target[:] = 0
    else:
        if _chunk_nbytes(data, start, start + stored_nbytes) != wanted:
            raise CorruptDataError(f"blosc2's chunk does not hold the {wanted:,} bytes that its frame says.")
        _check_header(data[start : start + HEADER_NBYTES].tobytes())
        got = blosc2_decode(data[start : start + stored_nbytes], out=target)
        if len(got) != wanted:
            raise CorruptDataError(f"blosc2's chunk holds {len(got):,} bytes, where its frame says {wanted:,}.")
    return _in_order(target, shapes[0], shapes[1], typesize, room) if shapes is not None and woven else target


def _chunk_nbytes(data: NDArray[np.uint8], start: int, stop: int) -> int:
    """What a chunk's own header says of its decoded length; -1 if it says that more is stored than there is."""
    if stop - start < 16:
        return -1
    nbytes, _, stored_nbytes = struct.unpack("<iii", data[start + 4 : start + 16].data)
    return nbytes if stored_nbytes <= stop - start else -1


def _check_header(header: bytes) -> None:
    """Check that a chunk, by its own header, gives all of its bytes: the library leaves those of some as they were in memory.

    It undoes differences to the first block by the memory that the chunk is to be written to, where nothing has been written yet if
    other filters come before them; and chunks may be marked as never written.
    """
    if len(header) < HEADER_NBYTES or header[2] & EXTENDED != EXTENDED:
        return
    filters = header[16:22]
    if DELTA in filters and any(one not in NEVER_UNDONE for one in filters[: filters.rindex(DELTA)]):
        raise CorruptDataError(f"blosc2's chunk has filters in an order that nobody can undo ({', '.join(map(str, filters))}).")
    if header[31] >> 4 & 0b111 == NEVER_WRITTEN:
        raise CorruptDataError("blosc2's chunk says that it was never written.")


def _check_zeros(offset: Any) -> None:
    """Check that the index of a frame without a stored chunk says that it is all zeros."""
    if bytes(offset) != b"\0\0\0\0\0\0\0\x81":
        raise CorruptDataError("blosc2's frame has neither a chunk nor the mark of one that is all zeros.")


def _shapes(header: bytes) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shape and block shape, from the metalayer that holds them; None for a frame without one."""
    try:
        (count,) = struct.unpack_from(">H", header, MINIMUM_NBYTES + 5)
        place = MINIMUM_NBYTES + 7
        for _ in range(count):
            length = header[place] & 0x1F
            name = header[place + 1 : place + 1 + length]
            (content,) = struct.unpack_from(">i", header, place + 2 + length)
            place += 6 + length
            if name in (b"b2nd", b"caterva"):
                return _read_shapes(header, content + 5)
    except (struct.error, IndexError) as error:
        raise CorruptDataError(f"blosc2's frame has a damaged header ({error}).") from error
    return None


def _read_shapes(header: bytes, place: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first and the third of three lists: shape, chunk shape, block shape."""
    dimensions = header[place + 2]
    lists: list[tuple[int, ...]] = []
    place += 3
    for kind, size in (("q", 8), ("i", 4), ("i", 4)):
        if header[place] != 0x90 + dimensions or dimensions == 0:
            raise CorruptDataError("blosc2's frame has a damaged list of shapes.")
        lists.append(tuple(struct.unpack_from(f">{kind}", header, place + 2 + k * (size + 1))[0] for k in range(dimensions)))
        place += 1 + dimensions * (size + 1)
    shape, chunk, blocks = lists
    if shape != chunk or not all(0 < block <= side < 2**31 for side, block in zip(shape, blocks, strict=True)):
        raise CorruptDataError(
            f"blosc2's frame says shape {shape} in chunks of {chunk} and blocks of {blocks}; a chunk of HDF5 is one chunk of whole blocks."
        )
    return shape, blocks


def _in_order(
    target: NDArray[np.uint8], shape: tuple[int, ...], blocks: tuple[int, ...], typesize: int, room: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Elements that lie block by block, padding included, put in C order."""
    grid = [-(-side // block) for side, block in zip(shape, blocks, strict=True)]
    dimensions = len(shape)
    axes = [axis for k in range(dimensions) for axis in (k, dimensions + k)]
    padded = [count * block for count, block in zip(grid, blocks, strict=True)]
    whole = target.view(f"V{typesize}").reshape(*grid, *blocks).transpose(axes).reshape(padded)
    nbytes = math.prod(shape) * typesize
    room[:nbytes].view(f"V{typesize}").reshape(shape)[...] = whole[tuple(slice(side) for side in shape)]
    return room[:nbytes]

"""BMPs of few colours, taken from their bytes: Pillow reads those whose palette is black and white, or 16 greys, by the wrong bits."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from streamload.images.header import ImageHeader

OLD_HEADER_NBYTES = 12


def pixels(data: memoryview, head: ImageHeader, *, indices: bool = False) -> NDArray[np.uint8] | None:
    """Pixels of shape (height, width, channels): grey levels, RGB, or the `indices` of a palette. None of other BMPs.

    Raises ValueError for one that is cut short.
    """
    offset, length = struct.unpack_from("<II", data, 10)
    old = length == OLD_HEADER_NBYTES
    width, height, _, bits = struct.unpack_from("<HHHH" if old else "<iiHH", data, 18)
    compression, used = (0, 0) if old else struct.unpack_from("<I12xI", data, 30)
    if bits not in (1, 4, 8) or compression or width <= 0:
        return None
    row_nbytes = (width * bits + 31) // 32 * 4
    if len(data) < offset + row_nbytes * head.height:
        raise ValueError("image file is truncated")
    rows = np.frombuffer(data, np.uint8, row_nbytes * head.height, offset).reshape(head.height, row_nbytes)
    values = np.unpackbits(rows, axis=1).reshape(head.height, -1, bits)  # A pixel's bits, the highest first.
    numbers = np.packbits(values, axis=2)[:, :width] >> np.uint8(8 - bits)
    numbers = numbers if height < 0 else numbers[::-1]
    if indices and head.colours == "palette":
        return np.ascontiguousarray(numbers)
    entry = 3 if old else 4
    palette = np.zeros((256, entry), np.uint8)  # Numbers that no colour is given for are black, as in Pillow.
    count = min(used or 1 << bits, 256, (len(data) - 14 - length) // entry)
    palette[:count] = np.frombuffer(data, np.uint8, count * entry, 14 + length).reshape(count, entry)
    colours = palette[numbers[:, :, 0]]
    return np.ascontiguousarray(colours[:, :, :1] if head.colours == "grey" else colours[:, :, 2::-1])

"""CRC-32C (Castagnoli) without a compiler: the same as `crc32c`, a hundred times slower."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
"""As it is used from the lowest bit on."""


def tables(count: int) -> NDArray[np.uint32]:
    """What a byte does to the checksum when so many bytes follow it: shape (count, 256)."""
    found = np.zeros((count, 256), np.uint32)
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, first >> 1 ^ POLYNOMIAL, first >> 1).astype(np.uint32)
    found[0] = first
    for at in range(1, count):
        found[at] = found[at - 1] >> 8 ^ first[found[at - 1] & 0xFF]
    return found


_TABLE = tables(1)[0].tolist()


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The checksum of bytes."""
    crc = 0xFFFFFFFF
    for byte in bytes(data):
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

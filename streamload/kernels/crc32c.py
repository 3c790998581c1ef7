"""Compiled CRC-32C (Castagnoli), eight bytes at a time: the checksum of TFRecord files."""

from __future__ import annotations

import numpy as np
from numba import njit, types

from streamload.kernels.crc32c_plain import tables

_TABLES = tables(8)
_BYTES = types.Array(types.uint8, 1, "C", readonly=True)


@njit([types.uint32(_BYTES)], nogil=True, cache=True)
def _crc32c(data):  # type: ignore[no-untyped-def]
    crc = np.uint32(0xFFFFFFFF)
    whole = len(data) - len(data) % 8
    for i in range(0, whole, 8):
        low = crc ^ (
            np.uint32(data[i]) | np.uint32(data[i + 1]) << np.uint32(8) | np.uint32(data[i + 2]) << np.uint32(16)
            | np.uint32(data[i + 3]) << np.uint32(24)
        )  # fmt: skip
        crc = (
            _TABLES[7, low & np.uint32(0xFF)] ^ _TABLES[6, low >> np.uint32(8) & np.uint32(0xFF)]
            ^ _TABLES[5, low >> np.uint32(16) & np.uint32(0xFF)] ^ _TABLES[4, low >> np.uint32(24)]
            ^ _TABLES[3, data[i + 4]] ^ _TABLES[2, data[i + 5]] ^ _TABLES[1, data[i + 6]] ^ _TABLES[0, data[i + 7]]
        )  # fmt: skip
    for i in range(whole, len(data)):
        crc = _TABLES[0, (crc ^ np.uint32(data[i])) & np.uint32(0xFF)] ^ crc >> np.uint32(8)
    return crc ^ np.uint32(0xFFFFFFFF)


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The checksum of bytes."""
    return int(_crc32c(np.frombuffer(data, np.uint8)))

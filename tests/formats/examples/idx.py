"""IDX files, as they are written by hand: the head, and the values big-endian."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(values: np.ndarray) -> bytes:
    """An array as an IDX file holds it."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, CODES[values.dtype.str[1:]], values.ndim, *values.shape)
    return head + values.astype(values.dtype.newbyteorder(">")).tobytes()


def images(records: int = 50, dtype: str = "u1") -> np.ndarray:
    """Images of noise."""
    return np.random.default_rng(0).integers(0, 120, (records, 7, 6)).astype(dtype)


def _of(dtype: str) -> Callable[[Path], dict[str, np.ndarray]]:
    def make(path: Path) -> dict[str, np.ndarray]:
        path.write_bytes(idx(images(dtype=dtype)))
        return {"image": images(dtype=dtype)}

    return make


EXAMPLES = {"bytes": _of("u1"), "numbers of four bytes": _of("f4")}

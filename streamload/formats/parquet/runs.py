"""Parquet's hybrid of runs of one value and stretches of packed bits: levels, and indices into dictionaries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamload.formats.parquet.page_headers import NotRawError, PageError


def runs(data: memoryview, count: int, *, width: int, what: str) -> Iterator[tuple[int, int, int | memoryview]]:
    """The runs of `count` values of `width` bits: (first, stop, the value of all of them, or the bytes that they are packed in).

    Raises PageError, which calls the values `what`, where there are fewer.
    """
    at = done = 0
    while done < count:
        head = shift = 0
        while True:
            if at >= len(data) or shift > 35:
                raise PageError(f"{what} end too soon")
            byte = data[at]
            head |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        packed, wanted = head & 1, min(count - done, 8 * (head >> 1) if head & 1 else head >> 1)
        nbytes = (head >> 1) * width if packed else -(-width // 8)
        some = data[at : at + nbytes]
        if not wanted or 8 * len(some) < (wanted * width if packed else width):
            raise PageError(f"{what} end too soon, or hold an empty run")
        yield done, done + wanted, some if packed else int.from_bytes(some, "little")
        at, done = at + nbytes, done + wanted


def require_defined(levels: bytes | memoryview, count: int) -> None:
    """Raise NotRawError unless definition levels of one bit are all 1."""
    for first, stop, value in runs(memoryview(levels), count, width=1, what="definition levels"):
        ones = 1 if isinstance(value, int) else (1 << (stop - first)) - 1
        if (value if isinstance(value, int) else int.from_bytes(value, "little") & ones) != ones:
            raise NotRawError


def indices_of(data: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Indices into a dictionary: a byte that tells their width, then runs."""
    width = int(data[0]) if len(data) else 0
    if width > 32:
        raise PageError(f"indices are {width} bits wide")
    out = np.zeros(count, np.int64)
    if not width:
        return out
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    for first, stop, value in runs(data.data[1:], count, width=width, what="indices"):
        if isinstance(value, int):
            out[first:stop] = value
        else:
            bits = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")[: (stop - first) * width]
            out[first:stop] = bits.reshape(stop - first, width) @ weights
    return out

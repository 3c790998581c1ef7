"""The loop over the records of a batch, and the hash of randomness, in NumPy: the same results to the bit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(kw_only=True, slots=True)
class PlainFrame:
    """The record at hand, as the plain kernels share it: what the words of the frame lead to, as arrays."""

    source: NDArray[Any]
    """Shape (height, width, channels), whatever the order in memory."""
    out: NDArray[np.uint8]
    """The bytes of the record's row of the slot, and of all that follow it."""
    record: int
    words: NDArray[np.uint32]
    """Of the key, for noise."""
    out_kind: str = "float32"
    """The dtype that comes out, for kernels that make any."""
    planes: NDArray[Any] = field(default_factory=lambda: np.empty((0, 0, 0), np.uint8))
    """Shape (channels, height, width)."""
    table: NDArray[np.uint8] | None = None
    """256 levels a channel which the planes still have to go through, shape (channels, 256)."""


def mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A bijection of 32 bits without visible structure."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0xD35A2D97)
    return x ^ (x >> np.uint32(15))


def draw(words: NDArray[np.uint32], records: NDArray[np.int64], first: int, step: int, out: NDArray[np.uint32]) -> None:
    """Put into out[k, j] the draw of number `first + step * j` for record `records[k]`; shape (records, draws)."""
    unsigned = records.astype(np.uint64)
    low, high = unsigned.astype(np.uint32), (unsigned >> np.uint64(32)).astype(np.uint32)
    numbers = (first + step * np.arange(out.shape[1], dtype=np.int64)).astype(np.uint32)
    of_record = mix(mix(low ^ words[0]) ^ (high + words[1]))
    out[:] = mix(of_record[:, None] ^ (mix(numbers ^ words[2]) + words[3])[None])


def run(
    kernels: Sequence[Callable[[PlainFrame, NDArray[np.float64]], None]],
    columns: NDArray[np.int64],
    values: NDArray[np.float64],
    order: NDArray[np.int64],
    records: NDArray[np.int64],
    *,
    words: NDArray[np.uint32],
    dtype: np.dtype,
    channels: int,
    planar: bool,
    out_nbytes: int,
    out_kind: str = "float32",
    start: int,
    stop: int,
) -> None:
    """Do the steps of records [start, stop); see the compiled `run`. `out_nbytes` is the size of a record's row of the slot."""
    ends = [*columns[1:].tolist(), values.shape[1]]
    for k in range(start, stop):
        address, height, width, out, record = records[k].tolist()
        stored = _bytes_at(address, height * width * channels * dtype.itemsize).view(dtype)
        source = stored.reshape(channels, height, width).transpose(1, 2, 0) if planar else stored.reshape(height, width, channels)
        frame = PlainFrame(source=source, out=_bytes_at(out, out_nbytes), record=record, words=words, out_kind=out_kind)
        for step in order[k].tolist():
            if step >= 0:
                kernels[step](frame, values[k, columns[step] : ends[step]])


def _bytes_at(address: int, nbytes: int) -> NDArray[np.uint8]:
    return np.frombuffer(memoryview((ctypes.c_uint8 * nbytes).from_address(address)), np.uint8)


KERNELS = {"draw": draw, "run": run}

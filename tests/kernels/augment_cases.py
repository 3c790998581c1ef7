"""Runs kernels of augmentation on one image, compiled and plain, as tests of either want it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.kernels.augment.runners import PixelFormat, Runner, Steps

WORDS = np.arange(1, 9, dtype=np.uint32)
Wanted = tuple[str, Sequence[float] | NDArray[Any]]
"""A kernel's name and its parameters."""


def runners() -> tuple[Runner, Runner]:
    """One with compiled kernels, and one with plain ones."""
    try:
        kernels.use(compiled=False)
        plain = kernels.augment_runner()
    finally:
        kernels.use(compiled=True)
    return kernels.augment_runner(), plain


def steps_of(wanted: Sequence[Wanted], *, elements: int) -> Steps:
    """Steps of one record."""
    parameters = [np.asarray(given, np.float64).reshape(-1) for _, given in wanted]
    ends = np.cumsum([0, *map(len, parameters)])
    return Steps(
        kernels=tuple(name for name, _ in wanted),
        columns=ends[:-1].astype(np.int64),
        values=np.concatenate(parameters)[None].copy(),
        order=np.arange(len(wanted), dtype=np.int64)[None].copy(),
        elements=elements,
    )


def both(
    image: NDArray[Any],
    wanted: Sequence[Wanted],
    *,
    out: tuple[int, ...],
    dtype: str = "u1",
    planar: bool = False,
    past_caches: bool = False,
    kind: str = "float32",
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What comes of an image, (height, width, channels) or planar, with compiled kernels and with plain ones."""
    height, width, channels = (image.shape[1], image.shape[2], image.shape[0]) if planar else image.shape
    found = []
    for runner in runners():
        array = aligned(out, np.dtype(dtype))
        records = np.array([[image.ctypes.data, height, width, array.ctypes.data, 5]], np.int64)
        form = PixelFormat(
            dtype=image.dtype,
            channels=channels,
            planar=planar,
            plane_nbytes=max(4, image.dtype.itemsize),
            out_nbytes=array.nbytes,
            out_kind=kind,
        )
        steps = steps_of(wanted, elements=channels * 250 * 250 + 3 * int(np.prod(out)))
        runner.prepared(steps, records, form, words=WORDS, past_caches=past_caches)(0, 1)
        found.append(array)
    return found[0], found[1]


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> NDArray[Any]:
    """Zeros at a multiple of 64 bytes, as slots are."""
    nbytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(nbytes + 64, np.uint8)
    return raw[-raw.ctypes.data % 64 :][:nbytes].view(dtype).reshape(shape)


def images(rng: np.random.Generator, turns: int, *, least: int = 1, most: int = 70, dtype: str = "u1") -> Any:
    """Images of one to six channels, woven and planar, of noise, of two levels and smooth: (image, planar, channels, height, width)."""
    for turn in range(turns):
        channels, planar = (3, 1, 4, 6, 2)[turn % 5], bool(rng.integers(2))
        height, width = (int(side) for side in rng.integers(least, most, 2))
        levels = rng.integers(0, 256, (height, width, channels), np.uint8)
        if turn % 3 == 1:
            levels = levels // 128 * np.uint8(255)
        if turn % 3 == 2:
            levels = np.clip(rng.normal(110, 25, levels.shape), 20, 220).astype(np.uint8)
        image = np.ascontiguousarray(levels.transpose(2, 0, 1) if planar else levels).astype(dtype)
        yield image, planar, channels, height, width


def halves(value: int, times: int) -> list[float]:
    """Bits of a value in halves of 32, the lower first, again and again."""
    return [float(value & 0xFFFFFFFF), float(value >> 32)] * times

"""From the colours that an image has to those that were asked for: alpha over white, luma, repetition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import UnsupportedFeatureError
from streamload.images.decode_options import MODES
from streamload.images.image_error import ImageError

_LUMA = (19595, 38470, 7471)
"""0.299, 0.587 and 0.114 of red, green and blue, in parts of 65,536."""


def to_mode(pixels: NDArray[Any], mode: str) -> NDArray[Any]:
    """Pixels of shape (height, width, channels), where 2 and 4 channels end in alpha, in the given mode.

    Raises ImageError where 8 bits would have to become 16, or the reverse.
    """
    count, dtype = MODES[mode]
    if pixels.dtype != dtype:
        bits = 8 * pixels.dtype.itemsize
        other = mode.removesuffix("16") if bits == 8 else mode + "16"
        raise ImageError(
            f"has {bits} bits, and mode {mode!r} has {8 * dtype.itemsize}",
            hint=f"Ask for mode={other!r}, or write the image anew: how to scale its values is not known here.",
            kind=UnsupportedFeatureError,
        )
    have = pixels.shape[2]
    if have == count:
        return pixels
    if have in (2, 4) and count != 4:
        pixels, have = over_white(pixels), have - 1
    if count == 4:
        return _with_alpha(pixels)
    if have == count:
        return pixels
    return luma(pixels) if count == 1 else np.repeat(pixels, 3, axis=2)


def over_white(pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels without their last channel, which says how much of white does not show through."""
    most = int(np.iinfo(pixels.dtype).max)
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    if (alpha == most).all():
        return np.ascontiguousarray(colours)
    weight = alpha.astype(np.uint32)
    return ((colours * weight + most * (most - weight) + most // 2) // most).astype(pixels.dtype)


def luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey of the same brightness, shape (height, width, 1); exactly as Pillow has it."""
    wide = pixels.astype(np.uint32)
    red, green, blue = (wide[:, :, [channel]] * part for channel, part in enumerate(_LUMA))
    return ((red + green + blue + 0x8000) >> 16).astype(pixels.dtype)


def from_cmyk(inks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB of CMYK as JPEG stores it, 255 being no ink; by its numbers, without a colour profile, exactly as Pillow has it."""
    light = inks[:, :, 3:].astype(np.int32)
    product = (255 - inks[:, :, :3].astype(np.int32)) * light + 128
    return np.maximum(light - ((product + (product >> 8)) >> 8), 0).astype(np.uint8)


def _with_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey or colour, with or without alpha, as colour with alpha."""
    have = pixels.shape[2]
    made = np.full((*pixels.shape[:2], 4), np.iinfo(pixels.dtype).max, pixels.dtype)
    made[:, :, :3] = pixels[:, :, :3] if have >= 3 else pixels[:, :, :1]
    if have in (2, 4):
        made[:, :, 3] = pixels[:, :, -1]
    return made

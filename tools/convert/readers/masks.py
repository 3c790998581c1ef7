"""Masks of segmentation: images whose pixels are numbers of classes, never colours to be mixed."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from numpy.typing import NDArray

from streamload.errors import CorruptDataError
from streamload.images import nearest
from streamload.tools.convert.readers.images import image_in

_PALETTE = 3


def mask_in(data: bytes, title: str, size: tuple[int, int] | None) -> NDArray[Any]:
    """A mask as (height, width), or (height, width, 3) where colours stand for classes; each pixel as it is stored.

    Of an image with a palette, the numbers are the classes, and not the colours that they are shown in. `size` takes the
    same middle as an image of that size is cut to, every pixel from one pixel. Raises CorruptDataError as `image_in` does.
    """
    bits = _palette_bits(data)
    mask = image_in(_as_numbers(data, title) if bits else data, title, mode="any")
    if bits in (1, 2, 4):
        # Decoders spread few grey levels over 0 to 255.
        mask = mask // (255 // (2**bits - 1))
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[:, :, 0]
    return mask if size is None else nearest(mask, size)


def _palette_bits(data: bytes) -> int:
    """Bits of a pixel of a PNG with a palette, or of one that is grey; 0 for anything else."""
    return data[24] if data.startswith(b"\x89PNG") and len(data) > 33 and data[25] in (0, _PALETTE) else 0


def _as_numbers(data: bytes, title: str) -> bytes:
    """The same PNG said to be grey: its numbers are then decoded as they are."""
    if data[25] != _PALETTE:
        return data
    head = bytearray(data[12:29])
    head[13] = 0
    parts = [data[:12], bytes(head), struct.pack(">I", zlib.crc32(head))]
    at = 33
    while at + 12 <= len(data):
        nbytes, name = struct.unpack_from(">I4s", data, at)
        if name not in (b"PLTE", b"tRNS"):
            parts.append(data[at : at + 12 + nbytes])
        at += 12 + nbytes
    if at > len(data):
        raise CorruptDataError(f"{title} is cut short: a part of it lacks bytes.", hint="Replace the file.", path=title)
    return b"".join(parts)

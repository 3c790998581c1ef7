"""JPEG headers: the frame's size and components, and the orientation in its Exif segment."""

from __future__ import annotations

import struct
from functools import lru_cache

from streamload.errors import UnsupportedFeatureError
from streamload.images.header import ImageHeader
from streamload.images.image_error import ImageError
from streamload.images.tiff import orientation_in

_SEGMENT = struct.Struct(">BBH")
_FRAME = struct.Struct(">BHHB")
_COLOURS = {1: "grey", 3: "colour", 4: "CMYK"}
"""By the number of components."""
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)


def read(data: memoryview) -> ImageHeader:
    """The head of a JPEG."""
    orientation, at = 1, 2
    while True:
        mark, marker, length = _SEGMENT.unpack_from(data, at)
        if mark != 0xFF or marker == 0xDA:
            raise ValueError("no frame")
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _head(_FRAME.unpack_from(data, at + 4), marker, orientation)
        if marker == 0xE1 and orientation == 1 and bytes(data[at + 4 : at + 10]) == b"Exif\x00\x00":
            orientation = orientation_in(data[at + 10 : at + 2 + length])
        at += 2 if 0xD0 <= marker <= 0xD9 or marker == 0x01 else 2 + length


@lru_cache(maxsize=256)
def _head(frame: tuple[int, int, int, int], marker: int, orientation: int) -> ImageHeader:
    """The head that a frame says: most of a field's images have the same, and to make one takes as long as to find its frame."""
    bits, height, width, components = frame
    if bits != 8 or marker in _LOSSLESS:
        raise ImageError(
            f"is a JPEG of {bits} bits" + (", without loss" if marker in _LOSSLESS else "") + ", which is not decoded here",
            hint="Write it anew as PNG.",
            kind=UnsupportedFeatureError,
        )
    if components not in _COLOURS:
        raise ImageError(
            f"is a JPEG of {components} components, which no colours are known for",
            hint="Write it anew as RGB.",
            kind=UnsupportedFeatureError,
        )
    return ImageHeader(
        format="JPEG",
        height=height,
        width=width,
        colours=_COLOURS[components],
        alpha=False,
        bits=8,
        orientation=orientation,
    )

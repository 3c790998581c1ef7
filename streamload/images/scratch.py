"""One encoded image at a time, decoded into memory that the next one uses again: what augmentation cuts its pieces from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import UnsupportedFeatureError
from streamload.images import color_modes, decoders, spark
from streamload.images.decode import decoded
from streamload.images.decode_options import MODES
from streamload.images.header import ImageHeader
from streamload.images.headers import Bytes, read_header
from streamload.images.image_error import ImageError
from streamload.images.masks import numbers
from streamload.images.resize import LAST_FIRST, upright
from streamload.reuse.scratch import Scratch
from streamload.transforms.images import ScaledPixels

SCALES = (8, 4, 2)
"""By how much a JPEG may be made smaller while it is decoded. Others of libjpeg's scales cost as much as none: 5/8 takes 1.0 of
the time of the whole image, a half 0.68 to 0.84, a quarter 0.53 to 0.77."""


class ScratchDecoder:
    """Decodes images of any size in one mode, each into the same scratch: a result is good until the next call."""

    def __init__(self, mode: str, *, max_pixels: int, mask: bool = False) -> None:
        """Import the codecs. Raises ConfigError, with the command that installs them, where they are missing.

        `mask`: what is decoded are numbers, as `masks.numbers` has them.
        """
        decoders.require()
        self._mode = mode
        self._max_pixels = max_pixels
        self._mask = mask
        self._scratch = Scratch()

    def header(self, data: Bytes) -> ImageHeader:
        """What the header claims. Raises ImageError for what is no image, or claims too many pixels."""
        head = read_header(memoryview(data))
        if head.height * head.width > self._max_pixels:
            raise ImageError(
                f"claims {head.height:,} x {head.width:,} pixels, and more than {self._max_pixels:,} are not decoded",
                hint="If that is true, allow it: Decode(max_pixels=...).",
            )
        return head

    def decode(self, data: Bytes, head: ImageHeader, *, smaller: float = 1.0) -> ScaledPixels:
        """The pixels, upright, and by how much they are smaller than the image.

        A JPEG comes out by 2, 4 or 8 smaller, where that is at most `smaller`: of an image of height h, h / 2 rows, rounded up.
        Raises ImageError for what is damaged or cannot be had in the mode.
        """
        scaled = smaller >= SCALES[-1] and head.format == "JPEG" and not self._mask
        scale = next(scale for scale in SCALES if scale <= smaller) if scaled else 1
        pixels = decoded(head, lambda: self._pixels(memoryview(data), head, scale))
        assert pixels is not None
        expected = (-(-head.height // scale), -(-head.width // scale))
        if pixels.shape[:2] != expected:
            if pixels.shape[:2] != (head.height, head.width):
                raise ImageError(
                    f"is {pixels.shape[0]:,} x {pixels.shape[1]:,} pixels, and its header says {head.height:,} x {head.width:,}"
                )
            scale = 1
        dtype = MODES[self._mode][1]
        if pixels.dtype != dtype:
            raise ImageError(
                f"has {8 * pixels.dtype.itemsize} bits, and the first images of its field have {8 * dtype.itemsize}",
                hint="Write it anew with as many: how to scale its values is not known here.",
                kind=UnsupportedFeatureError,
            )
        pixels = color_modes.to_mode(pixels, self._mode)
        if head.orientation == 1:
            return ScaledPixels(np.ascontiguousarray(pixels), scale)
        turned = 1 if head.format == "TIFF" and not decoders.tiff_is_plain(head) else head.orientation  # Pillow turns TIFFs itself.
        pixels = np.ascontiguousarray(upright(pixels, turned))
        sides = zip(pixels.shape[:2], head.size, LAST_FIRST, strict=True)
        top, left = (side - whole / scale if head.orientation in some else 0.0 for side, whole, some in sides)
        return ScaledPixels(pixels, scale, top, left)

    def _pixels(self, data: memoryview, head: ImageHeader, scale: int) -> NDArray[Any]:
        if self._mask:
            return numbers(data, head)
        if head.format == "Spark image":
            return spark.pixels(data, head)
        if head.format != "JPEG":
            return decoders.BY_FORMAT[head.format](data, head)
        if self._mode.endswith("16"):
            return np.empty((head.height, head.width, 1), np.uint8)  # for `decode` to refuse
        least = (-(-head.height // scale), -(-head.width // scale))
        buffer = self._scratch.room(least[0] * least[1] * 4)
        return decoders.jpeg(data, head, grey=self._mode == "L", least=least if scale > 1 else (0, 0), buffer=buffer)

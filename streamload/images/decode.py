"""One encoded image, decoded as `Decode` asks into an array that the caller owns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SchemaMismatchError
from streamload.images import color_modes, decoders, spark
from streamload.images.decode_options import Decode
from streamload.images.header import ImageHeader
from streamload.images.headers import Bytes, read_header
from streamload.images.image_error import UNLIKE, ImageError
from streamload.images.masks import nearest, numbers
from streamload.images.resize import fitted, upright

SPARE = 1.5
"""A JPEG that is to be made smaller is decoded at the smallest of libjpeg's scales (n/8) that leaves this many times the
pixels asked for in each direction, and scaled the rest of the way. Against decoding it whole (21 photographs, 300 to 1,400
pixels wide, to 64 ... 224): 0.5 levels of mean difference in 0.58 of the time; 1.0 gives 1.1 levels in 0.40, 2.0 gives 0.4
in 0.68. JPEG of quality 90 is itself 1.6 levels from what was photographed."""

_CODECS: dict[str, Callable[[memoryview, ImageHeader], NDArray[Any]]] = {**decoders.BY_FORMAT, "Spark image": spark.pixels}


def decoded(head: ImageHeader, decode: Callable[[], NDArray[Any] | None]) -> NDArray[Any] | None:
    """What a codec makes of an image. Raises ImageError for whatever it complains of."""
    try:
        return decode()
    except MemoryError as error:
        raise ImageError(f"({head.format}, {head.height:,} x {head.width:,} pixels) needs more memory than there is") from error
    except (Exception, SystemError) as error:  # each codec has errors of its own
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"is a {head.format} that cannot be decoded: {said.rstrip('.')}") from error


class ImageDecoder:
    """Decodes images as one `Decode`, whose size and mode are known, asks. Holds nothing between images."""

    def __init__(self, spec: Decode) -> None:
        """Import the codecs. Raises ConfigError, with the command that installs them, where they are missing."""
        decoders.require()
        assert spec.size is not None
        assert spec.mode is not None
        self._spec = spec
        self._size, self._mode = spec.size, spec.mode

    def decode(self, data: Bytes, out: NDArray[Any], head: ImageHeader | None = None) -> None:
        """Put the image that `data` holds into `out`, which has the spec's shape and dtype and is C-contiguous.

        `head` is what `read_head` found in it, where somebody has asked already.
        Raises ImageError for what is no image, is damaged, or is not what was asked for; `out` then holds anything.
        """
        view = memoryview(data)
        head = read_header(view) if head is None else head
        self._check(head)
        direct = out if self._spec.channels == "last" and head.orientation == 1 else None
        pixels = self._pixels(view, head, direct)
        if pixels is None:
            return
        if self._spec.mask and pixels.shape[2] == 4 and self._mode.startswith("RGB") and not self._mode.startswith("RGBA"):
            pixels = pixels[:, :, :3]  # Colours of a mask stand for classes, and are not mixed with white.
        pixels = color_modes.to_mode(pixels, self._mode)
        # Pillow turns TIFFs itself.
        orientation = 1 if head.format == "TIFF" and not decoders.tiff_is_plain(head) else head.orientation
        size = self._size if orientation < 5 else (self._size[1], self._size[0])
        if self._spec.fit == "exact" and pixels.shape[:2] != size:
            raise _unlike(head, self._size)
        pixels = upright(self._fitted(pixels, head, size), orientation)
        out[...] = pixels if self._spec.channels == "last" else pixels.transpose(2, 0, 1)

    def _fitted(self, pixels: NDArray[Any], head: ImageHeader, size: tuple[int, int]) -> NDArray[Any]:
        if self._spec.mask:
            return pixels if pixels.shape[:2] == size else nearest(pixels, size, self._spec.fit)
        return fitted(pixels, self._extent(head, pixels), size, self._spec.fit)

    def _check(self, head: ImageHeader) -> None:
        if head.height * head.width > self._spec.max_pixels:
            raise ImageError(
                f"claims {head.height:,} x {head.width:,} pixels, and more than {self._spec.max_pixels:,} are not decoded",
                hint="If that is true, allow it: Decode(max_pixels=...).",
            )
        if self._spec.fit == "exact" and head.size != self._size:
            raise _unlike(head, self._size)

    def _pixels(self, data: memoryview, head: ImageHeader, out: NDArray[Any] | None) -> NDArray[Any] | None:
        """The pixels as they are stored, perhaps smaller; None where they are in `out` already."""
        if self._spec.mask and self._mode in ("L", "L16"):
            return decoded(head, lambda: numbers(data, head))
        if head.format != "JPEG":
            return decoded(head, lambda: _CODECS[head.format](data, head))
        if self._mode.endswith("16"):
            return np.empty((1, 1, 1), np.uint8)  # for `to_mode` to refuse
        return decoded(head, lambda: self._jpeg(data, head, out))

    def _jpeg(self, data: memoryview, head: ImageHeader, out: NDArray[Any] | None) -> NDArray[Any] | None:
        grey = self._mode == "L"
        fits = head.size == self._size and self._mode in ("L", "RGB") and head.colours != "CMYK"
        if out is not None and fits and (grey or head.colours != "grey"):
            made = decoders.jpeg(data, head, grey=grey, least=(0, 0), buffer=out)
            if not np.shares_memory(made, out):
                out[...] = color_modes.to_mode(made, self._mode)
            return None
        return decoders.jpeg(data, head, grey=grey, least=self._least(head), buffer=None)

    def _least(self, head: ImageHeader) -> tuple[int, int]:
        """The height and width, as stored, below which a JPEG must not be decoded."""
        if head.size == self._size or self._spec.fit == "exact" or self._spec.mask:
            return 0, 0
        tall, wide = (int(side * SPARE) for side in self._size)
        tall, wide = (wide, tall) if head.orientation >= 5 else (tall, wide)
        return min(tall, head.height), min(wide, head.width)

    def _extent(self, head: ImageHeader, pixels: NDArray[Any]) -> tuple[float, float]:
        """The height and width of the image in pixels that may have been scaled by a number of eighths, and rounded up."""
        tall, wide = pixels.shape[:2]
        if head.format != "JPEG" or (tall, wide) == (head.height, head.width):
            return tall, wide
        eighths = next((n for n in range(1, 8) if (-(-head.height * n // 8), -(-head.width * n // 8)) == (tall, wide)), None)
        return (tall, wide) if eighths is None else (head.height * eighths / 8, head.width * eighths / 8)


def _unlike(head: ImageHeader, size: tuple[int, int]) -> ImageError:
    tall, wide = head.size
    return ImageError(
        f"is {tall:,} x {wide:,} pixels, where {size[0]:,} x {size[1]:,} are expected",
        hint=UNLIKE,
        kind=SchemaMismatchError,
    )

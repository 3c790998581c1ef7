"""One function a format: encoded bytes in, pixels (height, width, channels) out, with whatever the codec complains of."""

from __future__ import annotations

import importlib
import io
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.images import bmp
from streamload.images.color_modes import from_cmyk
from streamload.images.header import ImageHeader
from streamload.images.tiff import BITS, EXTRA, PHOTOMETRIC, PLANAR, PREMULTIPLIED, WHITE_IS_ZERO, tags_of

_LENIENT = threading.Lock()
"""Held while Pillow's own global switch for images that are cut short is off."""


def require() -> None:
    """Import what decodes. Raises ConfigError with the command that installs it."""
    try:
        for name in ("simplejpeg", "PIL.Image"):
            importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"Encoded images need {error.name or 'a package'}, which is not installed.", hint="Run: pip install 'streamload[images]'"
        ) from error


def jpeg(data: memoryview, head: ImageHeader, *, grey: bool, least: tuple[int, int], buffer: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """A JPEG as grey or RGB, into `buffer` where there is one, as small as it comes out while not below `least`.

    What libjpeg only warns of (a file that is cut short, bytes that make no sense) is an error.
    """
    import simplejpeg

    colours = "CMYK" if head.colours == "CMYK" else "GRAY" if grey or head.colours == "grey" else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=least[0], min_width=least[1], min_factor=1, buffer=buffer)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        pixels = _rare_jpeg(data)
    return from_cmyk(pixels) if colours == "CMYK" else pixels


def _rare_jpeg(data: memoryview) -> NDArray[np.uint8]:
    """A JPEG whose colours are coarser than brightness in a way that turbo's own interface has no name for."""
    import imagecodecs

    if bytes(data).rfind(b"\xff\xd9") < 0:  # this decoder fills in grey for what is missing, and says nothing
        raise ValueError("the end mark is missing")
    return _channels(imagecodecs.jpeg8_decode(bytes(data)))


def png(data: memoryview, head: ImageHeader) -> NDArray[Any]:
    """A PNG; palettes as RGB, or RGBA where parts are transparent."""
    import imagecodecs

    if head.alpha and head.colours in ("grey", "palette") and head.bits == 8:
        return pillow(data, head)
    return _channels(imagecodecs.png_decode(data))  # pyright: ignore[reportArgumentType]


def webp(data: memoryview, head: ImageHeader) -> NDArray[Any]:
    """A WebP: RGB or RGBA."""
    import imagecodecs

    return _channels(imagecodecs.webp_decode(data))  # pyright: ignore[reportArgumentType]


def tiff(data: memoryview, head: ImageHeader) -> NDArray[Any]:
    """The one page of a TIFF, white being its largest level."""
    tags = tags_of(data)
    if not tiff_is_plain(head):
        pixels = pillow(data, head)
        # Pillow turns levels of 8 bits over where 0 is white, and not those of more.
        return pixels if head.bits == 8 or tags.get(PHOTOMETRIC) != WHITE_IS_ZERO else (1 << tags[BITS]) - 1 - pixels
    import imagecodecs

    if head.colours == "palette":
        raise ValueError("palettes of 16 bits are not known here")
    pixels = imagecodecs.tiff_decode(data)  # pyright: ignore[reportArgumentType]
    pixels = np.moveaxis(pixels, 0, 2) if pixels.ndim == 3 and tags.get(PLANAR, 1) == 2 else _channels(pixels)
    if pixels.shape[2] == 4 and tags.get(EXTRA) == 0:
        return pixels[:, :, :3]  # The fourth is not said to be alpha: left out, as Pillow does where colours have 8 bits.
    return _divided(pixels) if pixels.shape[2] == 4 and tags.get(EXTRA) == PREMULTIPLIED else pixels


def _divided(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Colours that were multiplied by their alpha, as they were before."""
    alpha = pixels[:, :, 3:].astype(np.uint32)
    pixels = pixels.copy()
    colours = pixels[:, :, :3].astype(np.uint32) * 65535 // np.maximum(alpha, 1)
    pixels[:, :, :3] = np.where(alpha == 0, pixels[:, :, :3], np.minimum(colours, 65535))
    return pixels


def tiff_is_plain(head: ImageHeader) -> bool:
    """Whether a TIFF is decoded as it is stored; Pillow, which takes the others, has no colours of 16 bits."""
    return head.bits == 16 and head.colours != "grey"


def pillow(data: memoryview, head: ImageHeader, *, indices: bool = False) -> NDArray[Any]:
    """What Pillow's own reader of the format makes of it, palettes resolved unless `indices` are asked for."""
    from PIL import ImageFile

    if head.format == "BMP" and (few := bmp.pixels(data, head, indices=indices)) is not None:
        return few
    plugin = {"PNG": "Png", "TIFF": "Tiff", "BMP": "Bmp", "GIF": "Gif"}[head.format]
    reader = getattr(importlib.import_module(f"PIL.{plugin}ImagePlugin"), f"{plugin}ImageFile")
    with _LENIENT, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what stands beside the pixels
        # Its reader is called itself: Image.open would warn of large images, and might take the bytes for another format.
        switch, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            image = reader(io.BytesIO(data))
            if image.size[0] * image.size[1] > 2 * head.width * head.height:
                raise ValueError(f"it says to have {head.height:,} x {head.width:,} pixels, and has {image.size[1]:,} x {image.size[0]:,}")
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = switch
    if indices and image.mode == "P":
        return _channels(np.asarray(image))
    wanted = {"1": "L", "P": "RGBA" if head.alpha else "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "CMYK": "RGB"}
    transparent = "transparency" in image.info
    mode = wanted.get(image.mode, image.mode)
    if transparent:
        mode = "RGBA"
    pixels = np.asarray(image if mode == image.mode else image.convert(mode))
    if image.mode.startswith("I;16"):
        pixels = pixels.astype(np.uint16)  # in native byte order
    return _channels(pixels)


def _channels(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


BY_FORMAT: dict[str, Callable[[memoryview, ImageHeader], NDArray[Any]]] = {
    "PNG": png,
    "WebP": webp,
    "TIFF": tiff,
    "BMP": pillow,
    "GIF": pillow,
}
"""The function of each format but JPEG, which has more to be told."""

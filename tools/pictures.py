"""One image file as an array: its size is known before it is decoded, so that none can take all memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SourceError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_PIXELS = 1 << 28
"""An image that says to have more is not decoded: a few kilobytes can unpack to gigabytes."""
MOST_FILE_NBYTES = 1 << 30

_HINT = "Leave it out with --on-bad skip, or replace the file."


def decoded(path: str, *, mode: str) -> NDArray[Any]:
    """The image in a file, as `image_in` gives it."""
    return image_in(file_bytes(path), path, mode=mode)


def file_bytes(path: str) -> bytes:
    """What a file of an image holds. Raises SourceError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST_FILE_NBYTES)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.", path=path) from error


def image_in(data: bytes, title: str, *, mode: str) -> NDArray[Any]:
    """An image as (height, width, 3) in mode rgb, (height, width) in mode grey, as it is stored in mode any.

    `title` names it in errors. Raises CorruptDataError for one that is damaged, cut short, too large or of an unknown kind.
    """
    name = kind_of(data)
    if name is None:
        start = data[:8].hex(" ") or "nothing"
        raise CorruptDataError(f"{title} is no image that is known here: it begins with {start}.", hint=_HINT, path=title)
    size = size_of(name, data)
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise CorruptDataError(
            f"{title} says to have {size[0]:,} x {size[1]:,} pixels; more than {MOST_PIXELS:,} are not decoded.", hint=_HINT, path=title
        )
    try:
        image = _decoder(name)(data)
    except Exception as error:  # each codec has errors of its own
        raise CorruptDataError(f"{title} cannot be decoded: {error}.", hint=_HINT, path=title) from error
    if name == "jpeg8" and not _ends(data):
        raise CorruptDataError(f"{title} is cut short: it does not end as a JPEG does.", hint=_HINT, path=title)
    return np.asarray(image) if mode == "any" else as_mode(np.asarray(image), mode)


def _ends(data: bytes) -> bool:
    """Whether the end mark of a JPEG is there: decoders fill in grey for what is missing, and say nothing.

    Within an image's own data the mark cannot occur; a thumbnail, which has one too, lies before it.
    """
    frame = _frame(data)
    return data.find(b"\xff\xd9", 0 if frame is None else frame[3]) >= 0


def kind_of(data: bytes) -> str | None:
    """The codec for an image, by its first bytes."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg8"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "bmp" if data.startswith(b"BM") else None


def _decoder(name: str) -> Callable[[bytes], NDArray[Any]]:
    import imagecodecs

    if name == "jpeg8":
        return _jpeg
    return getattr(imagecodecs, f"{name}_decode")


def _jpeg(data: bytes) -> NDArray[Any]:
    """A JPEG in grey or in colour. The four inks of a CMYK one are stored inverted, as everybody does since Photoshop."""
    import imagecodecs

    components = _components(data)
    if components == 4:
        inks = imagecodecs.jpeg8_decode(data, outcolorspace="CMYK").astype(np.uint16)
        return ((inks[:, :, :3] * inks[:, :, 3:] + 127) // 255).astype(np.uint8)
    return imagecodecs.jpeg8_decode(data, outcolorspace="RGB") if components == 3 else imagecodecs.jpeg8_decode(data)


def size_of(name: str, data: bytes) -> tuple[int, int] | None:
    """Height and width as an image's head says them; None where only decoding tells."""
    if name == "png" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return height, width
    if name == "bmp" and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return abs(height), abs(width)
    if name == "jpeg8":
        frame = _frame(data)
        return None if frame is None else frame[:2]
    return None


def _components(data: bytes) -> int:
    frame = _frame(data)
    return 0 if frame is None else frame[2]


def _frame(data: bytes) -> tuple[int, int, int, int] | None:
    """Height, width and number of components of a JPEG, from the segment that begins its frame, and where that stands."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return height, width, data[at + 9], at
        if marker == 0xDA:
            return None
        at += 2 if 0xD0 <= marker <= 0xD9 or marker == 0x01 else 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def as_mode(image: NDArray[Any], mode: str) -> NDArray[Any]:
    """Grey, colour or alpha as what was asked for: alpha is laid over white."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3 and image.shape[2] in (2, 4):
        image = _over_white(image)
    if mode == "rgb":
        return np.ascontiguousarray(image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2))
    if image.ndim == 2:
        return np.ascontiguousarray(image)
    grey = image[:, :, :3] @ np.array([0.299, 0.587, 0.114])
    return np.round(grey).astype(image.dtype)


def _over_white(image: NDArray[Any]) -> NDArray[Any]:
    most = np.iinfo(image.dtype).max
    alpha = image[:, :, -1:].astype(np.float64) / most
    colours = image[:, :, :-1] * alpha + most * (1 - alpha)
    return np.round(colours).astype(image.dtype)[:, :, 0] if image.shape[2] == 2 else np.round(colours).astype(image.dtype)


def resized(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The middle of an image that is made as small, or as large, as fills `size` (height, width)."""
    if image.shape[:2] == size:
        return image
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("--size needs Pillow, which is not installed.", hint="pip install 'streamload[images]'") from error
    if image.dtype != np.uint8:
        raise ConfigError(
            f"--size needs images of 8 bits, and one has {image.dtype}.", hint="Leave --size out, or convert the images first."
        )
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    # Cut first: pixels beyond the edge of what is kept must not shine into it.
    tall, wide = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = np.ascontiguousarray(image[top : top + tall, left : left + wide])
    return np.asarray(Image.fromarray(middle).resize((size[1], size[0]), Image.Resampling.BILINEAR))

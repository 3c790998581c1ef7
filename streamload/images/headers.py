"""What kind of image some bytes are, by their first ones, and what its header claims: nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable

from streamload.errors import UnsupportedFeatureError
from streamload.images import jpeg, png_webp_bmp_gif, spark, tiff
from streamload.images.header import ImageHeader
from streamload.images.image_error import ImageError

POINTER = b"version https://git-lfs"
HEAD_NBYTES = 16
"""Bytes that tell the format."""

Bytes = bytes | bytearray | memoryview


def format_of(data: Bytes) -> str | None:
    """The name of the image format that some bytes begin as; None if they are no image that is known."""
    start = bytes(data[:HEAD_NBYTES])
    for name, known in _MAGIC:
        if known(start):
            return name
    return None


def read_header(data: Bytes) -> ImageHeader:
    """What the header of an image claims. Raises ImageError, of its kind, for what is no image, or cannot be read."""
    name = format_of(data)
    if name is None:
        if bytes(data[: len(POINTER)]) == POINTER:
            raise ImageError("is a Git LFS pointer, not the image", hint="Run `git lfs pull` in its repository.")
        start = bytes(data[:8]).hex(" ")
        raise ImageError(f"is no image that is known here: it begins with {start}" if start else "is empty, where an image should be")
    if name in _FOREIGN:
        raise ImageError(f"is {name}, which is not decoded here", hint="Write it anew as PNG, WebP or JPEG.", kind=UnsupportedFeatureError)
    try:
        head = _READERS[name](memoryview(data))
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ImageError(f"is a {name} whose header is damaged or cut short") from error
    if head.height <= 0 or head.width <= 0:
        raise ImageError(f"is a {name} that claims {head.height:,} x {head.width:,} pixels")
    return head


_READERS: dict[str, Callable[[memoryview], ImageHeader]] = {
    "JPEG": jpeg.read,
    "PNG": png_webp_bmp_gif.read_png,
    "WebP": png_webp_bmp_gif.read_webp,
    "TIFF": tiff.read,
    "BMP": png_webp_bmp_gif.read_bmp,
    "GIF": png_webp_bmp_gif.read_gif,
    "Spark image": spark.read,
}
"""What reads the header of each format."""


def _starts(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(starts)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    return lambda data: data[4:8] == b"ftyp" and data[8:12] in brands


_MAGIC: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("JPEG", _starts(b"\xff\xd8\xff")),
    ("PNG", _starts(b"\x89PNG\r\n\x1a\n")),
    ("WebP", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP"),
    ("TIFF", _starts(b"II*\x00", b"MM\x00*", b"II+\x00\x08\x00", b"MM\x00+\x00\x08")),
    ("GIF", _starts(b"GIF87a", b"GIF89a")),
    ("BMP", lambda data: data[:2] == b"BM" and len(data) >= 16 and data[6:10] == bytes(4) and data[14] in (12, 40, 52, 56, 64, 108, 124)),
    ("Spark image", _starts(b"\x93SparkML")),
    ("JPEG 2000", _starts(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("JPEG XL", _starts(b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")),
    ("AVIF", _brand(b"avif", b"avis")),
    ("HEIF", _brand(b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")),
)
_FOREIGN = ("JPEG 2000", "JPEG XL", "AVIF", "HEIF")

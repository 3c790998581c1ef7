"""TIFF headers, and Exif, which is a TIFF header inside another image."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from streamload.errors import UnsupportedFeatureError
from streamload.images.header import ImageHeader
from streamload.images.image_error import ImageError

MOST_TAGS = 4096
MOST_DIRECTORIES = 64
"""That are looked at for another page."""
WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, CHANNELS, EXTRA, FORMAT = 256, 257, 258, 262, 274, 277, 338, 339
PLANAR = 284
SUBFILE = 254
WHITE_IS_ZERO = 0
"""A photometric interpretation."""
PREMULTIPLIED = 1
"""What the value beside the colours is: alpha that they are multiplied by."""
NO_PAGE = 1 | 4
"""Bits of what a directory is that say it is a smaller copy of another, or a mask."""
COLOURS = {0: (1, 2), 1: (1, 2), 2: (3, 4), 3: (1, 2), 5: (4,), 6: (3,)}
"""How many values a pixel may have, by photometric interpretation; transparency counted."""
_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}
"""Bytes of the whole-number types: byte, short, long and long of 8 bytes."""
_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def read(data: memoryview) -> ImageHeader:
    """The head of a TIFF of one page; smaller copies and masks are no pages."""
    tags = tags_of(data)
    kind = tags.get(PHOTOMETRIC, 1)
    channels = tags.get(CHANNELS, 1)
    bits = tags.get(BITS, 1)
    if tags.get(FORMAT, 1) != 1 or bits > 16:
        what = {2: "signed numbers", 3: "fractions"}.get(tags.get(FORMAT, 1), "numbers")
        raise ImageError(
            f"is a TIFF of {what} of {bits} bits, which are no pixels of an image",
            hint="Store them as an array field, or as 8 or 16 bits.",
            kind=UnsupportedFeatureError,
        )
    if kind not in COLOURS:
        raise ImageError(
            f"is a TIFF of the photometric interpretation {kind}, which is not decoded here",
            hint="Write it anew as RGB.",
            kind=UnsupportedFeatureError,
        )
    _require_one_picture(data, channels, kind)
    return ImageHeader(
        format="TIFF",
        height=tags.get(HEIGHT, 0),
        width=tags.get(WIDTH, 0),
        colours={0: "grey", 1: "grey", 3: "palette", 5: "CMYK"}.get(kind, "colour"),
        alpha=channels in (2, 4) and kind in (0, 1, 2),  # Pillow takes it for alpha where it is not said what it is.
        bits=16 if bits > 8 else 8,
        orientation=upright(tags.get(ORIENTATION, 1)),
    )


def _require_one_picture(data: memoryview, channels: int, kind: int) -> None:
    """Raise ImageError where a file holds more than the colours of one picture."""
    if channels not in COLOURS[kind]:
        raise ImageError(
            f"is a TIFF of {channels} bands, which are no colours",
            hint="Store them as an array field.",
            kind=UnsupportedFeatureError,
        )
    if _has_more_pages(data):
        raise ImageError(
            "is a TIFF of several pages, of which only the first would be decoded",
            hint="Write each page as an image of its own, or store them as an array field.",
            kind=UnsupportedFeatureError,
        )


def orientation_in(exif: memoryview) -> int:
    """The orientation that Exif data says; 1 where it says none, or cannot be read."""
    try:
        return upright(tags_of(exif).get(ORIENTATION, 1))
    except (struct.error, IndexError, ValueError):
        return 1


def upright(value: int) -> int:
    """An orientation, or 1 where it is none."""
    return value if 1 <= value <= 8 else 1


def tags_of(data: memoryview) -> dict[int, int]:
    """The first value of each whole-number tag of the first directory. Raises ValueError, struct.error where there is none."""
    return next(_directories(data))


def _has_more_pages(data: memoryview) -> bool:
    """Whether another page follows the first; none that is damaged, as where a file is cut behind its first."""
    try:
        return any(not tags.get(SUBFILE, 0) & NO_PAGE for tags in islice(_directories(data), 1, MOST_DIRECTORIES))
    except (ValueError, struct.error, IndexError):
        return False


def _directories(data: memoryview) -> Iterator[dict[int, int]]:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise ValueError("no byte order")
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset = struct.Struct(order + ("Q" if big else "I"))
    (at,) = offset.unpack_from(data, 8 if big else 4)
    while True:
        tags, end = _directory(data, at, order, big=big)
        yield tags
        at = offset.unpack_from(data, end)[0] if end + offset.size <= len(data) else 0
        if not at:
            return


def _directory(data: memoryview, at: int, order: str, *, big: bool) -> tuple[dict[int, int], int]:
    """The tags of the directory there, and where it ends."""
    count = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0]
    if count > MOST_TAGS:
        raise ValueError("too many tags")
    at += 8 if big else 2
    head = struct.Struct(order + ("HHQ" if big else "HHI"))
    width, room = (20, 8) if big else (12, 4)
    found: dict[int, int] = {}
    for place in range(at, at + count * width, width):
        tag, kind, number = head.unpack_from(data, place)
        if kind not in _SIZES or not number:
            continue
        value = place + head.size
        if number * _SIZES[kind] > room:
            value = struct.unpack_from(order + ("Q" if big else "I"), data, value)[0]
        found[tag] = struct.unpack_from(order + _CODES[kind], data, value)[0]
    return found, at + count * width

"""Headers of PNG, WebP, BMP and GIF."""

from __future__ import annotations

import struct

from streamload.errors import UnsupportedFeatureError
from streamload.images.header import ImageHeader
from streamload.images.image_error import ImageError
from streamload.images.tiff import orientation_in

_PNG_COLOURS = {0: "grey", 2: "colour", 3: "palette", 4: "grey", 6: "colour"}


def read_png(data: memoryview) -> ImageHeader:
    """The head of a PNG: its first chunk, whether one says what is transparent, and its Exif chunk."""
    length, kind, width, height, bits, colours = struct.unpack_from(">I4sIIBB", data, 8)
    if kind != b"IHDR" or length != 13 or colours not in _PNG_COLOURS:
        raise ValueError("no header")
    alpha, orientation, at = colours in (4, 6), 1, 33
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"tRNS":
            alpha = True
        elif kind == b"eXIf":
            orientation = orientation_in(data[at + 8 : at + 8 + length])
        elif kind == b"acTL":
            _require_one_frame(struct.unpack_from(">I", data, at + 8)[0], "PNG")
        elif kind == b"IEND":
            break
        at += 12 + length
    return ImageHeader(
        format="PNG",
        height=height,
        width=width,
        colours=_PNG_COLOURS[colours],
        alpha=alpha,
        bits=16 if bits == 16 else 8,
        orientation=orientation,
    )


def read_webp(data: memoryview) -> ImageHeader:
    """The head of a WebP: its first frame, or the canvas and what the extended header says is there."""
    kind, orientation = bytes(data[12:16]), 1
    if kind == b"VP8X" and len(data) >= 30:
        flags = data[20]
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        alpha = bool(flags & 0x10)
        if flags & 0x02:
            _require_one_frame(_webp_frames(data), "WebP")
        if flags & 0x08:
            orientation = _webp_orientation(data)
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height, alpha = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, bool(packed >> 28 & 1)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        alpha = False
    else:
        raise ValueError("no header")
    return ImageHeader(format="WebP", height=height, width=width, colours="colour", alpha=alpha, bits=8, orientation=orientation)


def _require_one_frame(frames: int, name: str) -> None:
    """Raise ImageError where a file holds more than one picture."""
    if frames > 1:
        raise ImageError(
            f"is a {name} of several frames, of which only the first would be decoded",
            hint="Write each frame as an image of its own, or store them as an array field.",
            kind=UnsupportedFeatureError,
        )


def _webp_frames(data: memoryview) -> int:
    """How many frames there are, as far as the data goes; no more than two are counted."""
    at, frames = 12, 0
    while at + 8 <= len(data) and frames < 2:
        kind, length = struct.unpack_from("<4sI", data, at)
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    return frames


def _webp_orientation(data: memoryview) -> int:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
            return orientation_in(exif[6:] if bytes(exif[:6]) == b"Exif\x00\x00" else exif)
        at += 8 + length + length % 2
    return 1


def read_bmp(data: memoryview) -> ImageHeader:
    """The head of a BMP."""
    (length,) = struct.unpack_from("<I", data, 14)
    width, height, _, bits = struct.unpack_from("<HHHH" if length == 12 else "<iiHH", data, 18)
    alpha = False
    if bits == 32 and length >= 56:
        compression, mask = struct.unpack_from("<I", data, 30)[0], struct.unpack_from("<I", data, 66)[0]
        alpha = compression == 3 and mask != 0
    return ImageHeader(
        format="BMP",
        height=abs(height),
        width=abs(width),
        colours=_bmp_colours(data, length, bits),
        alpha=alpha,
        bits=8,
        orientation=1,
    )


def _bmp_colours(data: memoryview, length: int, bits: int) -> str:
    """Whether a palette holds greys alone."""
    if bits > 8:
        return "colour"
    entry, count = (3, 0) if length == 12 else (4, struct.unpack_from("<I", data, 46)[0])
    count = min(count or 1 << bits, 256)
    palette = bytes(data[14 + length : 14 + length + entry * count])
    return "grey" if palette[0::entry] == palette[1::entry] == palette[2::entry] else "palette"


def read_gif(data: memoryview) -> ImageHeader:
    """The head of a GIF: the screen, and the first picture where it reaches beyond."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    alpha = False
    while data[at] != 0x2C:
        if data[at] != 0x21:
            raise ValueError("no picture")
        if data[at + 1] == 0xF9:
            alpha = bool(data[at + 3] & 1)
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    left, top, wide, tall, local = struct.unpack_from("<HHHHB", data, at + 1)
    _require_one_frame(1 + _has_more_frames(data, at + 10 + (3 << (local & 7) + 1 if local & 0x80 else 0)), "GIF")
    return ImageHeader(
        format="GIF",
        height=max(height, top + tall),
        width=max(width, left + wide),
        colours="palette",
        alpha=alpha,
        bits=8,
        orientation=1,
    )


def _has_more_frames(data: memoryview, at: int) -> bool:
    """Whether another picture follows the one whose values begin at a byte; not where the data ends before."""
    at += 1  # How many bits a code has at first.
    while at < len(data):
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        kind = data[at] if at < len(data) else 0
        if kind != 0x21:
            return kind == 0x2C
        at += 2
    return False

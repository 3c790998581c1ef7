"""Numbers that a file stores and its decoder makes others of: transparent masks, few grey levels, rare palettes and kinds of alpha."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamload.images import Decode, ImageDecoder, ImageError, read_header
from streamload.images.scratch import ScratchDecoder

BLACK_AND_WHITE = bytes([0, 0, 0, 0, 255, 255, 255, 0])
GREYS = bytes(np.repeat(np.arange(16, dtype=np.uint8), 4).reshape(16, 4) * np.array([1, 1, 1, 0], np.uint8))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(row: bytes, width: int, *, bits: int, colours: int, clear: bytes = b"") -> bytes:
    """A PNG of one row; `clear` is the colour that is transparent."""
    head = struct.pack(">IIBBBBB", width, 1, bits, colours, 0, 0, 0)
    between = _chunk(b"tRNS", clear) if clear else b""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + between + _chunk(b"IDAT", zlib.compress(b"\0" + row)) + _chunk(b"IEND", b"")


def bmp(rows: Sequence[bytes], width: int, *, bits: int, palette: bytes, upside_down: bool = False) -> bytes:
    """A BMP of few colours, which says how many."""
    offset, data = 54 + len(palette), b"".join(rows if upside_down else rows[::-1])
    height = -len(rows) if upside_down else len(rows)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + palette + data


def tiff(data: bytes, width: int, *, bits: int, kind: int, values: int = 1, extra: int | None = None) -> bytes:
    """A TIFF of one row, uncompressed; `kind` is its photometric interpretation."""
    count = 10 + (extra is not None)
    beyond = 8 + 2 + 12 * count + 4
    sizes = struct.pack(f"<{values}H", *[bits] * values)
    at = struct.pack("<I", beyond) if values > 2 else sizes.ljust(4, b"\0")
    whole = {256: width, 257: 1, 259: 1, 262: kind, 273: beyond + len(sizes), 277: values, 278: 1, 279: len(data), 284: 1}
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in whole.items()] + [struct.pack("<HHI", 258, 3, values) + at]
    tags += [] if extra is None else [struct.pack("<HHII", 338, 3, 1, extra)]
    tags.sort(key=lambda tag: struct.unpack_from("<H", tag)[0])
    return b"II*\0" + struct.pack("<IH", 8, count) + b"".join(tags) + bytes(4) + sizes + data


def found(data: bytes, width: int, mode: str, *, mask: bool = False, height: int = 1) -> list[Any]:
    """The values of an image, which are the same where augmentation decodes it."""
    options = Decode(size=(height, width), fit="exact", mode=mode, mask=mask)
    out = np.empty(options.shape, options.dtype)
    ImageDecoder(options).decode(data, out)
    if not mask or mode in ("L", "L16"):
        scratch = ScratchDecoder(mode, max_pixels=1 << 20, mask=mask)
        np.testing.assert_array_equal(scratch.decode(data, scratch.header(data)).pixels, out)
    return out.reshape(-1).tolist()


def u2(*values: int, order: str = ">") -> bytes:
    return struct.pack(f"{order}{len(values)}H", *values)


@pytest.mark.parametrize(
    ("data", "mode", "numbers"),
    [
        (png(bytes([0, 1, 2, 255]), 4, bits=8, colours=0, clear=u2(0)), "L", [0, 1, 2, 255]),
        (png(bytes([0x01, 0x2F]), 4, bits=4, colours=0, clear=u2(1)), "L", [0, 1, 2, 15]),
        (png(bytes([0b01010000]), 4, bits=1, colours=0, clear=u2(0)), "L", [0, 1, 0, 1]),
        (png(u2(0, 1, 2, 65535), 4, bits=16, colours=0, clear=u2(1)), "L16", [0, 1, 2, 65535]),
        (png(bytes([0, 0, 1, 255, 2, 128, 3, 255]), 4, bits=8, colours=4), "L", [0, 1, 2, 3]),
        (png(u2(0, 0, 1, 65535, 2, 9, 3, 65535), 4, bits=16, colours=4), "L16", [0, 1, 2, 3]),
        (tiff(bytes([7, 0, 8, 255, 9, 100, 1, 1]), 4, bits=8, kind=1, values=2, extra=2), "L", [7, 8, 9, 1]),
        (tiff(bytes([0x01, 0x2F]), 4, bits=4, kind=1), "L", [0, 1, 2, 15]),
        (tiff(bytes([0b00011011]), 4, bits=2, kind=1), "L", [0, 1, 2, 3]),
        (tiff(bytes([0b01100000]), 4, bits=1, kind=1), "L", [0, 1, 1, 0]),
        (tiff(bytes([0, 1, 2, 255]), 4, bits=8, kind=0), "L", [0, 1, 2, 255]),
        (tiff(u2(0, 1, 2, 65535, order="<"), 4, bits=16, kind=0), "L16", [0, 1, 2, 65535]),
    ],
)
def test_masks_hold_the_numbers_that_are_stored(data: bytes, mode: str, numbers: list[int]) -> None:
    """Whatever is transparent, however few bits there are, and whether 0 is black or white."""
    assert found(data, 4, mode, mask=True) == numbers


def test_colours_of_a_mask_are_not_mixed_with_white():
    """Where they are half transparent."""
    assert found(png(bytes([10, 20, 30, 0, 40, 50, 60, 99]), 2, bits=8, colours=6), 2, "RGB", mask=True) == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(
    ("data", "levels"),
    [
        (bmp([bytes([0, 1, 1, 0])], 4, bits=8, palette=BLACK_AND_WHITE), [0, 255, 255, 0]),
        (bmp([bytes([0x01, 0x10, 0, 0])], 4, bits=4, palette=BLACK_AND_WHITE), [0, 255, 255, 0]),
        (bmp([bytes([0b01100000, 0, 0, 0])], 4, bits=1, palette=BLACK_AND_WHITE[4:] + BLACK_AND_WHITE[:4]), [255, 0, 0, 255]),
        (bmp([bytes([0x01, 0x2F, 0, 0])], 4, bits=4, palette=GREYS), [0, 1, 2, 15]),
        (bmp([bytes([3, 2, 1, 0])], 4, bits=8, palette=GREYS), [3, 2, 1, 0]),
    ],
)
def test_bmps_of_few_greys(data: bytes, levels: list[int], mask: bool) -> None:
    """Pillow 13 takes some of them for images of other numbers of bits, and says nothing."""
    assert found(data, 4, "L", mask=mask) == levels


def test_bmps_of_a_palette_either_way_up():
    """Colours, and the numbers of a mask; one that is cut short is refused."""
    palette, rows = bytes([1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0]), [bytes([0, 2, 0, 0]), bytes([1, 7, 0, 0])]
    for upside_down in (False, True):
        data = bmp(rows, 2, bits=8, palette=palette, upside_down=upside_down)
        assert found(data, 2, "RGB", height=2) == [3, 2, 1, 9, 8, 7, 6, 5, 4, 0, 0, 0]
        assert found(data, 2, "L", mask=True, height=2) == [0, 2, 1, 7]
        with pytest.raises(ImageError, match="is a BMP that cannot be decoded: image file is truncated"):
            found(data[:-1], 2, "RGB", height=2)


@pytest.mark.parametrize("extra", [0, 1, 2, None])
def test_a_fourth_value_of_16_bits(extra: int | None) -> None:
    """It is left out where it is not said to be alpha; colours that were multiplied by it are as they were before."""
    data = tiff(u2(100, 200, 65535, 32768, order="<"), 1, bits=16, kind=2, values=4, extra=extra)
    colours = {0: [100, 200, 65535, 65535], 1: [199, 399, 65535, 32768]}.get(extra if extra is not None else 2, [100, 200, 65535, 32768])
    assert read_header(data).mode == "RGBA16"
    assert found(data, 1, "RGBA16") == colours
    assert found(tiff(u2(1, 2, 3, 0, order="<"), 1, bits=16, kind=2, values=4, extra=1), 1, "RGBA16") == [1, 2, 3, 0]


def test_white_is_the_largest_level_of_a_tiff():
    """Where 0 is stored for it, too; and a palette of 16 bits is refused."""
    assert found(tiff(u2(0, 1, 65535, order="<"), 3, bits=16, kind=0), 3, "L16") == [65535, 65534, 0]
    assert found(tiff(bytes([0, 1, 255]), 3, bits=8, kind=0), 3, "L") == [255, 254, 0]
    with pytest.raises(ImageError, match="is a TIFF that cannot be decoded: palettes of 16 bits are not known here"):
        found(tiff(u2(0, 1, order="<"), 2, bits=16, kind=3), 2, "RGB16")

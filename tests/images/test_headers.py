"""Headers say size, colours and orientation of every format without anything being decoded."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import FORMATS, all_images, encoded, picture
from PIL import Image, ImageOps

from streamload.errors import CorruptDataError, UnsupportedFeatureError
from streamload.images import ImageError, format_of, read_header

IMAGES = list(all_images())
NATURAL = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "TIFF": "TIFF", "BMP": "BMP", "GIF": "GIF"}


@pytest.mark.parametrize(("kind", "mode", "data"), IMAGES, ids=[f"{kind}-{mode}" for kind, mode, _ in IMAGES])
def test_a_head_says_what_pillow_says(kind: str, mode: str, data: bytes):
    """Format, size, bits, and whether there is alpha."""
    head = read_header(data)
    with Image.open(io.BytesIO(data)) as image:
        transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        assert (head.format, head.size) == (NATURAL[FORMATS[kind][0]], image.size[::-1])
        assert (head.bits == 16) == image.mode.startswith("I;16")
        assert head.alpha == transparent
        assert (head.colours == "CMYK") == (image.mode == "CMYK")
    assert read_header(memoryview(data)) == head


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "tiff-lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_one_of_the_upright_image(kind: str, orientation: int):
    """Orientations 5 to 8 lie on their side."""
    data = encoded(picture("RGB"), kind, orientation=orientation)
    assert data is not None
    with Image.open(io.BytesIO(data)) as image:
        assert read_header(data).size == ImageOps.exif_transpose(image).size[::-1]
    assert read_header(data).orientation == orientation


@given(height=st.integers(1, 300), width=st.integers(1, 300), kind=st.sampled_from(list(FORMATS)))
def test_any_size_is_read(height: int, width: int, kind: str):
    """Height and width are not mistaken for each other."""
    data = encoded(Image.new("RGB", (width, height)), kind)
    assert data is not None
    assert read_header(data).size == (height, width)


def test_big_tiff_is_read():
    """Offsets of eight bytes."""
    entry = struct.Struct("<HHQQ")
    tags = [(256, 4, 1, 7), (257, 4, 1, 5), (258, 3, 1, 8), (262, 3, 1, 1)]
    data = b"II+\x00\x08\x00\x00\x00" + struct.pack("<QQ", 16, len(tags)) + b"".join(entry.pack(*tag) for tag in tags)
    assert read_header(data).size == (5, 7)


@pytest.mark.parametrize(("kind", "mode", "data"), IMAGES, ids=[f"{kind}-{mode}" for kind, mode, _ in IMAGES])
def test_a_head_that_is_cut_anywhere_is_read_or_refused(kind: str, mode: str, data: bytes):
    """Never another size, never another error."""
    whole = read_header(data)
    for stop in [*range(min(len(data), 700)), *range(700, len(data), 97)]:
        try:
            assert read_header(data[:stop]).size == whole.size
        except ImageError as error:
            assert error.kind is CorruptDataError  # noqa: PT017


@given(data=st.binary(max_size=200), start=st.sampled_from([b"", *(data[:30] for _, _, data in IMAGES)]))
def test_any_bytes_are_a_head_or_refused(data: bytes, start: bytes):
    """Whatever follows the first bytes of an image."""
    try:
        head = read_header(start + data)
    except ImageError:
        return
    assert head.height > 0
    assert head.width > 0


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (b"", None, "is empty, where an image should be"),
        (b"hello world, hello", None, "is no image that is known here: it begins with 68 65 6c 6c 6f 20 77 6f"),
        (b"\x89PNG\r\n\x1a\n", "PNG", "is a PNG whose header is damaged or cut short"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x00\x03" + bytes(20), "JPEG", "is a JPEG that claims 0 x 0 pixels"),
        (b"\xff\xd8\xff\xc1\x00\x11\x0c\x00\x08\x00\x08\x03" + bytes(20), "JPEG", "is a JPEG of 12 bits, which is not decoded here"),
        (b"\xff\xd8\xff\xc3\x00\x11\x08\x00\x08\x00\x08\x03" + bytes(20), "JPEG", "is a JPEG of 8 bits, without loss, which is not"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x02" + bytes(20), "JPEG", "is a JPEG of 2 components, which no colours are"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000", "is JPEG 2000, which is not decoded here"),
        (b"\xff\x0a" + bytes(20), "JPEG XL", "is JPEG XL, which is not decoded here"),
        (b"\x00\x00\x00\x1cftypavif" + bytes(20), "AVIF", "is AVIF, which is not decoded here"),
        (b"\x00\x00\x00\x1cftypheic" + bytes(20), "HEIF", "is HEIF, which is not decoded here"),
    ],
    ids=lambda value: str(value)[:30] if not isinstance(value, bytes) else "",
)
def test_what_is_not_read_is_refused_by_name(data: bytes, name: str | None, text: str):
    """What, why, and what to do instead."""
    assert format_of(data) == name
    with pytest.raises(ImageError) as caught:
        read_header(data)
    said = str(caught.value.error("Record 3"))
    assert said.startswith(f"Record 3 {text}")
    assert said.endswith((". Replace it, or leave it out.", ". Write it anew as PNG, WebP or JPEG.", "anew as PNG.", "anew as RGB."))


@pytest.mark.parametrize(
    ("mode", "text"),
    [("F", "is a TIFF of fractions of 32 bits, which are no pixels"), ("I", "is a TIFF of signed numbers of 32 bits, which are no pixels")],
)
def test_tiffs_of_numbers_are_no_images(mode: str, text: str):
    """Arrays that were saved as images are told so."""
    data = encoded(Image.new(mode, (9, 9)), "tiff")
    assert data is not None
    with pytest.raises(ImageError, match=text) as caught:
        read_header(data)
    assert caught.value.kind is UnsupportedFeatureError


def test_a_tiff_of_unknown_colours_is_refused():
    """CIE L*a*b* is not what it seems to be."""
    data = encoded(Image.new("LAB", (9, 9)), "tiff")
    assert data is not None
    with pytest.raises(ImageError, match="photometric interpretation 8, which is not decoded here"):
        read_header(data)

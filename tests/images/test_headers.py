"""Headers say size, colours and orientation of every format without anything being decoded."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import FORMATS, all_images, encoded, picture
from numpy.typing import NDArray
from PIL import Image, ImageOps

from streamload.errors import CorruptDataError, UnsupportedFeatureError
from streamload.images import ImageError, format_of, read_header
from streamload.images.decoders import BY_FORMAT

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


def tiff_of(pixels: NDArray[Any], *, planar: bool = False, photometric: int = 1, next_page: bytes = b"") -> bytes:
    """A TIFF of one strip, or of one a band, by hand; `next_page` holds tags of another directory."""
    height, width, bands = pixels.shape
    strips = bands if planar else 1
    bits = 8 * pixels.itemsize
    data = (np.moveaxis(pixels, 2, 0) if planar else pixels).tobytes()
    place = 8 + len(data)
    arrays = struct.pack(f"<{bands}H", *[bits] * bands) + bytes(bands % 2 * 2)
    starts = struct.pack(f"<{2 * strips}I", *(8 + at * len(data) // strips for at in range(strips)), *[len(data) // strips] * strips)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, bands, place if bands > 2 else bits),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
    ]
    where = place + len(arrays)
    tags += [(273, 4, strips, where if planar else 8), (277, 3, 1, bands), (278, 4, 1, height)]
    tags += [(279, 4, strips, where + 4 * strips if planar else len(data)), (284, 3, 1, 1 + planar)]
    begin = where + len(starts)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    behind = begin + len(directory) + 4
    return (
        b"II*\0" + struct.pack("<I", begin) + data + arrays + starts + directory + struct.pack("<I", behind if next_page else 0) + next_page
    )


def page(*tags: tuple[int, int]) -> bytes:
    """A directory of whole numbers."""
    return struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)


def test_tiffs_of_many_bands_are_refused_by_name():
    """They are arrays; of two bands the second may be transparency."""
    for bands, photometric in ((8, 1), (3, 1), (5, 2), (4, 3)):
        with pytest.raises(ImageError, match=f"is a TIFF of {bands} bands, which are no colours") as caught:
            read_header(tiff_of(np.zeros((5, 7, bands), np.uint8), photometric=photometric))
        assert caught.value.kind is UnsupportedFeatureError
        assert caught.value.hint == "Store them as an array field."


def test_tiffs_of_several_pages_are_refused_by_name_and_smaller_copies_are_no_pages():
    """Only the first page would be delivered, and nobody would know."""
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    several = tiff_of(pixels, photometric=2, next_page=page((256, 7), (257, 5)))
    with pytest.raises(ImageError, match="is a TIFF of several pages, of which only the first would be decoded") as caught:
        read_header(several)
    assert caught.value.kind is UnsupportedFeatureError
    assert caught.value.hint == "Write each page as an image of its own, or store them as an array field."
    for kind in (1, 4):
        assert read_header(tiff_of(pixels, photometric=2, next_page=page((254, kind), (256, 3)))).size == (5, 7)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "TIFF", save_all=True, append_images=[Image.fromarray(pixels)])
    with pytest.raises(ImageError, match="several pages"):
        read_header(written.getvalue())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_whose_colours_lie_by_themselves_are_read(dtype: type[np.unsignedinteger[Any]]):
    """Each pixel has its own three again, of 8 bits and of 16; also where the picture is as high as it has colours."""
    for shape in ((5, 7, 3), (3, 3, 3), (3, 7, 3)):
        pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
        for planar in (False, True):
            data = tiff_of(pixels, planar=planar, photometric=2)
            head = read_header(data)
            np.testing.assert_array_equal(BY_FORMAT["TIFF"](memoryview(data), head), pixels)

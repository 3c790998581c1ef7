"""Decoded images hold the pixels that Pillow finds in them, in the size, the mode and the order that were asked for."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import FORMATS, MODES, all_images, by_pillow, decoded, encoded, photograph, picture
from numpy.typing import NDArray
from PIL import Image, ImageFile

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, UnsupportedFeatureError
from streamload.images import Decode, ImageDecoder, ImageError, read_header

IMAGES = list(all_images())
IDS = [f"{kind}-{mode}" for kind, mode, _ in IMAGES]


@pytest.mark.parametrize(("kind", "mode", "data"), IMAGES, ids=IDS)
def test_every_mode_of_every_format(kind: str, mode: str, data: bytes):
    """In every mode that has its bits: Pillow's pixels, to one level where alpha was laid over white."""
    head = read_header(data)
    for wanted in ("L16",) if head.bits == 16 else ("L", "RGB", "RGBA"):
        found, expected = decoded(data, mode=wanted), by_pillow(data, wanted)
        assert found.dtype == expected.dtype
        assert np.abs(found.astype(int) - expected).max() <= (1 if head.alpha else 0)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "tiff-lzw", "tiff-deflate"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_are_upright(kind: str, orientation: int, mode: str):
    """Whichever way the camera was held."""
    data = encoded(picture(mode), kind, orientation=orientation)
    assert data is not None
    np.testing.assert_array_equal(decoded(data, mode=mode), by_pillow(data, mode))
    np.testing.assert_array_equal(decoded(data, mode=mode, channels="first"), by_pillow(data, mode).transpose(2, 0, 1))


@settings(max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    kind=st.sampled_from(list(FORMATS)),
    mode=st.sampled_from(MODES),
    wanted=st.sampled_from(["L", "RGB", "RGBA"]),
)
def test_any_size(height: int, width: int, kind: str, mode: str, wanted: str):
    """One pixel, one row, sizes that no block divides."""
    data = encoded(picture(mode, height, width), kind)
    if data is None or read_header(data).bits == 16:
        return
    found, expected = decoded(data, mode=wanted), by_pillow(data, wanted)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (1 if read_header(data).alpha else 0)


def tiff_of(pixels: NDArray[np.uint16]) -> bytes:
    """A TIFF of one strip, by hand: Pillow writes no colours of 16 bits."""
    height, width, channels = pixels.shape
    begin = 8 + pixels.nbytes
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1 if channels == 1 else 2)]
    if channels > 1:
        tags[2] = (258, 3, channels, begin)
    tags += [(273, 4, 1, 8), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, pixels.nbytes)]
    tags += [(338, 3, 1, 2)] if channels == 4 else []
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", begin + 8) + pixels.tobytes() + struct.pack("<4H", 16, 16, 16, 16) + directory


@pytest.mark.parametrize("channels", [1, 3, 4], ids=["grey", "colour", "alpha"])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bits_stay_sixteen_bits(channels: int, kind: str):
    """Every bit of them."""
    import imagecodecs

    pixels = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    data = imagecodecs.png_encode(pixels[:, :, 0] if channels == 1 else pixels) if kind == "png" else tiff_of(pixels)
    head = read_header(data)
    assert (head.mode, head.bits) == ({1: "L16", 3: "RGB16", 4: "RGBA16"}[channels], 16)
    np.testing.assert_array_equal(decoded(data), pixels)
    small = decoded(data, size=(10, 15), fit="resize", mode=head.mode)
    assert np.abs(small.astype(int) - 32768).mean() < 20_000
    flat = decoded(data, size=(1, 1), fit="resize", mode=head.mode)
    assert np.abs(flat[0, 0] - pixels.astype(float).mean((0, 1))).max() < 3_000
    with pytest.raises(ImageError, match="has 16 bits, and mode 'RGB' has 8") as caught:
        decoded(data, mode="RGB")
    assert caught.value.kind is UnsupportedFeatureError
    assert "Ask for mode='RGB16'" in caught.value.hint


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_eight_bits_do_not_become_sixteen(kind: str):
    """What such a number would mean is not known here."""
    data = encoded(picture("L"), kind)
    assert data is not None
    with pytest.raises(ImageError, match="has 8 bits, and mode 'L16' has 16"):
        decoded(data, mode="L16")


def test_pixels_go_straight_into_a_row():
    """And nothing beside the row is touched."""
    data = encoded(picture("RGB"), "jpeg")
    assert data is not None
    rows = np.full((3, 61, 83, 3), 9, np.uint8)
    ImageDecoder(Decode(size=(61, 83), mode="RGB")).decode(memoryview(data), rows[1])
    np.testing.assert_array_equal(rows[1], by_pillow(data, "RGB"))
    assert (rows[[0, 2]] == 9).all()


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(64, 64), (40, 100), (100, 40), (500, 500)])
def test_crop_keeps_the_middle_and_resize_stretches(kind: str, orientation: int, size: tuple[int, int]):
    """Within a few levels of Pillow doing it to the whole image."""
    data = encoded(picture("RGB", 300, 420), kind, orientation=orientation)
    assert data is not None
    whole = Image.fromarray(by_pillow(data, "RGB"))
    stretched = np.asarray(whole.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decoded(data, size=size, fit="resize", mode="RGB") - stretched).mean() < 2
    scale = min(whole.height / size[0], whole.width / size[1])
    tall, wide = size[0] * scale, size[1] * scale
    top, left = (whole.height - tall) / 2, (whole.width - wide) / 2
    middle = whole.resize(size[::-1], Image.Resampling.BILINEAR, box=(left, top, left + wide, top + tall))
    assert np.abs(decoded(data, size=size, mode="RGB") - np.asarray(middle).astype(int)).mean() < 6


@pytest.mark.parametrize("size", [(32, 32), (100, 100), (160, 160)])
def test_scaled_decoding_is_close_to_decoding_the_whole(size: tuple[int, int]):
    """Even for waves of a few pixels, which are the worst case."""
    data = encoded(picture("RGB", 512, 512), "jpeg")
    assert data is not None
    whole = np.asarray(Image.fromarray(by_pillow(data, "RGB")).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decoded(data, size=size, mode="RGB") - whole).mean() < 4


def test_coarse_colours_of_any_kind_are_decoded():
    """Where turbo has no name for how much coarser colours are than brightness."""
    from io import BytesIO

    whole = BytesIO()
    Image.fromarray(photograph(64, 64)).save(whole, format="JPEG", subsampling=0)
    data = bytearray(whole.getvalue())
    frame = data.find(b"\xff\xc0")
    assert data[frame + 11] == 0x11
    head = read_header(bytes(data))
    assert head.size == (64, 64)
    data[frame + 11], data[frame + 14] = 0x31, 0x31  # three blocks across in two of three colours
    try:
        found = decoded(bytes(data), mode="RGB")
    except ImageError as error:
        assert error.why.startswith("is a JPEG that cannot be decoded")  # noqa: PT017
    else:
        np.testing.assert_array_equal(found, by_pillow(bytes(data), "RGB"))


def test_a_bomb_is_refused_from_its_header():
    """A few bytes that say to be terabytes."""
    data = bytearray(encoded(picture("RGB"), "png") or b"")
    data[16:24] = (70_000).to_bytes(4, "big") * 2
    with pytest.raises(ImageError, match=r"claims 70,000 x 70,000 pixels, and more than 134,217,728 are not decoded") as caught:
        decoded(bytes(data), size=(8, 8), mode="RGB")
    assert caught.value.kind is CorruptDataError
    assert caught.value.hint == "If that is true, allow it: Decode(max_pixels=...)."
    with pytest.raises(ImageError, match="claims 61 x 83 pixels, and more than 5,000 are not decoded"):
        decoded(encoded(picture("RGB"), "jpeg") or b"", size=(8, 8), mode="RGB", max_pixels=5000)


def test_exact_takes_no_other_size():
    """And says both."""
    data = encoded(picture("RGB"), "jpeg") or b""
    with pytest.raises(ImageError, match="is 61 x 83 pixels, where 83 x 61 are expected") as caught:
        decoded(data, size=(83, 61), fit="exact")
    assert caught.value.kind is SchemaMismatchError
    assert "Decode(size=(height, width), fit=" in caught.value.hint


def test_a_switch_of_pillows_makes_no_difference(monkeypatch: pytest.MonkeyPatch):
    """A program that told Pillow to accept what is cut short told only Pillow."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(picture("RGB"), "bmp") or b""
    with pytest.raises(ImageError, match="is a BMP that cannot be decoded: image file is truncated"):
        decoded(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 224}, r"Decode\(size=224\) is no size. Give height and width: size=\(224, 224\)."),
        ({"size": (0, 5)}, r"Decode\(size=\(0, 5\)\) is no size"),
        ({"fit": "pad"}, r"Decode\(fit='pad'\) is not known. Give one of 'crop', 'resize', 'exact'."),
        ({"mode": "BGR"}, r"Decode\(mode='BGR'\) is not known. Give one of 'L', 'RGB',"),
        ({"channels": "CHW"}, r"Decode\(channels='CHW'\) is not known. Give one of 'last', 'first'."),
        ({"max_pixels": 0}, r"Decode\(max_pixels=0\) leaves no image at all."),
        ({"size": (100, 100), "max_pixels": 10}, r"has 10,000 pixels, and max_pixels is 10. Raise max_pixels"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, object], text: str):
    """What, why, what to do."""
    with pytest.raises(ConfigError, match=text):
        Decode(**options)  # type: ignore[arg-type]


def test_missing_packages_are_named_with_the_command(tmp_path):
    """Without the extra, the error prints how to get it."""
    (tmp_path / "simplejpeg.py").write_text("raise ImportError('not here', name='simplejpeg')")
    code = "import streamload as sl\nfrom streamload.images import ImageDecoder\nImageDecoder(sl.Decode(size=(2, 2), mode='L'))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"], capture_output=True, text=True, check=False
    )
    assert "ConfigError: Encoded images need simplejpeg, which is not installed. Run: pip install 'streamload[images]'" in done.stderr

"""Damaged images: the same pixels as before the damage, or what any reader makes of the same bytes, or an error; never a crash."""

from __future__ import annotations

import numpy as np
import pytest
from image_files import all_images, by_pillow, decoded

from streamload.errors import CorruptDataError, SourceError
from streamload.images import ImageError, read_header

IMAGES = [
    (kind, mode, data) for kind, mode, data in all_images() if mode in ("RGB", "RGBA", "L", "P", "I;16") and kind != "jpeg-progressive"
]
IDS = [f"{kind}-{mode}" for kind, mode, _ in IMAGES]


@pytest.mark.parametrize(("kind", "mode", "data"), IMAGES, ids=IDS)
def test_an_image_that_is_cut_short_is_bad(kind: str, mode: str, data: bytes):
    """At every percent: an error, or, where only what follows the pixels is gone, every pixel."""
    whole = decoded(data)
    errors = 0
    for percent in range(100):
        try:
            found = decoded(data[: len(data) * percent // 100], size=whole.shape[:2], fit="exact", mode=read_header(data).mode)
        except ImageError as error:
            errors += 1
            assert error.kind is CorruptDataError  # noqa: PT017
        else:
            np.testing.assert_array_equal(found, whole)
    assert errors > 50


@pytest.mark.parametrize("cut", [1, 2, 3, 10])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_without_its_end_is_bad(cut: int, mode: str):
    """libjpeg would fill in grey and only warn."""
    data = next(data for kind, found, data in all_images() if (kind, found) == ("jpeg", mode))
    with pytest.raises(ImageError, match="is a JPEG that cannot be decoded: Premature end of JPEG file"):
        decoded(data[:-cut])


@pytest.mark.parametrize(("kind", "mode", "data"), IMAGES, ids=IDS)
def test_flipped_bits_give_an_error_or_what_the_bytes_now_say(kind: str, mode: str, data: bytes):
    """PNG has checksums, and never gives other pixels. The other formats have none: what decodes is what Pillow decodes."""
    rng = np.random.default_rng(len(data))
    whole, others = decoded(data), 0
    asked = {"size": whole.shape[:2], "fit": "exact", "mode": read_header(data).mode}
    for at, bit in zip(rng.integers(len(data), size=60).tolist(), rng.integers(8, size=60).tolist(), strict=True):
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        try:
            found = decoded(bytes(damaged), **asked)
        except ImageError as error:
            assert issubclass(error.kind, SourceError)  # noqa: PT017
            continue
        if (found == whole).all():
            continue
        others += 1
        if found.dtype == np.uint8 and kind.startswith("jpeg"):
            expected = by_pillow(bytes(damaged), "L" if found.shape[2] == 1 else "RGB")
            np.testing.assert_array_equal(found, expected)
    assert kind != "png" or others == 0


@pytest.mark.parametrize(("kind", "mode", "data"), IMAGES, ids=IDS)
def test_damage_never_changes_the_size(kind: str, mode: str, data: bytes):
    """A row has one shape, whatever the bytes say: another size is an error, or is fitted."""
    rng = np.random.default_rng(1)
    whole = decoded(data)
    asked = {"size": (20, 30), "mode": read_header(data).mode}
    for at in rng.integers(min(len(data), 100), size=40).tolist():
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        try:
            assert decoded(bytes(damaged), **asked).shape == (20, 30, whole.shape[2])
        except ImageError as error:
            assert issubclass(error.kind, SourceError)  # noqa: PT017

"""Images made here in every format and mode, and what Pillow says they are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from streamload.images import Decode, ImageDecoder, read_header

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {"quality": 90}),
    "jpeg-progressive": ("JPEG", {"progressive": True}),
    "jpeg-444": ("JPEG", {"subsampling": 0}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 80}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
}
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "I;16")


def photograph(height: int = 61, width: int = 83, seed: int = 0) -> NDArray[np.uint8]:
    """Waves with a little noise: shape (height, width, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / 7 + channel + seed) * np.cos(y / 13) * 100 + 128 + rng.normal(0, 8, x.shape) for channel in range(3)]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


def picture(mode: str, height: int = 61, width: int = 83, seed: int = 0) -> Image.Image:
    """The photograph as Pillow has it in one of its modes; what has alpha is transparent in parts."""
    pixels = photograph(height, width, seed)
    colour = Image.fromarray(pixels)
    if mode in ("RGBA", "LA", "PA"):
        clear = Image.fromarray(np.dstack([pixels, pixels[:, :, 0]]))
        return clear.quantize(30) if mode == "PA" else clear.convert(mode)
    if mode == "P":
        return colour.quantize(40)
    if mode == "I;16":
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 200)
    return colour.convert(mode)


def encoded(image: Image.Image, kind: str, *, orientation: int = 1) -> bytes | None:
    """An image in one of FORMATS; None where the format cannot hold it."""
    name, options = FORMATS[kind]
    if orientation != 1:
        if name in ("BMP", "GIF"):
            return None
        exif = Image.Exif()
        exif[274] = orientation
        options = {**options, "exif": exif}
    stream = io.BytesIO()
    try:
        image.save(stream, format=name, **options)
    except (OSError, ValueError):
        return None
    return stream.getvalue()


def all_images() -> Iterator[tuple[str, str, bytes]]:
    """Every mode in every format that holds it."""
    for kind in FORMATS:
        for mode in MODES:
            data = encoded(picture(mode), kind)
            if data is not None:
                yield kind, mode, data


def by_pillow(data: bytes, mode: str) -> NDArray[Any]:
    """The image upright, in a mode of ours, alpha over white: shape (height, width, channels)."""
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if mode == "L16":
        return np.asarray(image).astype(np.uint16)[:, :, None]
    if image.mode in ("P", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA" if image.mode != "P" or "transparency" in image.info else "RGB")
    if mode != "RGBA" and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")
    pixels = np.asarray(image.convert(mode))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def decoded(data: bytes | memoryview, **options: Any) -> NDArray[Any]:
    """An image by ours; size and mode are its own where they are not given."""
    head = read_header(data)
    spec = Decode(**options).settled(head.size, head.mode)
    out = np.full(spec.shape, 77, spec.dtype)
    ImageDecoder(spec).decode(data, out)
    return out

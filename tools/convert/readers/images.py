"""One image as an array, decoded as the library decodes it: what it claims is known before that, so that none can take all memory."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SourceError
from streamload.images import MOST_PIXELS, Decode, ImageDecoder, ImageError, format_of, read_header
from streamload.storage.files import regular_file

MOST_FILE_NBYTES = 1 << 30

HINT = "Leave it out with --on-bad skip, or replace it."


def decoded(path: str, *, mode: str) -> NDArray[Any]:
    """The image in a file, as `image_in` gives it."""
    return image_in(file_bytes(path), path, mode=mode)


def file_bytes(path: str, most: int = MOST_FILE_NBYTES, start: int = 0) -> bytes:
    """What a file of an image holds from byte `start` on, `most` bytes of it. Raises SourceError where it cannot be read."""
    try:
        fd = regular_file(path)
        try:
            # As much as there is: room for the most there may be would be taken and given back for every file.
            return os.pread(fd, min(most, os.fstat(fd).st_size), start)
        finally:
            os.close(fd)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.", path=path) from error


def kind_of(data: bytes) -> str | None:
    """The format of an image, by its first bytes; None for what is no image."""
    return format_of(data)


def image_in(data: bytes, title: str, *, mode: str, size: tuple[int, int] | None = None, into: NDArray[Any] | None = None) -> NDArray[Any]:
    """An image as (height, width, 3) in mode rgb, (height, width) in mode grey, with all that it has in mode any.

    It is turned upright as its Exif says; of another `size` (height, width), it is scaled until that is filled, and cut to
    the middle. 16 bits stay 16 bits. `title` names it in errors: CorruptDataError for one that is damaged, cut short or no
    image, UnsupportedFeatureError for one that is not decoded here.
    """
    try:
        head = read_header(data)
        if head.height * head.width > MOST_PIXELS:
            raise ImageError(f"claims {head.height:,} x {head.width:,} pixels, and more than {MOST_PIXELS:,} are not decoded")
        bits = "16" if head.bits > 8 else ""
        wanted = head.mode if mode == "any" else ("L" if mode == "grey" else "RGB") + bits
        decoder = _decoder(size or head.size, wanted, "exact" if size is None else "crop")
        channels = {"L": 1, "A": 4}.get(wanted.removesuffix("16")[-1], 3)
        shape, dtype = size or head.size, np.uint16 if bits else np.uint8
        flat = shape if channels == 1 else (*shape, channels)
        made = into if into is not None and into.shape == flat and into.dtype == dtype else np.empty(flat, dtype)
        decoder.decode(data, made.reshape(*shape, channels), head)
    except ImageError as error:
        raise error.error(title, hint=HINT, path=title) from error
    return made


@lru_cache(maxsize=256)
def _decoder(size: tuple[int, int], mode: str, fit: str) -> ImageDecoder:
    return ImageDecoder(Decode(size=size, mode=mode, fit=fit))

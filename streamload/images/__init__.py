"""Encoded images: what their headers say, and their pixels, put straight into a record's place.

`read_header` looks only at headers; `ImageDecoder` decodes. The codecs are imported with the first ImageDecoder.
"""

from __future__ import annotations

from streamload.images.decode import ImageDecoder
from streamload.images.decode_options import MODES, MOST_PIXELS, Decode
from streamload.images.header import ImageHeader
from streamload.images.headers import format_of, read_header
from streamload.images.image_error import ImageError
from streamload.images.masks import named_as_mask, nearest

__all__ = [
    "MODES",
    "MOST_PIXELS",
    "Decode",
    "ImageDecoder",
    "ImageError",
    "ImageHeader",
    "format_of",
    "named_as_mask",
    "nearest",
    "read_header",
]

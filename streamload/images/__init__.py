"""Encoded images: what their headers say, and their pixels, put straight into a record's place.

`read_head` looks only at headers; `Decoder` decodes. The codecs are imported with the first Decoder.
"""

from __future__ import annotations

from streamload.images.decoding import Decoder
from streamload.images.heads import Head, format_of, read_head
from streamload.images.refusal import RefusalError
from streamload.images.spec import MODES, MOST_PIXELS, Decode

__all__ = ["MODES", "MOST_PIXELS", "Decode", "Decoder", "Head", "RefusalError", "format_of", "read_head"]

"""What is kept of images: their pixels, the pixels as JPEG or PNG, or the very bytes that the source holds."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.ragged import Ragged
from streamload.schema import BYTES, TEXT, Field, Schema
from streamload.source import Source
from streamload.tools.convert.readers.open import RecordSource
from streamload.tools.convert.writers.registry import WriteOptions

QUALITY = 90
"""Of JPEG, where nothing else was asked for."""


def stored(origin: RecordSource, style: WriteOptions, *, threads: int = 1) -> RecordSource:
    """The origin itself, or one that gives its images as they are to be stored."""
    if isinstance(origin, Source) and (style.store == "keep" or origin.schema.ragged):
        from streamload.tools.convert.readers.encoded_source import StoredImages, image_names, refuse_ragged

        if style.store == "keep":
            return Kept(StoredImages(origin), own=True)
        refuse_ragged(origin.schema, origin.title, image_names(origin))
    if style.store == "raw":
        return origin
    return Kept(origin) if style.store == "keep" else ReencodedImages(origin, style, threads=threads)


def is_image(field: Field) -> bool:
    """Whether a record is an image, its colours last: whatever a PNG can hold."""
    whole = field.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)) and not field.ragged
    colours = len(field.shape) == 2 or (len(field.shape) == 3 and field.shape[2] in (1, 3, 4))
    return whole and colours and min(field.shape[:2]) > 0


class ReencodedImages:
    """Records whose images are encoded when they are taken."""

    def __init__(self, origin: RecordSource, style: WriteOptions, *, threads: int) -> None:
        self._origin = origin
        self._style = style
        self._images = [field for field in origin.schema if is_image(field)]
        if not self._images:
            raise ConfigError(
                f"--store {style.store} has nothing to encode: no field is an image ({origin.schema}).", hint="Leave --store out."
            )
        for field in self._images:
            self._kind(field)
        self.title = origin.title
        self.record_nbytes = origin.schema.record_nbytes
        self.schema = _with_bytes(origin.schema, [field.name for field in self._images])
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __len__(self) -> int:
        return len(self._origin)

    @property
    def addressable(self) -> bool:
        """Whether any record can be had without decoding others."""
        return bool(getattr(self._origin, "addressable", True))

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The given records, images as bytes."""
        return self.encoded(self._origin.take(records))

    def encoded(self, taken: Mapping[str, Any]) -> dict[str, Any]:
        """Records that were taken, their images as bytes."""
        done = dict(taken)
        for field in self._images:
            kind = self._kind(field)
            images = taken[field.name]
            made = self._pool.map(kind, images) if self._pool is not None else map(kind, images)
            done[field.name] = bytes_of(list(made))
        return done

    def _kind(self, field: Field) -> Any:
        """What encodes an image of a field. Raises ConfigError for what JPEG cannot hold."""
        import imagecodecs

        if self._style.store == "png" or self._style.is_mask(field.name):
            level = self._style.quality
            return lambda image: bytes(imagecodecs.png_encode(np.ascontiguousarray(image), level=level))
        if field.dtype != np.uint8 or field.shape[2:] == (4,):
            raise ConfigError(
                f"--store jpeg cannot hold '{field.name}', which is {field.dtype} {field.shape}.",
                hint="JPEG has grey or three colours, of 8 bits: give --store png, or --mode rgb.",
            )
        quality = self._style.quality or QUALITY
        return lambda image: bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(image), level=quality))

    def close(self) -> None:
        """End the threads; the origin is its owner's."""
        if self._pool is not None:
            self._pool.shutdown()


class Kept:
    """Records whose images stay the bytes that they are; each must decode all the same."""

    def __init__(self, origin: Any, *, own: bool = False) -> None:
        self._origin = origin
        self._own = own
        self._images = tuple(origin.encoded_fields()) if hasattr(origin, "encoded_fields") else ()
        if not self._images:
            raise ConfigError(
                f"--store keep: {origin.title} holds no encoded images that could be kept.", hint="Give --store png, or leave it out."
            )
        self.title = origin.title
        self.record_nbytes = origin.schema.record_nbytes
        self.schema = _with_bytes(origin.schema, self._images)
        strange = next((field for field in self.schema if field.ragged and field.ragged != TEXT and field.name not in self._images), None)
        if strange is not None:
            raise ConfigError(f"--store keep: '{strange}' is neither image nor text.", hint="Choose --fields without it.")

    def __len__(self) -> int:
        return len(self._origin)

    @property
    def addressable(self) -> bool:
        """Whether any record can be had without decoding others."""
        return bool(getattr(self._origin, "addressable", True))

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The given records, images as bytes."""
        return dict(self._origin.take_kept(records))

    def close(self) -> None:
        """Let go of the origin, if nobody else holds it."""
        if self._own:
            self._origin.close()


def bytes_of(images: list[bytes]) -> Ragged:
    """Records of different lengths, side by side."""
    offsets = np.zeros(len(images) + 1, np.int64)
    np.cumsum([len(image) for image in images], out=offsets[1:])
    return Ragged(np.frombuffer(b"".join(images), np.uint8), offsets, BYTES)


def _with_bytes(schema: Schema, names: Any) -> Schema:
    return Schema(tuple(Field(field.name, np.dtype(np.uint8), (), BYTES) if field.name in names else field for field in schema))

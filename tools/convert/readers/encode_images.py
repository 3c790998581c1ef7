"""What is kept of images: their pixels, the pixels as JPEG or PNG, or the very bytes that the source holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, UnsupportedFeatureError
from streamload.ragged import Ragged
from streamload.schema import BYTES, Field, Schema
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.record_source_defaults import ForwardingSource
from streamload.tools.convert.writers.registry import WriteOptions

QUALITY = 90
"""Of JPEG, where nothing else was asked for."""


def stored(origin: RecordSource, style: WriteOptions, *, threads: int = 1) -> RecordSource:
    """The origin itself, or one that gives its images as they are to be stored."""
    if style.store == "keep":
        return KeptImages(origin)
    refuse_unlike_images(origin)
    return origin if style.store == "raw" else ReencodedImages(origin, style, threads=threads)


def refuse_unlike_images(origin: RecordSource) -> None:
    """Raise UnsupportedFeatureError for images of different sizes, which are pixels of one shape in no file."""
    for field in origin.schema.ragged:
        lacking = origin.nulls.get(field.name)
        if field.name in origin.encoded_fields and lacking is not None and 2 * lacking.count > len(origin):
            raise UnsupportedFeatureError(
                f"{origin.title}: '{field.name}' is missing in {lacking.count:,} of the {len(origin):,} records.",
                hint=f"Choose --fields without it: {','.join(name for name in origin.schema.names if name != field.name)}.",
                path=origin.title,
            )
        if field.name in origin.encoded_fields and len(origin):
            raise UnsupportedFeatureError(
                f"{origin.title}: '{field.name}' holds images of different sizes ({field}).",
                hint="Give --size HEIGHTxWIDTH, or --store keep.",
                path=origin.title,
            )


def is_image(field: Field) -> bool:
    """Whether a record is an image, its colours last: whatever a PNG can hold."""
    whole = field.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)) and not field.ragged
    colours = len(field.shape) == 2 or (len(field.shape) == 3 and field.shape[2] in (1, 3, 4))
    return whole and colours and min(field.shape[:2]) > 0


class ReencodedImages(ForwardingSource):
    """Records whose images are encoded when they are taken."""

    def __init__(self, origin: RecordSource, style: WriteOptions, *, threads: int) -> None:
        super().__init__(origin)
        self._style = style
        self._images = [field for field in origin.schema if is_image(field)]
        if not self._images:
            raise ConfigError(
                f"--store {style.store} has nothing to encode: no field is an image ({origin.schema}).", hint="Leave --store out."
            )
        for field in self._images:
            self._kind(field)
        _refuse_other_bytes(origin.schema, (), style.store)
        self.schema = _with_bytes(origin.schema, [field.name for field in self._images])
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The given records, images as bytes."""
        return self.encoded(self._origin.take(records))

    def begin_take(self, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """The same; the origin is under way."""
        begun = self._origin.begin_take(records)
        return lambda: self.encoded(begun())

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """One field, encoded if it is an image."""
        return self.encoded({name: self._origin.values(name, records)})[name]

    def encoded(self, taken: Mapping[str, Any]) -> dict[str, Any]:
        """Records that were taken, their images as bytes."""
        done = dict(taken)
        for field in self._images:
            if field.name not in taken:
                continue
            kind = self._kind(field)
            images = taken[field.name]
            made = self._pool.map(kind, images) if self._pool is not None else map(kind, images)
            done[field.name] = bytes_of(list(made))
        return done

    def _kind(self, field: Field) -> Any:
        """What encodes an image of a field. Raises ConfigError for what JPEG cannot hold."""
        import imagecodecs

        if self._style.store == "png" or self._style.is_mask(field.name):
            level = self._style.quality if self._style.store == "png" else None
            return lambda image: bytes(imagecodecs.png_encode(np.ascontiguousarray(image), level=level))
        if field.dtype != np.uint8 or field.shape[2:] == (4,):
            raise ConfigError(
                f"--store jpeg cannot hold '{field.name}', which is {field.dtype} {field.shape}.",
                hint="JPEG has grey or three colours, of 8 bits: give --store png.",
            )
        quality = self._style.quality or QUALITY
        return lambda image: bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(image), level=quality))

    def close(self) -> None:
        """End the threads; the origin is its owner's."""
        if self._pool is not None:
            self._pool.shutdown()


class KeptImages(ForwardingSource):
    """Records whose images stay the bytes that they are; each must decode all the same."""

    def __init__(self, origin: RecordSource) -> None:
        super().__init__(origin)
        self.encoded_fields = origin.encoded_fields
        if not self.encoded_fields:
            raise ConfigError(
                f"--store keep: {origin.title} holds no encoded images that could be kept.", hint="Give --store png, or leave it out."
            )
        self.schema = _with_bytes(origin.schema, self.encoded_fields)
        _refuse_other_bytes(self.schema, self.encoded_fields, "keep")

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The given records, images as bytes."""
        return self._origin.take_encoded(records)

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """One field, as bytes if it is an image."""
        return self.take(records)[name] if name in self.encoded_fields else self._origin.values(name, records)


def _refuse_other_bytes(schema: Schema, images: Sequence[str], store: str) -> None:
    """Raise ConfigError for bytes of any length that are no images: beside images, they would be taken for some."""
    strange = next((field for field in schema if field.ragged == BYTES and field.name not in images), None)
    if strange is not None:
        raise ConfigError(f"--store {store}: '{strange}' is neither image nor text.", hint="Choose --fields without it.")


def bytes_of(images: list[bytes]) -> Ragged:
    """Records of different lengths, side by side."""
    offsets = np.zeros(len(images) + 1, np.int64)
    np.cumsum([len(image) for image in images], out=offsets[1:])
    return Ragged(np.frombuffer(b"".join(images), np.uint8), offsets, BYTES)


def _with_bytes(schema: Schema, names: Any) -> Schema:
    return Schema(tuple(Field(field.name, np.dtype(np.uint8), (), BYTES) if field.name in names else field for field in schema))

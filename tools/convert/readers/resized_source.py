"""Images that are stored as arrays, scaled to the size or made grey as was asked for."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.images import nearest
from streamload.images.color_modes import to_mode
from streamload.images.resize import fitted
from streamload.schema import Field, Schema
from streamload.tools.console import clean
from streamload.tools.convert.image_axes import image_axes
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.record_source import RecordSource, batch_records
from streamload.tools.convert.record_source_defaults import ForwardingSource


def sized(origin: RecordSource, request: OpenRequest, threads: int) -> RecordSource:
    """The origin, its images as large or as grey as was asked for; itself where they are. Raises ConfigError where it has none."""
    if request.size is None and request.mode != "grey" and not request.in_colour:
        return origin
    images = [field for field in origin.schema if is_scaled(field)]
    if not images:
        asked = "--size" if request.size is not None else f"--mode {request.mode}"
        _refuse_bytes(origin, asked)
        raise ConfigError(
            f"{asked} is for images of 8 or 16 bits, and {origin.title} has none ({origin.schema}).",
            hint="Leave it out, or choose other --fields.",
        )
    if request.in_colour and all(_is_grey(field) for field in images):
        raise ConfigError(
            f"--mode rgb gives no colours to arrays, and those of {origin.title} have none ({origin.schema}).", hint="Leave it out."
        )
    schema = Schema(tuple(wanted(field, request) if field in images else field for field in origin.schema))
    return origin if schema == origin.schema else ResizedSource(origin, request, schema, threads)


def _refuse_bytes(origin: RecordSource, asked: str) -> None:
    """Raise ConfigError where there are images, but they are left as bytes: they are in few records, or their sizes differ."""
    for name in origin.encoded_fields:
        lacking = (origin.nulls[name].count or 0) if name in origin.nulls else 0
        if 2 * lacking > len(origin):
            raise ConfigError(
                f"{asked} is for fields of images, and of the {len(origin):,} records of {origin.title} only {len(origin) - lacking:,} "
                f"hold one, '{clean(name)}': it is left as bytes.",
                hint=f"Write these records alone, --fields {shlex.quote(name)} --on-bad skip; or leave it out.",
            )
        raise ConfigError(
            f"{asked} is for images of one size, and those of '{clean(name)}' in {origin.title} differ: they are left as bytes.",
            hint="Leave it out.",
        )


def is_scaled(field: Field) -> bool:
    """Whether a field holds pixels that can be mixed, or a mask."""
    return not field.ragged and field.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)) and image_axes(field.shape) is not None


def _is_grey(field: Field) -> bool:
    """Whether images have one channel."""
    axes = image_axes(field.shape)
    return axes is None or len(axes) == 2 or field.shape[axes[2]] == 1


def wanted(field: Field, request: OpenRequest) -> Field:
    """The field as its images will be; the order of their axes stays."""
    axes = image_axes(field.shape)
    assert axes is not None
    height, width = request.size or (field.shape[axes[0]], field.shape[axes[1]])
    channels = field.shape[axes[2]] if len(axes) == 3 else 0
    if not channels or (request.mode == "grey" and channels > 1 and not request.is_mask(field.name)):
        return replace(field, shape=(height, width))
    return replace(field, shape=(height, width, channels) if axes[2] == 2 else (channels, height, width))


class ResizedSource(ForwardingSource):
    """Records of another origin, whose images are scaled when they are taken."""

    def __init__(self, origin: RecordSource, request: OpenRequest, schema: Schema, threads: int) -> None:
        super().__init__(origin)
        self._request = request
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._batch = batch_records(origin)
        self.schema = schema

    @property
    def record_nbytes(self) -> int:
        """Of a record as it is delivered: larger ones are read a few at a time, but where there are ragged fields."""
        return self._origin.record_nbytes if self.schema.ragged else self.schema.record_nbytes

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """Arrays of the given records: read as many at a time as the origin's own size allows."""
        made: dict[str, Any] = {
            field.name: np.empty((len(records), *field.shape), field.dtype) for field in self.schema if not field.ragged
        }
        if len(made) < len(self.schema):
            return self._scaled(self._origin.take(records))
        for start in range(0, len(records), self._batch):
            for name, values in self._scaled(self._origin.take(records[start : start + self._batch])).items():
                made[name][start : start + self._batch] = values
        return made

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """One field, scaled if it holds images."""
        if self.schema[name] != self._origin.schema[name]:
            return self.take(records)[name]
        return self._origin.values(name, records)

    def _scaled(self, taken: dict[str, Any]) -> dict[str, Any]:
        for before, after in zip(self._origin.schema, self.schema, strict=True):
            if before != after:
                images = taken[before.name]

                def one(image: NDArray[Any], before: Field = before, after: Field = after) -> NDArray[Any]:
                    return scaled(image, before, after, mask=self._request.is_mask(before.name))

                made = list(self._pool.map(one, images) if self._pool is not None else map(one, images))
                taken[before.name] = np.stack(made) if made else np.empty((0, *after.shape), after.dtype)
        return taken

    def close(self) -> None:
        """End the threads, and let go of the origin."""
        if self._pool is not None:
            self._pool.shutdown()
        self._origin.close()


def scaled(image: NDArray[Any], before: Field, after: Field, *, mask: bool) -> NDArray[Any]:
    """One image of a field as another says it: grey first, then scaled until the size is filled, and cut to the middle.

    Of a mask, every pixel is one that was there.
    """
    axes, there = image_axes(before.shape), image_axes(after.shape) or (0, 1)
    assert axes is not None
    pixels = image.transpose(axes)
    size = (after.shape[there[0]], after.shape[there[1]])
    if mask:
        pixels = nearest(pixels, size)
    else:
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        if len(after.shape) == 2:
            pixels = to_mode(pixels, "L" if pixels.dtype == np.uint8 else "L16")
        pixels = fitted(pixels, pixels.shape[:2], size, "crop")
        pixels = pixels[:, :, 0] if len(after.shape) == 2 else pixels
    return pixels.transpose(np.argsort(axes)) if pixels.ndim == 3 else pixels

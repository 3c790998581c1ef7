"""Sources whose files hold encoded images: at the size that was asked for, or as the bytes that they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.errors import UnsupportedFeatureError
from streamload.images import Decode
from streamload.ragged import Ragged
from streamload.schema import BYTES
from streamload.source import Source, kept_column
from streamload.tools.convert.readers.images import image_in, kind_of

if TYPE_CHECKING:
    from streamload.tools.convert.readers.open import OpenRequest


def image_names(source: Source) -> tuple[str, ...]:
    """Fields that are encoded images in the files: decoded when they are taken, or left as bytes since their sizes differ."""
    encoded = [column.field.name for column in source.columns if kept_column(column) is not column]
    undecided = [field.name for field in source.schema if field.ragged == BYTES and _begins_as_image(source, field.name)]
    return tuple(name for name in source.schema.names if name in encoded or name in undecided)


def _begins_as_image(source: Source, name: str) -> bool:
    if not len(source):
        return True
    first = source.take(np.zeros(1, np.int64))[name]
    return kind_of(bytes(first[0])) is not None


def fitted(source: Source, request: OpenRequest, options: Mapping[str, Any]) -> Source:
    """The source, its encoded images made as large or as grey as was asked for; itself, where neither was or it has none.

    Masks keep their numbers.
    """
    names = image_names(source) if request.size is not None or request.mode == "grey" else ()
    if not names:
        return source
    source.close()
    image = Decode(size=request.size, mode="L" if request.mode == "grey" else "RGB")
    mask = Decode(size=request.size, mask=True)
    wishes = {name: mask if request.is_mask(name) else image for name in names}
    return streamload.open(request.path, request.fields, decode=wishes, **options)


class StoredImages:
    """A source whose images are taken as the bytes that they are."""

    def __init__(self, source: Source) -> None:
        self._names = image_names(source)
        self._source = Source(
            format_name=source.format_name,
            title=source.title,
            columns=[kept_column(column) for column in source.columns],
            fingerprints=source.fingerprints,
            file_starts=source.file_starts,
        )
        self.title = source.title
        self.schema = source.schema
        self.addressable = source.addressable

    def __len__(self) -> int:
        return len(self._source)

    def encoded_fields(self) -> tuple[str, ...]:
        """Fields that are stored as the bytes of an image."""
        return self._names

    def take_kept(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The given records. Each image is decoded, too, so that none is damaged."""
        taken = self._source.take(records)
        for name in self._names:
            images = taken[name]
            assert isinstance(images, Ragged)
            for number, image in zip(records.tolist(), images, strict=True):
                image_in(bytes(image), f"{self.title}: {name} of record {number:,}", mode="any")
        return taken

    def close(self) -> None:
        """Let go of files."""
        self._source.close()


def refuse_ragged(schema: Any, title: str, images: tuple[str, ...]) -> None:
    """Raise UnsupportedFeatureError for fields whose records differ in length, which no target but the hub's Parquet can hold."""
    for field in schema:
        if field.ragged:
            hint = "Give --size HEIGHTxWIDTH, or --store keep." if field.name in images else _others(schema, images)
            what = "images of different sizes" if field.name in images else "records of different lengths"
            raise UnsupportedFeatureError(f"{title}: '{field.name}' holds {what} ({field}).", hint=hint, path=title)


def _others(schema: Any, images: tuple[str, ...]) -> str:
    """How to say the fields that can be stored."""
    sound = [field.name for field in schema if not field.ragged or field.name in images]
    return f"Choose others: --fields {','.join(sound)}" if sound else "No other field can be stored either."

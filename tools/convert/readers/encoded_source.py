"""Sources whose files hold encoded images: at the size that was asked for, or as the bytes that they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.errors import UnsupportedFeatureError
from streamload.images import Decode
from streamload.ragged import Ragged
from streamload.schema import BYTES
from streamload.source import Source, kept_column
from streamload.tools.convert.readers.images import image_in, kind_of


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


def fitted(
    source: Source, path: str, fields: dict[str, str] | None, size: tuple[int, int] | None, *, grey: bool, options: Mapping[str, Any]
) -> Source:
    """The source, its encoded images made as large as `size`, or grey; itself, where neither was asked for or it has none."""
    names = image_names(source) if size is not None or grey else ()
    if not names:
        return source
    source.close()
    wish = Decode(size=size, mode="L" if grey else "RGB")
    return streamload.open(path, fields, decode=dict.fromkeys(names, wish), **options)


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


def refuse_unlike_images(schema: Any, title: str, images: tuple[str, ...]) -> None:
    """Raise UnsupportedFeatureError for images of different sizes, which are pixels of one shape in no file."""
    for field in schema:
        if field.ragged and field.name in images:
            raise UnsupportedFeatureError(
                f"{title}: '{field.name}' holds images of different sizes ({field}).",
                hint="Give --size HEIGHTxWIDTH, or --store keep.",
                path=title,
            )

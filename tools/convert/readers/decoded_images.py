"""What a conversion makes of encoded images: arrays of the size, the colours and the numbers that were asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import StreamloadError
from streamload.images import Decode, ImageHeader, named_as_mask
from streamload.images.fixed_bytes import FixedBytes
from streamload.images.image_fields import NAMED_AS_IMAGES, hardly_there, look_at, records_with_values, with_images
from streamload.schema import BYTES
from streamload.source import Column, NullableColumn, RaggedColumn, Source, stored_column
from streamload.tools.convert.open_request import OpenRequest

OF_IMAGES = (*NAMED_AS_IMAGES, "LMDB")
"""Formats whose fields of bytes are images, by the names of files, members or keys."""
IN_COLOUR = (*OF_IMAGES, "TFRecord")
"""Formats whose images are in colour where nothing else is asked for."""

TRANSPARENT = "may be transparent, and is laid over white (--store keep leaves images as they are)"
"""What is said of images with an alpha channel, which neither colour nor grey has."""


def image_names(source: Source) -> tuple[str, ...]:
    """Fields that are encoded images in the files: decoded when they are taken, or left as bytes since their sizes differ."""
    encoded = [column.field.name for column in source.columns if stored_column(column) is not column]
    undecided = [field.name for field in source.schema if field.ragged == BYTES and _is_image(source, field.name)]
    return tuple(name for name in source.schema.names if name in encoded or name in undecided)


def decoded_images(source: Source, request: OpenRequest) -> tuple[Source, list[str]]:
    """The source, its encoded images made as large or as grey as was asked for, and what must be told of that.

    Masks keep their numbers. Images that lie as files are made colours where nothing else is asked for, and those whose sizes differ
    stay bytes, unless the first one's is that of all.
    """
    as_they_are = request.size is None and request.mode == "rgb" and not request.in_colour
    if as_they_are and source.format_name not in IN_COLOUR:
        return _with_masks(source, request)
    names = image_names(source)
    stored = source.replaced(columns=[_stored(source, column) for column in source.columns])
    wishes: dict[str, Decode | bool] = {}
    cautions: list[str] = []
    for name in names:
        heads = _heads(stored, name, asked=True, there=records_with_values(source, _column(source, name)))
        wish = wishes[name] = _wish(stored, name, request, heads)
        if isinstance(wish, Decode) and not wish.mask and any(head.alpha for head in heads):
            cautions.append(f"'{name}' {TRANSPARENT}")
    return _with(source, wishes), cautions


def _with_masks(source: Source, request: OpenRequest) -> tuple[Source, list[str]]:
    """The source, its masks decoded as the numbers that they hold; and which are taken for masks by their names, as they have a palette."""
    decoded = [column.field.name for column in source.columns if stored_column(column) is not column]
    said = [name for name in decoded if request.masks and name in request.masks]
    guessed = [name for name in decoded if request.masks is None and named_as_mask(name) and _has_palette(source, name)]
    cautions = [f"'{name}' is taken for a mask, by its name: the numbers of its palette are kept (--masks none)" for name in guessed]
    return _with(source, dict.fromkeys([*said, *guessed], Decode(mask=True))), cautions


def _with(source: Source, wishes: Mapping[str, Decode | bool]) -> Source:
    """The source, some of its images decoded in another way."""
    if not wishes:
        return source
    columns = [_stored(source, one) if wishes.get(one.field.name) else one for one in source.columns]
    return with_images(source.replaced(columns=columns), wishes)


def _has_palette(source: Source, name: str) -> bool:
    """Whether the first image of a field has numbers of a palette, which are no colours."""
    with contextlib.suppress(StreamloadError):
        columns = [_stored(source, column) for column in source.columns if column.field.name == name]
        heads = _heads(source.replaced(columns=columns, nulls={}), name, asked=True)
        return bool(heads) and heads[0].colours == "palette"
    return False


def _stored(source: Source, column: Column) -> Column:
    """The stored bytes of records; none at all where one is null, which no image decodes from."""
    kept = stored_column(column)
    return cast(NullableColumn, kept).filled() if column.field.name in source.nulls else kept


def _is_image(source: Source, name: str) -> bool:
    """Whether a field of bytes is one of images: by what it is called in the files, or by its first records."""
    if source.format_name in OF_IMAGES or not len(source):
        return True
    try:
        return bool(_heads(source, name, asked=False))
    except StreamloadError:
        return False


def _column(source: Source, name: str) -> Column:
    return source.columns[source.schema.names.index(name)]


def _heads(source: Source, name: str, *, asked: bool, there: NDArray[np.int64] | None = None) -> list[ImageHeader]:
    """Headers of some of the images of a field; `there` are the records that have one, if not all have."""
    column = _column(source, name)
    stored = cast(RaggedColumn, column) if column.field.ragged else FixedBytes(column=column)
    named = source.format_name in NAMED_AS_IMAGES
    return look_at(stored, len(source), source.fingerprints, named=named, there=there).told(asked=asked)[0]


def _wish(source: Source, name: str, request: OpenRequest, heads: Sequence[ImageHeader]) -> Decode | bool:
    """How a field of images with these headers is decoded; False where it stays bytes."""
    if hardly_there(source, name) and len(source.columns) > 1:
        return False  # Of a field alone, the records that have none are those to leave out.
    size, fit = request.size, "crop"
    if size is None and heads:
        if len({head.size for head in heads}) > 1 and not request.first_size:
            return False
        size, fit = heads[0].size, "exact"
    is_mask = name in source.masks or named_as_mask(name) if request.masks is None else name in request.masks
    return Decode(size=size, fit=fit, mask=True) if is_mask else Decode(size=size, fit=fit, mode=_mode(heads, request.mode))


def _mode(heads: Sequence[ImageHeader], asked: str) -> str:
    """Grey or colour, of as many bits as the images have."""
    bits = "16" if heads and all(head.bits > 8 for head in heads) else ""
    return ("L" if asked == "grey" else "RGB") + bits

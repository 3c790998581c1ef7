"""Which axes of a record are those of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streamload.schema import Field


def image_fields(fields: Sequence[Field]) -> list[Field]:
    """Fields that look like images: height and width of at least 2, channels of 1, 3 or 4 last, first or not there."""
    found = [field for field in fields if image_axes(field.shape) is not None and field.dtype.kind in "buif"]
    return sorted(found, key=lambda field: -math.prod(field.shape))


def image_axes(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes of an image, to be put as height, width, channels; None if a shape is none of an image."""
    if len(shape) == 2 and min(shape) >= 2:
        return (0, 1)
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) >= 2:
        return (0, 1, 2)
    if len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) >= 2:
        return (1, 2, 0)
    return None

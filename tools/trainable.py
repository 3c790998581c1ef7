"""What the examples train on: images of one size, and labels."""

from __future__ import annotations

from streamload.schema import Field

IMAGE_SIZE = (224, 224)
"""What images of different sizes are decoded to, height and width."""


def is_image(field: Field) -> bool:
    """Whether an example can train on it as it is: uint8 of shape (height, width, channels), at least 16 pixels each way."""
    return not field.ragged and field.dtype == "uint8" and len(field.shape) == 3 and min(field.shape[:2]) >= 16


def is_label(field: Field) -> bool:
    """Whether it is one integer a record, or a bool."""
    return not field.ragged and field.dtype.kind in "iub" and field.shape == ()

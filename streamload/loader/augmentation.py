"""What `augment=` asks for, bound to a source: encoded images are decoded as augmentation wants them, and kernels compiled."""

from __future__ import annotations

from streamload.images.column import EncodedImages
from streamload.images.decode_options import MODES
from streamload.images.image_fields import for_augmentation
from streamload.kernels import prepare_augment_kernels
from streamload.source import Column, Source
from streamload.transforms.augment import Augment
from streamload.transforms.augmentation import Augmentation, augmentation_of
from streamload.transforms.images import StoredImage


def columns_and_augmentation(data: Source, augment: object) -> tuple[tuple[Column, ...], Augmentation | None]:
    """The columns of a source, those of encoded images as augmentation decodes them; and what is done with records.

    Raises ConfigError for what cannot be done with them.
    """
    if augment is None:
        return data.columns, None
    listed = augment if isinstance(augment, (list, tuple)) else (augment,)
    augments = [one for one in listed if isinstance(one, Augment)]
    masks = {name for one in augments for name in one.masks}
    columns: dict[str, EncodedImages] = {}
    for name in (*(name for one in augments for name in one.fields), *masks):
        column = for_augmentation(data, name, mask=name in masks) if name in data.schema else None
        if column is not None:
            columns[name] = column
    alike = {column.field.name for column in data.columns if column.decode_options is not None}
    encoded = {name: stored_as(column, alike=name in alike, mask=name in masks) for name, column in columns.items()}
    augmentation = augmentation_of(augment, data.schema, encoded)
    prepare_augment_kernels(augmentation.kernels)
    return tuple(columns.get(column.field.name, column) for column in data.columns), augmentation


def stored_as(column: EncodedImages, *, alike: bool, mask: bool) -> StoredImage:
    """Encoded images as augmentation sees them: of one size where they are `alike`, else of any."""
    spec = column.options
    assert spec.size is not None
    assert spec.mode is not None
    return StoredImage(
        name=column.field.name,
        dtype=spec.dtype,
        layout="HW" if mask else "HWC",
        channels=MODES[spec.mode][0],
        size=spec.size if alike else None,
        usual=spec.size,
        encoded=True,
    )

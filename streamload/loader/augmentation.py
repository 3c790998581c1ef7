"""What `augment=` asks for, bound to a source: encoded images are decoded as augmentation wants them, and kernels compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from streamload.errors import ConfigError
from streamload.images.column import EncodedImages
from streamload.images.decode_options import MODES
from streamload.images.image_fields import for_augmentation
from streamload.kernels import prepare_augment_kernels
from streamload.schema import Field
from streamload.source import Column, Source
from streamload.transforms.augment import Augment
from streamload.transforms.augmentation import Augmentation, augmentation_of
from streamload.transforms.images import StoredImage

Images = Mapping[str, EncodedImages]
"""By field, the columns of encoded images that augmentation decodes."""


def augmented_images(data: Source, augment: object) -> Images:
    """The fields of a source that `augment` asks for and that are encoded, each decoded in the mode that its own images agree on.

    Raises ConfigError where they cannot be decoded for it.
    """
    columns = {name: for_augmentation(data, name, mask=mask) for name, mask in _names_in(augment).items() if name in data.schema}
    return {name: column for name, column in columns.items() if column is not None}


def _names_in(augment: object) -> dict[str, bool]:
    """The fields of images that are augmented, and whether each is one of masks."""
    listed = augment if isinstance(augment, (list, tuple)) else (augment,)
    augments = [one for one in listed if isinstance(one, Augment)]
    masks = {name for one in augments for name in one.masks}
    return {name: name in masks for name in (*(name for one in augments for name in one.fields), *masks)}


def in_one_mode(parts: Mapping[str, Images]) -> Mapping[str, Images]:
    """The same for all parts of a mixture, whose records share batches: in colour where parts do not agree, as images of one source are.

    Raises ConfigError where a field is encoded in some parts alone, or where what it holds cannot be brought to one mode.
    """
    found: dict[str, dict[str, EncodedImages]] = {part: dict(images) for part, images in parts.items()}
    for name in dict.fromkeys(name for images in parts.values() for name in images):
        without = next((part for part, images in parts.items() if name not in images), None)
        if without is not None:
            encoded = next(part for part, images in parts.items() if name in images)
            raise ConfigError(
                f"field {name!r} is augmented, and holds encoded images in part {encoded!r} of the mixture and arrays in part {without!r}.",
                hint="Convert one of them, so that both are stored alike, or leave the field out of the augmentation.",
            )
        mode = _common_mode(name, {part: images[name] for part, images in parts.items()})
        for part, images in parts.items():
            options = replace(images[name].options, mode=mode)
            found[part][name] = replace(images[name], options=options, field=Field(name, options.dtype, options.shape))
    return found


def _common_mode(name: str, parts: Mapping[str, EncodedImages]) -> str:
    """The mode in which a field of all parts is decoded. Raises ConfigError, naming two parts, where there is none."""
    modes = {part: cast(str, column.options.mode) for part, column in parts.items()}
    first, mode = next(iter(modes.items()))
    other = next((part for part in modes if modes[part] != mode), None)
    if other is None:
        return mode
    if any(column.options.mask for column in parts.values()) or len({MODES[one][1] for one in modes.values()}) > 1:
        raise ConfigError(
            f"field {name!r} is augmented, and holds images of mode {mode} in part {first!r} of the mixture, and {modes[other]} in part "
            f"{other!r}.",
            hint="Convert one of them, so that both hold numbers of one kind: how to scale them is not known here.",
        )
    return "RGB16" if MODES[mode][1] == np.uint16 else "RGB"


def columns_and_augmentation(data: Source, augment: object, images: Images) -> tuple[tuple[Column, ...], Augmentation | None]:
    """The columns of a source, those of encoded `images` as augmentation decodes them; and what is done with records.

    Raises ConfigError for what cannot be done with them.
    """
    if augment is None:
        return data.columns, None
    masks = {name for name, mask in _names_in(augment).items() if mask}
    alike = {column.field.name for column in data.columns if column.decode_options is not None}
    encoded = {name: stored_as(column, alike=name in alike, mask=name in masks) for name, column in images.items()}
    augmentation = augmentation_of(augment, data.schema, encoded)
    prepare_augment_kernels(augmentation.kernels)
    return tuple(images.get(column.field.name, column) for column in data.columns), augmentation


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

"""Folders of masks beside folders of images: which they are, and how the names of a pair agree."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.formats.naming.image_names import is_image
from streamload.images import ImageError, read_header

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "annotations", "labels", "segmentations", "segmentation", "gt")
LOOKED_AT = 8
HEAD_NBYTES = 1 << 16
ALIKE = 0.9
"""Of the names of masks, so many are names of images."""


def mask_folders(path: str) -> tuple[str, str] | None:
    """The folders of images and of masks in a folder that holds just these two; None where it is none such."""
    with os.scandir(path) as entries:
        inside = {entry.name.lower(): entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    images = [inside[name] for name in IMAGE_FOLDERS if name in inside]
    masks = [inside[name] for name in MASK_FOLDERS if name in inside]
    if len(inside) != 2 or not images or not masks:
        return None
    return images[0], masks[0]


def mask_stem(name: str) -> str:
    """The name that a mask has in common with its image: a.png, a_mask.png or a-mask.png for a.jpg."""
    return re.sub(r"[-_]?(mask|seg|label|gt)$", "", os.path.splitext(name)[0], flags=re.IGNORECASE) or os.path.splitext(name)[0]


def refuse_masks(path: str, names: Sequence[str]) -> None:
    """Raise ConfigError where one of the folders holds masks of the images in another, and no class.

    Told by its name, by the names in it, and by their pixels: numbers, where those of the others are colours.
    """
    inside: dict[str, list[str]] = {}
    for name in names:
        inside.setdefault(name.split("/", 1)[0], []).append(name)
    for folder, masks in inside.items():
        if folder.lower() not in MASK_FOLDERS or not _are_numbers(path, masks):
            continue
        stems = {mask_stem(os.path.basename(name)) for name in masks}
        for other, images in inside.items():
            own = {os.path.splitext(os.path.basename(name))[0] for name in images}
            if other != folder and len(stems & own) >= ALIKE * len(stems) and not _are_numbers(path, images):
                raise ConfigError(
                    f"{path} holds masks ({folder}) of the images in {other}, which are no class of their own.",
                    hint=f"Call the folder of images '{IMAGE_FOLDERS[0]}' and leave these two alone in one: they are then read as pairs.",
                    path=path,
                )


def _are_numbers(path: str, names: Sequence[str]) -> bool:
    """Whether the first images are grey or have a palette."""
    for name in names[:LOOKED_AT]:
        try:
            with open(os.path.join(path, name), "rb") as file:
                head = file.read(HEAD_NBYTES)
            if read_header(head).colours not in ("grey", "palette"):
                return False
        except (ImageError, OSError):
            continue
    return True


def paired(root: str, images: str, masks: str) -> tuple[list[str], list[str | None], list[str]]:
    """Images of a folder, the mask of each in another, None where it has none, and masks without an image: relative to the root.

    Raises SchemaMismatchError where two masks, or two images, have one name but for their endings.
    """
    by_stem: dict[str, str] = {}
    for name in sorted(os.listdir(os.path.join(root, masks))):
        if is_image(name) and (other := by_stem.setdefault(mask_stem(name), name)) != name:
            raise SchemaMismatchError(f"{root}/{masks} holds {other} and {name} for one image.", hint="Leave one of them.", path=root)
    names = sorted(name for name in os.listdir(os.path.join(root, images)) if is_image(name))
    stems = [os.path.splitext(name)[0] for name in names]
    if len(set(stems)) < len(stems):
        twice = next(stem for at, stem in enumerate(stems) if stem in stems[:at])
        raise SchemaMismatchError(
            f"{root}/{images} holds two images called {twice}.", hint="Their masks cannot be told apart: rename one.", path=root
        )
    found = [by_stem.get(stem) for stem in stems]
    alone = sorted(set(by_stem) - set(stems))
    return (
        [os.path.join(images, name) for name in names],
        [None if name is None else os.path.join(masks, name) for name in found],
        [os.path.join(masks, by_stem[stem]) for stem in alone],
    )

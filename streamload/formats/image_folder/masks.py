"""Folders of masks beside folders of images: which they are, and how the names of a pair agree."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import islice

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.formats.image_folder.mask_pixels import are_numbers, may_be_masks_of
from streamload.formats.naming.image_names import is_image, is_passed_over

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "annotations", "labels", "label", "segmentations", "segmentation", "gt", "gts", "ground_truth")
MASK_WORDS = re.compile("mask|seg|label|annot|gt|truth", re.IGNORECASE)
"""Of these, names of folders of masks have one."""
ENDINGS = ("mask", "seg", "label", "gt")
"""What names of masks have at their ends, behind what they have in common with those of their images."""
_ENDING = re.compile(rf"[-_]?({'|'.join(ENDINGS)})$", re.IGNORECASE)
NAMES_LOOKED_AT = 1000
"""Files of a folder that tell whether there are images in it."""
ALIKE = 0.9
"""Of the names of masks, so many are names of images."""


def mask_folders(path: str) -> tuple[str, str] | None:
    """The folders of images and of masks in a folder that holds just these two; None where it is none such."""
    inside = _folders_in(path)
    images = [inside[name] for name in IMAGE_FOLDERS if name in inside]
    masks = [inside[name] for name in MASK_FOLDERS if name in inside]
    if len(inside) != 2 or not images or not masks or not _holds_images(os.path.join(path, masks[0])):
        return None
    return images[0], masks[0]


def images_beside_texts(path: str) -> str | None:
    """The folder of images in a folder that holds it and annotations among which is no image, such as boxes; None where it is none such."""
    inside = _folders_in(path)
    images = [inside[name] for name in IMAGE_FOLDERS if name in inside]
    others = [name for name in inside.values() if name not in images]
    if len(images) != 1 or not others or not all(name.lower() in MASK_FOLDERS for name in others):
        return None
    return None if any(_holds_images(os.path.join(path, name)) for name in others) else images[0]


def _folders_in(path: str) -> dict[str, str]:
    """The folders in a folder, by their names in small letters."""
    with os.scandir(path) as entries:
        return {entry.name.lower(): entry.name for entry in entries if entry.is_dir() and not is_passed_over(entry.name)}


def _holds_images(path: str) -> bool:
    """Whether one of the first files in a folder and those below it is an image."""
    names = (name for _, _, files in os.walk(path) for name in files)
    return any(is_image(name) for name in islice(names, NAMES_LOOKED_AT))


def mask_stem(name: str) -> str:
    """The name that a mask has in common with its image: a.png, a_mask.png or a-mask.png for a.jpg."""
    stem = os.path.splitext(name)[0]
    return _ENDING.sub("", stem) or stem


def refuse_masks(path: str, names: Sequence[str], *, are_classes: bool) -> None:
    """Raise ConfigError where one of the folders holds masks of the images in another, and no class.

    Told by its name, by the names in it, and by pixels: numbers, where those of the others are colours. Where the name does not say so,
    it is one of two, and its images are as large as those of the other and hold few values; not with `are_classes`, which says better.
    """
    inside: dict[str, list[str]] = {}
    for name in names:
        inside.setdefault(name.split("/", 1)[0], []).append(name)
    for folder, masks in inside.items():
        is_named = MASK_WORDS.search(folder) is not None
        if not (is_named or (len(inside) == 2 and not are_classes)) or not are_numbers(path, masks):
            continue
        stems = {mask_stem(os.path.basename(name)): name for name in masks}
        for other, images in inside.items():
            own = {os.path.splitext(os.path.basename(name))[0]: name for name in images}
            pairs = [(mask, own[stem]) for stem, mask in stems.items() if stem in own]
            if other == folder or len(pairs) < ALIKE * len(stems) or are_numbers(path, images):
                continue
            if is_named or may_be_masks_of(path, pairs):
                called = f"the folder of images '{IMAGE_FOLDERS[0]}', that of masks '{MASK_FOLDERS[0]}'"
                as_pairs = f"Call {called}, and leave these two alone in one: they are then read as pairs."
                raise ConfigError(
                    f"{path} holds masks ({folder}) of the images in {other}, which are no class of their own.",
                    hint=f'{as_pairs} If both are classes all the same, labels="table.csv" says so of each image.'
                    if is_named
                    else f'{as_pairs} If both are classes all the same, fields=["image", "label"] says so.',
                    path=path,
                )


def refuse_masks_among(path: str, names: Sequence[str]) -> None:
    """Raise ConfigError where masks lie beside the images that they are of: told by their names, and by their pixels."""
    stems: dict[str, str] = {}
    for name in names:
        stems.setdefault(os.path.splitext(name)[0], name)
    pairs: dict[str, str] = {}
    for name in names:
        folder, last = os.path.split(name)
        image = stems.get(os.path.join(folder, mask_stem(last)))
        if image is not None and image != name and mask_stem(last) != os.path.splitext(last)[0]:
            pairs[name] = image
    if pairs and are_numbers(path, list(pairs)) and not are_numbers(path, list(pairs.values())):
        mask, image = next(iter(pairs.items()))
        raise ConfigError(
            f"{path} holds {len(pairs):,} mask{'s' * (len(pairs) > 1)} beside the images that they are of "
            f"({mask} of {image}{', ...' * (len(pairs) > 1)}): each would be a record of its own.",
            hint=f"Move images into a folder '{IMAGE_FOLDERS[0]}' and masks into a folder '{MASK_FOLDERS[0]}', alone in one: "
            "they are then read as pairs.",
            path=path,
        )


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

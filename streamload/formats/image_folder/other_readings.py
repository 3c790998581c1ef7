"""Folders of which images are only a part: of several datasets, each in a folder of its own, or of several sets of images and masks."""

from __future__ import annotations

import os

from streamload.errors import ConfigError
from streamload.formats.image_folder.listing import Listing
from streamload.formats.image_folder.masks import IMAGE_FOLDERS, MASK_FOLDERS
from streamload.formats.naming.image_names import OTHERS

OF_ONE_RECORD = (".npy",)
"""Endings of data that may belong to one image each."""
STORES = (".zarr", ".lmdb")
"""Endings of folders that are data as a whole."""
AS_CLASSES = 'Where these folders are classes of images all the same, fields=["image", "label"] says so.'


def refuse_other_readings(found: Listing) -> None:
    """Raise ConfigError where the folders in a folder seem to be datasets, and no classes: some hold files of data beside their images, or
    images and masks in folders of their own."""
    data = next((name for names in found.others.values() for name in names if _is_of_a_dataset(name)), None)
    if data is not None:
        raise ConfigError(
            f"{found.root} holds images and, in folders of its own, other data ({data}): which of them are the records?",
            hint=f"Open what is meant: sl.open({os.path.join(found.root, data)!r}), or that folder. {AS_CLASSES}",
            path=found.root,
        )
    inside: dict[str, set[str]] = {}
    for folder in found.folders:
        first, _, rest = folder.partition(os.sep)
        inside.setdefault(first, set()).add(rest.partition(os.sep)[0].lower())
    for name, below in inside.items():
        if len(below) > 1 and below <= {*IMAGE_FOLDERS, *MASK_FOLDERS} and not below.isdisjoint(IMAGE_FOLDERS):
            one = os.path.join(found.root, name)
            raise ConfigError(
                f"{found.root} holds images and masks within '{name}' ({', '.join(sorted(below))}): masks are no records of their own.",
                hint=f"Open that folder, sl.open({one!r}), or several such as a list: they are read as pairs. {AS_CLASSES}",
                path=found.root,
            )


def _is_of_a_dataset(name: str) -> bool:
    """Whether a file, by its path in a folder, lies in one of the folders of that, and is data, or of data, that holds many records."""
    folders = os.path.dirname(name).lower().split(os.sep)
    if folders == [""]:
        return False
    ending = os.path.splitext(name)[1].lower()
    return (ending in OTHERS and ending not in OF_ONE_RECORD) or any(folder.endswith(STORES) for folder in folders)

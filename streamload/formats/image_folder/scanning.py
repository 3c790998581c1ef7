"""What lies in a folder of images: names by folder, classes, splits, and files that are left out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.formats.image_names import is_image
from streamload.formats.partitions import SPLITS, alike, folders_below

SYSTEM = ("thumbs.db", "desktop.ini")
DOCUMENTS = re.compile(r"(readme|licen[cs]e|copying|citation|changelog|notice|authors)\b.*", re.IGNORECASE)
"""Files that nobody takes for data: they are not counted among those left out."""


@dataclass(kw_only=True, slots=True)
class Listing:
    """Images in a folder and below it, in order."""

    root: str
    """As the user named it."""
    folders: list[str] = field(default_factory=list[str])
    """Relative to the root, "" the root itself: those that hold images."""
    names: list[list[str]] = field(default_factory=list[list[str]])
    """The images in each, sorted."""
    classes: list[str] = field(default_factory=list[str])
    """Names of all folders in the root, sorted."""
    others: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Files that are no images, by what is said of them."""

    @property
    def count(self) -> int:
        """How many images there are."""
        return sum(map(len, self.names))

    def paths(self) -> list[str]:
        """Images relative to the root, in order."""
        return [os.path.join(folder, name) for folder, names in zip(self.folders, self.names, strict=True) for name in names]


def listing_of(root: str) -> Listing:
    """All images below a folder: class after class in the order of their names, in each folder after folder, as torchvision's ImageFolder.

    Links to folders are followed, each folder once. Folders and files whose names begin with a point are passed over.
    """
    found = Listing(root=root)
    rows: list[tuple[str, list[str]]] = []
    for here, names in folders_below(root, skipped=(".",)):
        below = os.path.relpath(here, root)
        below = "" if below == "." else below
        images = [name for name in names if is_image(name)]
        if images:
            rows.append((below, images))
        if len(images) < len(names):
            _note_others(found.others, below, names)
    rows.sort(key=lambda row: (row[0].partition(os.sep)[0], row[0]))
    found.folders, found.names = [below for below, _ in rows], [images for _, images in rows]
    with os.scandir(root) as entries:
        # A folder without images is a class all the same: numbers must not change when it is filled.
        found.classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return found


def _note_others(others: dict[str, list[str]], below: str, names: Sequence[str]) -> None:
    for name in names:
        if is_image(name) or name.startswith(".") or name.endswith("~") or name.lower() in SYSTEM or DOCUMENTS.fullmatch(name):
            continue
        ending = os.path.splitext(name)[1].lower()
        why = f"{ending} is not read here" if ending else "no ending says what it is"
        others.setdefault(why, []).append(os.path.join(below, name))


def splits_of(root: str) -> list[str]:
    """Folders that are parts of a set, such as train and test, and no classes; none where there are no such."""
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    words = {name: re.split(r"[^a-z]", name.lower(), maxsplit=1)[0] for name in folders}
    parts = [name for name in folders if words[name] in SPLITS]
    return parts if parts and (len(parts) == len(folders) or len({words[name] for name in parts}) > 1) else []


def split_folder(root: str, split: str | None) -> str:
    """The folder to read: that of a split, or the root itself where there are none. Raises ConfigError where they do not agree."""
    parts = splits_of(root)
    if split is None:
        if parts:
            raise ConfigError(
                f"{root} holds splits ({', '.join(parts)}), whose records would be mixed.",
                hint=f'Choose one: split="{parts[-1] if "train" not in parts else "train"}".',
                path=root,
                option="split",
                splits=parts,
            )
        return root
    chosen = alike(split, parts)
    if len(chosen) == 1:
        return os.path.join(root, chosen[0])
    raise ConfigError(
        f"{root} has no split {split!r}." if not chosen else f"{root} has several splits that {split!r} could be: {', '.join(chosen)}.",
        hint=f"It has {', '.join(parts)}." if parts else "It has none: leave split= out.",
        path=root,
        option="split",
    )


def labelled_folders(found: Listing) -> list[int] | None:
    """The class of each folder of images; None where all images lie in the root itself, and have none.

    Raises SchemaMismatchError where some lie beside folders of others.
    """
    if not any(found.folders):
        return None
    if "" in found.folders:
        beside = len(found.names[found.folders.index("")])
        raise SchemaMismatchError(
            f"{found.root} holds {beside:,} images beside folders with {found.count - beside:,}: what is their label?",
            hint="Move them into folders, one for each class, or say it in a table: labels=FILE.csv.",
            path=found.root,
        )
    numbers = {name: number for number, name in enumerate(found.classes)}
    return [numbers[folder.partition(os.sep)[0]] for folder in found.folders]

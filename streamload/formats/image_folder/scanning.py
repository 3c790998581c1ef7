"""What lies in a folder of images: names by folder, classes, splits, and files that are left out."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Mapping, Sequence
from itertools import compress

import numpy as np

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.formats.image_folder.listing import Listing, keep_listing, kept_listing
from streamload.formats.image_folder.masks import IMAGE_FOLDERS, MASK_FOLDERS, MASK_WORDS, images_beside_texts, mask_folders, mask_stem
from streamload.formats.image_folder.tree import FolderEntries, tree_below
from streamload.formats.naming.image_names import SUFFIXES, is_image, is_passed_over
from streamload.formats.naming.split_words import SPLITS, alike, split_words
from streamload.formats.partitions import folders_below
from streamload.storage.file_table import table_of

SYSTEM = ("thumbs.db", "desktop.ini")
DOCUMENTS = re.compile(r"(readme|licen[cs]e|copying|citation|changelog|notice|authors)\b.*", re.IGNORECASE)
"""Files that nobody takes for data: they are not counted among those left out."""
MASKS_BEHIND = re.compile(r"[-_. ]?(masks?|annot[a-z]*|labels?|gts?|segs?|segment[a-z]*|(ground[-_ ]?)?truth)", re.IGNORECASE)
"""What the name of a folder of masks has behind the name of the split that they belong to."""
_USUAL = tuple(ending.encode() for ending in SUFFIXES)


def listing_of(root: str) -> Listing:
    """All images below a folder: class after class in the order of their names, in each folder after folder, as torchvision's ImageFolder.

    Links to folders are followed, each folder once. Folders and files whose names begin with a point are passed over. What was
    found is kept, and holds as long as no folder has changed: files that are written to are noticed when they are read.
    """
    known = kept_listing(root)
    if known is not None:
        return known
    began = time.monotonic()
    rows: list[tuple[str, FolderEntries]] = []
    others: dict[str, list[str]] = {}
    tree = tree_below(root)
    for one in sorted(tree, key=lambda one: one.path.split(os.sep)):
        below = os.path.relpath(one.path, root)
        below = "" if below == "." else below
        _leave_others_out(one, below, others)
        if one.names:
            rows.append((below, one))
    rows.sort(key=lambda row: (row[0].partition(os.sep)[0], row[0]))
    real = os.path.realpath(root)
    found = Listing(
        root=root,
        folders=[below for below, _ in rows],
        files=table_of(
            [os.path.join(real, below) if below else real for below, _ in rows],
            [one.names for _, one in rows],
            [one.identities for _, one in rows],
        ),
        # A folder without images is a class all the same: numbers must not change when it is filled.
        classes=sorted(tree[0].folders),
        others=others,
    )
    keep_listing(found, {os.path.realpath(one.path): one.identity for one in tree}, time.monotonic() - began)
    return found


def _leave_others_out(folder: FolderEntries, below: str, others: dict[str, list[str]]) -> None:
    """Leave in a folder only images that are regular files, and note what else of it is data."""
    there = np.fromiter((name.endswith(_USUAL) and name[0] != ord(".") for name in folder.names), np.bool_, len(folder.names))
    for number in np.flatnonzero(~there).tolist():
        name = os.fsdecode(folder.names[number])
        there[number] = is_image(name)
        if not there[number] and not _is_passed_over(name):
            ending = os.path.splitext(name)[1].lower()
            why = f"{ending} is not read here" if ending else "no ending says what it is"
            others.setdefault(why, []).append(os.path.join(below, name))
    for number in np.flatnonzero(there & (folder.identities[:, 4] & 0o170000 != stat.S_IFREG)).tolist():
        there[number] = False
        name = os.fsdecode(folder.names[number])
        others.setdefault(_refusal(os.path.join(folder.path, name)), []).append(os.path.join(below, name))
    if not there.all():
        folder.names = list(compress(folder.names, there.tolist()))
        folder.identities = folder.identities[there]


def _refusal(path: str) -> str:
    """Why a file that has the name of an image cannot be one."""
    try:
        os.stat(path)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    return "no regular file"


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.endswith("~") or name.lower() in SYSTEM or DOCUMENTS.fullmatch(name) is not None


def splits_of(root: str) -> dict[str, str]:
    """Folders that are parts of a set, such as train and test, and no classes, by the word that says so; {} where there are none."""
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir() and not is_passed_over(entry.name))
    words = dict(zip(folders, split_words(folders), strict=True))
    parts = {name: words[name] for name in folders if words[name]}
    return parts if parts and (len(parts) == len(folders) or len(set(parts.values())) > 1) else {}


def split_folder(root: str, split: str | bool | None) -> str:
    """The folder to read: that of a split, by its name or the word in it; or the root itself where there are none, or `split` is False.

    Raises ConfigError where they do not agree.
    """
    if split is False:
        return root
    words = splits_of(root)
    parts = list(words)
    if not parts and (images := images_beside_texts(root)) and splits_of(inner := os.path.join(root, images)):
        return split_folder(inner, split)
    if split is None:
        if parts:
            several = len(parts) > 1
            one = next((name for name in parts if "train" in name.lower()), parts[-1])
            told = f"splits ({', '.join(parts)}), whose records would be mixed" if several else f"one split ({parts[0]}), which is no class"
            raise ConfigError(
                f"{root} holds {told}.",
                hint=f'Choose {"one" if several else "it"}: split="{one}". If these folders are classes, split=False says so.',
                path=root,
                option="split",
                splits=parts,
            )
        return root
    chosen = alike(str(split), parts) or [name for name in parts if words[name] in alike(str(split), list(words.values()))]
    if len(chosen) == 1:
        _refuse_masks_beside(root, chosen[0])
        return os.path.join(root, chosen[0])
    raise ConfigError(
        f"{root} has no split {split!r}." if not chosen else f"{root} has several splits that {split!r} could be: {', '.join(chosen)}.",
        hint=f"It has {', '.join(parts)}." if parts else "It has none: leave split= out.",
        path=root,
        option="split",
    )


def _refuse_masks_beside(root: str, part: str) -> None:
    """Raise ConfigError where the folder beside that of a split holds its masks: train_masks, trainannot, for train.

    Told by its whole name, and by the names in it, most of which are those of images of the split; where that holds pairs
    itself, these are what is read.
    """
    where = os.path.join(root, part)
    with os.scandir(root) as entries:
        rests = {entry.name: entry.name[len(part) :] for entry in entries if entry.is_dir() and entry.name.lower().startswith(part.lower())}
    beside = sorted(name for name, rest in rests.items() if MASKS_BEHIND.fullmatch(rest))
    if not beside or mask_folders(where) is not None:
        return
    stems = {os.path.splitext(name)[0] for _, names in folders_below(where) for name in names if is_image(name)}
    for name in beside:
        own = [mask_stem(mask) for mask in os.listdir(os.path.join(root, name)) if is_image(mask)]
        exact = sum(one in stems for one in own)
        # 0001_L.png of 0001.png: a word behind the name of the image, of any meaning.
        near = sum(one in stems or re.sub(r"[-_][a-z]+$", "", one, flags=re.IGNORECASE) in stems for one in own)
        if own and 2 * near > len(own):
            renamed = "" if 2 * exact > len(own) else ", each mask under the name of its image"
            raise ConfigError(
                f"{root} holds {name} beside {part}: by its name these are its masks, which would be left out.",
                hint=f"Move them to {part}/{IMAGE_FOLDERS[0]} and {part}/{MASK_FOLDERS[0]}{renamed}, and they are read as pairs; "
                f"or read the images alone: sl.open({where!r}).",
                path=root,
            )


def labelled_folders(found: Listing, *, are_classes: bool) -> list[int] | None:
    """The class of each folder of images; None where all images lie in the root itself, and have none.

    Raises SchemaMismatchError where some lie beside folders of others, and ConfigError where folders are no classes: of several splits,
    unless a user says that they `are_classes`.
    """
    if not any(found.folders):
        return None
    if "" in found.folders:
        at = found.folders.index("")
        beside = int(found.files.folder_starts[at + 1] - found.files.folder_starts[at])
        raise SchemaMismatchError(
            f"{found.root} holds {beside:,} images beside folders with {len(found.files) - beside:,}: what is their label?",
            hint="Move them into folders, one for each class, or say it in a table: labels=FILE.csv.",
            path=found.root,
        )
    if not are_classes:
        _refuse_folders_within(found)
    numbers = {name: number for number, name in enumerate(found.classes)}
    return [numbers[folder.partition(os.sep)[0]] for folder in found.folders]


def _refuse_folders_within(found: Listing) -> None:
    """Raise ConfigError where folders are no classes: some hold splits; or all images lie in one, whose own folders say more."""
    inside: dict[str, set[str]] = {}
    for folder in found.folders:
        parts = folder.split(os.sep)
        for depth in range(1, len(parts) + 1):
            inside.setdefault(os.sep.join(parts[:depth]), set()).update(parts[depth : depth + 1] or [""])
    _refuse_splits_within(found.root, inside)
    classes = {name: below for name, below in inside.items() if os.sep not in name}
    first, below = next(iter(classes.items()))
    # Others that hold no file at all are classes that are yet to be filled.
    if len(classes) == 1 and len(below) > 1 and "" not in below and _hold_files(found, first):
        others = ", ".join(name for name in found.classes if name != first)
        raise ConfigError(
            f"{found.root} holds images in {len(below):,} folders of '{first}', and none in {others}: what are the classes?",
            hint=f"Open that folder, whose folders are then the classes: sl.open({os.path.join(found.root, first)!r}).",
            path=found.root,
        )


def _refuse_splits_within(root: str, inside: Mapping[str, set[str]]) -> None:
    """Raise ConfigError where folders below a root, at any depth, hold splits: {folder: what it holds, "" for images of its own}.

    One holds several; or each, of those as deep, holds one by its very name, and they are not the same. Of folders that hold them,
    those of images by their names are told first.
    """
    held = {name: sorted(below - {""}) for name, below in inside.items()}
    several = [name for name, below in held.items() if below and _are_splits(below)]
    if not several:
        for depth in {name.count(os.sep) for name in held}:
            level = {name: below for name, below in held.items() if name.count(os.sep) == depth and below}
            words = {one.lower() for below in level.values() for one in below}
            if len(words) > 1 and words <= set(SPLITS):
                several = list(level)
                break
    if not several:
        return
    first = next((name for name in several if not MASK_WORDS.search(name)), several[0])
    beside = [name for name in several if os.path.dirname(name) == os.path.dirname(first)]
    every = sorted({one for name in beside for one in held[name]})
    one = next((name for name in held[first] if "train" in name.lower()), held[first][0])
    alone = f"sl.open({os.path.join(root, first, one)!r})"
    moves = [f"{name}/{one} to {os.path.join(os.path.dirname(name), one, os.path.basename(name))}" for name in beside if one in held[name]]
    above = os.path.join(root, os.path.dirname(first)).rstrip(os.sep)
    then = f'split="{one}" then chooses one' if above == root else f'sl.open({above!r}, split="{one}") then reads one'
    raise ConfigError(
        f"{root} holds splits ({', '.join(every)}) within '{first}', whose records would be mixed.",
        hint=f"Open the folder of one: {alone}."
        if len(beside) == 1 and len(_beside(first, inside)) == 1
        else f"If these are classes, put the splits above them: move {', '.join(moves[:2])}, and so on; {then}. "
        f"Else open the folder of one alone: {alone}.",
        path=root,
    )


def _beside(name: str, inside: Mapping[str, set[str]]) -> list[str]:
    """The folders that hold images, in themselves or below, beside one of them, and that one."""
    return [one for one in inside if os.path.dirname(one) == os.path.dirname(name)]


def _are_splits(names: Sequence[str]) -> bool:
    """Whether names of folders are those of several splits: test1 and test2 are both of one."""
    words = set(split_words(names))
    return len(words) > 1 and "" not in words


def _hold_files(found: Listing, first: str) -> bool:
    """Whether folders in the root other than `first` hold files that are data, though no images."""
    return any(os.sep in name and name.partition(os.sep)[0] != first for names in found.others.values() for name in names)

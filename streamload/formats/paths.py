"""From what a user gives to the paths of data: local ones only, those of folders and patterns in natural order, each once."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from typing import Any

from streamload.errors import ConfigError
from streamload.formats import Format, folder_format_of, no_paths, odd_files, options_of, partitions
from streamload.formats.naming import braces
from streamload.formats.naming.field_names import natural_key
from streamload.formats.naming.split_words import alike, split_words
from streamload.formats.split_choice import by_split

Path = str | os.PathLike[str]


def expanded(path: Path | Iterable[Path], split: Any, known: dict[str, Format]) -> list[str]:
    """All paths that are meant; `known` learns the formats of those that are datasets as a whole."""
    if isinstance(path, (str, bytes, os.PathLike)):
        paths = matching(no_paths.local(path), split, known)
    else:
        try:
            listed = list(path)
        except TypeError as error:
            raise ConfigError(f"{path!r} is not a path.", hint=no_paths.PATHS) from error
        paths = [found for one in listed for found in matching(no_paths.local(one), None, known)]
    if not paths:
        raise ConfigError("The list of paths is empty.", hint="Give at least one data file.")
    _refuse_twice(paths)
    return paths


def _refuse_twice(paths: list[str]) -> None:
    """Raise ConfigError where two paths lead to one file, by links of either kind."""
    seen: set[str] = set()
    linked: dict[tuple[int, int], str] = {}
    for name in paths:
        real = os.path.realpath(name)
        if real in seen:
            raise ConfigError(f"{name} is named twice: its records would be read twice in every epoch.", hint="Name each file once.")
        seen.add(real)
        try:
            status = os.stat(real)
        except OSError:
            continue  # Whoever reads it will say why.
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            first = linked.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                raise ConfigError(
                    f"{name} and {first} are one file, by a hard link: its records would be read twice in every epoch.",
                    hint="Name each file once.",
                )


def _as_pattern(path: str) -> str:
    """A pattern in which folders that exist stand for themselves, whatever signs are in their names."""
    drive, rest = os.path.splitdrive(path)
    parts, there = rest.split(os.sep), drive
    for number, part in enumerate(parts[:-1]):
        name = os.path.join(there, part) if there else part or os.sep
        if glob.has_magic(part) and not os.path.isdir(name):
            return os.path.join(glob.escape(there), *parts[number:]) if there else os.path.join(*parts[number:])
        there = name
    return os.path.join(glob.escape(there), parts[-1]) if there else parts[-1]


def matching(path: str, split: Any, known: dict[str, Format]) -> list[str]:
    """The file itself, or the files that a folder holds, of a split if one is given, or a pattern matches, in natural order.

    Of braces, as in train-{000000..000005}.tar, what each of the paths stands for, in their order; all must be there.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        if (found := folder_format_of(path)) is not None:
            known[path] = found
            return [path]
        return _datasets_in(path, split) or partitions.data_files(path, natural_key, split)
    if braces.has_braces(path):
        several = braces.alternatives(path)
        braces.refuse_missing(path, several)
        return [found for one in several for found in matching(one, None, known)]
    if glob.has_magic(path) and not os.path.lexists(path):
        there = glob.glob(_as_pattern(path), recursive=True)
        found = sorted((name for name in there if not os.path.isdir(name) or folder_format_of(name) is not None), key=natural_key)
        if not found:
            raise ConfigError(
                f"No file matches {path}.",
                hint="Check the pattern and the folder it is relative to; a name that holds *, ? or [ is given through glob.escape(path).",
            )
        return [name for name in found if partitions.is_data(name)] or found
    return [path]


def _datasets_in(folder: str, split: Any) -> list[str]:
    """The folders in a folder, where it holds no data but folders that are datasets as a whole; [] where it holds anything else.

    Of a split, where one is given, that one. Raises ConfigError where names are those of several splits, or of none that is asked for.
    """
    try:
        with os.scandir(folder) as entries:
            held = sorted((entry for entry in entries if not entry.name.startswith((".", "_"))), key=lambda entry: natural_key(entry.name))
    except OSError:
        return []
    beside = [entry.path for entry in held if not entry.is_dir() and partitions.is_data(entry.path)]
    if not all(map(odd_files.is_odd, beside)):
        return []
    found = [entry.path for entry in held if entry.is_dir()]
    if not all(folder_format_of(one) is not None for one in found):
        return []
    words = split_words([os.path.basename(one) for one in found], asked=split is not None)
    splits = sorted({word for word in words if word})
    if split is not None and found and not choose_inside(found):
        chosen = alike(split, splits)
        if len(chosen) != 1:
            raise ConfigError(
                f"{folder} has no split {split!r}.", hint=f"It has {', '.join(splits) or 'none'}.", path=folder, option="split"
            )
        return [one for one, word in zip(found, words, strict=True) if word == chosen[0]]
    if len(splits) > 1:
        raise ConfigError(
            f"{folder} holds datasets of several splits ({', '.join(splits)}), whose records would be mixed.",
            hint=f"Choose one: split={'train' if 'train' in splits else splits[0]!r}, or open its folder.",
            path=folder,
            option="split",
            splits=splits,
        )
    return [*found, *beside] if found else []


def choose_inside(folders: list[str]) -> bool:
    """Whether datasets, none of which is called as a split is, hold splits themselves, among which their format chooses."""
    kind = folder_format_of(folders[0]) if os.path.isdir(folders[0]) else None
    return kind is not None and "split" in options_of(kind) and not any(by_split(folders))

"""Folders of data files: which of the files in them are data, and what the names of the folders say of the records."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np

from streamload.errors import ConfigError, CorruptDataError, UnsupportedFeatureError
from streamload.formats.columns.raw import InMemory
from streamload.formats.naming.braces import has_braces
from streamload.formats.naming.field_names import Fields
from streamload.formats.naming.split_words import alike, split_words
from streamload.schema import Field
from streamload.source import Source

NOT_DATA = (".crc", ".json", ".jsonl", ".md", ".txt", ".yaml", ".yml", ".lock", ".md5", ".sha256")
"""Endings of files that stand beside data: checksums, descriptions. Names that begin with a dot or an underscore are left out too."""


NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, Spark and pyarrow call the folder of records that have no value."""


STORES = (
    ("_delta_log", "a Delta Lake table, whose log says which files count", "Write it anew as Parquet: DeltaTable(path).to_pandas()."),
    ("_versions", "a Lance dataset", "Write it anew as Parquet: lance.dataset(path).to_table()."),
    (".hoodie", "a Hudi table, whose log says which files count", "Write it anew as Parquet."),
    ("metadata/version-hint.text", "an Iceberg table, whose metadata says which files count", "Write it anew as Parquet."),
)
"""What tells a folder that is more than its files: a name in it, what it is, and the cure."""


def data_files(folder: str, key: Callable[[str], Any], split: str | None = None) -> list[str]:
    """The data files in a folder and the folders below it, sorted by `key`; links to folders are followed, each folder once.

    Left out by rule: see `is_data`. Raises ConfigError where nothing is left, or where files belong to several splits and none of
    them, or none that is there, is asked for; and UnsupportedFeatureError for folders in which not every file counts.
    """
    for mark, what, hint in STORES:
        if os.path.lexists(os.path.join(folder, mark)):
            raise UnsupportedFeatureError(f"{folder} is {what}.", hint=hint.replace("{folder}", shlex.quote(folder)), path=folder)
    found = [name for name in files_below(folder, skipped=(".", "_")) if is_data(name)]
    if not found:
        raise ConfigError(f"{folder} holds no data file.", hint=f"Hidden files and those ending in {', '.join(NOT_DATA)} are left out.")
    words = split_words([os.path.relpath(name, folder).replace(os.sep, "/") for name in found], asked=split is not None)
    splits = Counter(word for word in words if word)
    if split is not None:
        chosen = alike(split, list(splits))
        if len(chosen) != 1:
            there = f"It has {', '.join(sorted(splits))}." if splits else "The names of its files say none: leave split= out."
            raise ConfigError(f"{folder} has no split {split!r}.", hint=there, path=folder, option="split")
        return sorted((name for name, word in zip(found, words, strict=True) if word == chosen[0]), key=key)
    if len(splits) > 1:
        listed = ", ".join(f"{split}: {count:,}" for split, count in sorted(splits.items()))
        raise ConfigError(
            f"{folder} holds files of several splits ({listed}), whose records would be mixed.",
            hint=f"Choose one: split={'train' if 'train' in splits else min(splits)!r}, "
            "or give a pattern or a list of the files that are meant.",
            path=folder,
            option="split",
            splits=sorted(splits),
        )
    return sorted(found, key=key)


def files_below(folder: str, *, skipped: tuple[str, ...] = ()) -> Iterator[str]:
    """All files in a folder and the folders below it: see `folders_below`."""
    for here, names in folders_below(folder, skipped=skipped):
        yield from (os.path.join(here, name) for name in names)


def folders_below(folder: str, *, skipped: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """A folder and the folders below it, each with the names of its files in order.

    Links to folders are followed, each folder once, and under its own name first. Folders whose names begin with one of
    `skipped` are not looked into, and no link that leads back up is followed.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        for here, folders, names in os.walk(waiting.pop(0)):
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not skipped or not name.startswith(skipped))
            links = (os.path.join(here, name) for name in folders if os.path.islink(os.path.join(here, name)))
            waiting += [link for link in links if not leads_up(link, folder)]
            yield here, sorted(names)


def leads_up(link: str, folder: str) -> bool:
    """Whether a link leads to a folder itself, or to one above it."""
    return os.path.join(os.path.realpath(folder), "").startswith(os.path.join(os.path.realpath(link), ""))


def is_data(path: str) -> bool:
    """Whether a file is data by its name: none that begins with "." or "_" (_SUCCESS, _metadata), or has an ending in NOT_DATA.

    Nor are the files that Hugging Face's datasets leaves beside the data that it was computed from.
    """
    name = os.path.basename(path)
    computed = re.fullmatch(r"cache-[0-9a-f]{8,}.*\.arrow", name)
    return not name.startswith((".", "_")) and not name.lower().endswith(NOT_DATA) and not computed


def partitions(path: object, paths: Sequence[str]) -> dict[str, list[str]]:
    """What folders called "key=value", below the folder or pattern that was asked for, say of each file: {key: values}.

    Raises ConfigError where some of the files have a key and others have not.
    """
    if not isinstance(path, (str, os.PathLike)):
        return {}
    asked = os.path.expanduser(os.fspath(path))
    root = asked if os.path.isdir(asked) else ""
    if not root and (glob.has_magic(asked) or has_braces(asked)) and not os.path.lexists(asked):
        root = os.path.dirname(re.split(r"[*?\[{]", asked, maxsplit=1)[0]) or "."
    if not root:
        return {}
    said = [_pairs(os.path.dirname(os.path.relpath(name, root))) for name in paths]
    keys = list(said[0])
    for name, one in zip(paths, said, strict=True):
        if list(one) != keys:
            raise ConfigError(
                f"{name} lies in folders that name {list(one) or 'nothing'}, and {paths[0]} in folders that name {keys or 'nothing'}.",
                hint="Name the files of one partitioning, as key=value folders throughout.",
                path=name,
            )
    return {key: [one[key] for one in said] for key in keys}


def _pairs(folder: str) -> dict[str, str]:
    parts = [part.partition("=") for part in folder.split(os.sep) if "=" in part]
    return {unquote(key): unquote(value) for key, _, value in parts if key}


def split(wanted: Fields | None, said: Mapping[str, list[str]]) -> tuple[Fields | None, dict[str, str]]:
    """The fields that files hold, and those that folders do: {name to deliver: key}. Raises ConfigError where files hold none."""
    if wanted is None:
        return None, {key: key for key in said}
    pairs = dict(wanted) if isinstance(wanted, Mapping) else {name: name for name in wanted}
    own = {name: key for name, key in pairs.items() if isinstance(key, str) and key in said}
    if not own:
        return wanted, {}
    inner = {name: key for name, key in pairs.items() if name not in own}
    if not inner:
        raise ConfigError(f"fields names {list(own)} alone, which stand in the names of folders.", hint="Name a field of the files too.")
    return inner, own


def with_partitions(source: Source, said: Mapping[str, list[str]], chosen: Mapping[str, str]) -> Source:
    """The source with a field for each key: whole numbers as they are, other words as classes in the order of their names."""
    columns, notes, named = list(source.columns), list(source.notes), dict(source.classes)
    counts = np.diff(source.file_starts)
    for name, key in chosen.items():
        if name in source.schema:
            notes.append(f"'{name}' is taken from the files; the names of their folders say it too")
            continue
        values = said[key]
        if NULL in values:
            file = source.fingerprints[values.index(NULL)].path
            raise CorruptDataError(
                f"{file}: its folder says that '{key}' is null for its records.",
                hint="Choose fields without it, fields=[...], or name the folder after a value.",
                path=file,
                dataset=key,
            )
        if all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", value) for value in values):
            numbers, label = [int(value) for value in values], "names of folders"
        else:
            classes = sorted(set(values))
            numbers, label = [classes.index(value) for value in values], f"names of folders, {len(classes):,} classes"
            named[name] = tuple(classes)
        field = Field(name, np.dtype(np.int64), ())
        columns.append(InMemory(field=field, values=np.repeat(np.array(numbers, np.int64), counts), label=label))
    return source.replaced(columns=columns, notes=notes, classes=named)

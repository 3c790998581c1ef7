"""The files that a source is made of: all of one format, what is beside them in a folder left out by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamload.errors import ConfigError, SchemaMismatchError, SourceError, StreamloadError
from streamload.formats import Format, folder_format_of, format_of, odd_files, options_of, unrecognized
from streamload.formats.paths import Path, choose_inside, expanded
from streamload.omissions import Omission
from streamload.storage.files import fingerprint, regular_file


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFiles:
    """Files of one format, in order."""

    paths: Sequence[str]
    format: Format
    omissions: Sequence[Omission]
    """What lies beside them and is not read."""
    by_split: bool
    """Whether they are what a split was chosen among: the format is not to choose once more."""


def find_files(path: Path | Iterable[Path], split: Any) -> FoundFiles:
    """The files that are meant by a path, a folder, a pattern or a list of paths; of a folder those of a split, where one is given.

    Raises ConfigError for what is no path, or no name of a split, and a SourceError where files are of no format or of several.
    """
    if split is not None and split is not False and not isinstance(split, str):
        raise ConfigError(f"split={split!r:.60} is no name of a split.", hint='Give one, as text: split="train".', option="split")
    known: dict[str, Format] = {}
    paths, omissions = expanded(path, None if split is False else split, known), list[Omission]()
    one_path = os.path.expanduser(path) if isinstance(path, (str, os.PathLike)) else None
    of_folder = one_path is not None and paths != [one_path] and os.path.isdir(one_path)
    if one_path and of_folder:
        paths, omissions = _without_odd_files(paths, known, os.fspath(one_path))
    chosen = _format_of_all(paths, known, asked=os.fspath(path) if isinstance(path, (str, os.PathLike)) else None)
    return FoundFiles(paths=paths, format=chosen, omissions=omissions, by_split=of_folder and not choose_inside(paths))


def refuse_unknown(options: dict[str, Any], chosen: Format) -> None:
    """Raise ConfigError for an option that the format does not have."""
    known = options_of(chosen)
    for name in options:
        if name not in known:
            raise ConfigError(
                f"{name}= is no option of {chosen.NAME} files.",
                hint=f"{'It has ' + ', '.join(f'{one}=' for one in known) if known else 'It has none: leave it out'}.",
                option=name,
            )


def _format_of_all(paths: Sequence[str], known: Mapping[str, Format], *, asked: str | None) -> Format:
    """The format of all files. Raises SchemaMismatchError where they are of several; `asked` is what a user gave for them all.

    Those of some paths are known: to find out takes a look at all names in a folder, or at the beginning of a file.
    """
    chosen = known.get(paths[0]) or _format_at(paths[0], asked=asked or paths[0])
    for path in paths[1:]:
        found = known.get(path) or _format_at(path, asked=asked or path)
        if found.NAME != chosen.NAME:
            raise SchemaMismatchError(
                f"{paths[0]} is {chosen.NAME}, {path} is {found.NAME}: the files of a source are of one format.",
                hint="Open them as two sources.",
                path=path,
            )
    return chosen


def _without_odd_files(paths: Sequence[str], known: dict[str, Format], folder: str) -> tuple[list[str], list[Omission]]:
    """The files of a folder that are of a format, and those left out that are of none, where nobody takes those for records.

    All paths, where more would be left out than is taken, or where what is of no format is called as data is. `known` learns the
    formats of all that have one.
    """
    odd: list[tuple[str, str]] = []
    for path in paths:
        if os.path.isdir(path) and path not in known:
            known[path] = _format_at(path, asked=path)
        if path in known:
            continue
        was = fingerprint(path)
        head, found = _recognised(was.path, path)
        if found is not None:
            known[path] = found
        else:
            odd.append((path, unrecognized.kind_of(head, was.nbytes)))
    taken, beside = [path for path in paths if path in known], [path for path, _ in odd]
    if not odd or odd_files.outweigh(beside, taken) or not all(odd_files.is_odd(path, taken) for path in beside):
        return list(paths), []
    return taken, odd_files.left_out(folder, odd)


def _format_at(name: str, *, asked: str) -> Format:
    """The format of a file, or of a folder that is one set of records, found by what was `asked`. Raises as `unrecognized` says."""
    folder = folder_format_of(name) if os.path.isdir(name) else None
    if folder is not None:
        return folder
    was = fingerprint(name)
    head, found = _recognised(was.path, name)
    if found is None:
        raise unrecognized.unrecognized(head, name, was.nbytes, asked=asked)
    return found


def _recognised(path: str, name: str) -> tuple[bytes, Format | None]:
    """The beginning of a file, and the format that it is of."""
    try:
        with open(path, "rb", opener=regular_file) as file:
            head = file.read(unrecognized.HEAD_NBYTES)
        return head, format_of(head, path)
    except OSError as error:
        if isinstance(error, StreamloadError):
            raise
        raise SourceError(f"{name} cannot be opened: {error.strerror}.", hint="Check its permissions.", path=name) from error

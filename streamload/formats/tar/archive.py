"""What one archive holds as WebDataset writes it: files of one name up to the first point are one record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SchemaMismatchError, SourceError
from streamload.formats.image_names import SUFFIXES as IMAGES
from streamload.formats.tar.members import Members, TarMember
from streamload.storage.plain_file import StoredFile

TEXTS = ("cls", "cls2", "txt", "text", "id", "idx", "index", "count", "label")
NAMES = {"cls": "label"}
"""How fields are called that are called otherwise in archives."""
MOST_NAMED = 1000
"""Members that are not taken are named up to here, and counted beyond."""
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt")


class Archive:
    """The records of one archive: where the images of each stand, and what else belongs to it."""

    def __init__(self, path: str, file: StoredFile | None = None) -> None:
        """Go through all heads of a file, and read what is small; it stays open. Without one, whoever makes it fills it in."""
        self.path = path
        self.damage: SourceError | None = None
        self.keys: list[str] = []
        """Of records; none where nobody asks for them."""
        self.count = 0
        """How many records there are."""
        self.places: dict[str, NDArray[np.int64]] = {}
        """By what follows the key: offset and length for each record; -1 where it has none."""
        self.values: dict[tuple[str, str], dict[int, Any]] = {}
        """Numbers, texts and what JSON holds: by what follows the key, field and record."""
        self.bad: dict[int, SourceError] = {}
        self.left_out: dict[str, list[str]] = {}
        """Members that are not taken, by reason; their names are kept up to MOST_NAMED."""
        self.counts: Counter[str] = Counter()
        """How many, by reason."""
        self.linked: set[int] = set()
        """Offsets of members that others are hard links to."""
        if file is None:
            return
        try:
            self._go_through(file)
        except CorruptDataError as error:
            self.damage = error
        self.count = len(self.keys)

    def _go_through(self, file: StoredFile) -> None:
        rows: dict[str, int] = {}
        places: dict[str, list[tuple[int, int, int]]] = {}
        seen: dict[str, bytearray] = {}
        try:
            for member in Members(file, self.path, lambda name: kind_of_member(key_of(name)[1]) in ("text", "json"), self._leave_out):
                key, name = key_of(member.name)
                if not name:
                    self._leave_out(member.name, why_not(""))
                    continue
                if kind_of_member(name) == "other":
                    self._leave_out(member.name, why_not(name))
                    continue
                row = rows.setdefault(key, len(self.keys))
                if row == len(self.keys):
                    self.keys.append(key)
                elif not file.addressable and row != len(self.keys) - 1:
                    raise SchemaMismatchError(
                        f"{self.path} is packed, and the files of record {key!r} do not follow each other.",
                        hint="Unpack it, or pack it sorted: tar --sort=name.",
                        path=self.path,
                    )
                had = seen.setdefault(name, bytearray())
                had.extend(bytes(max(0, row + 1 - len(had))))
                if had[row]:
                    raise SchemaMismatchError(
                        f"{self.path} holds {member.name!r} twice.", hint="Write it anew, each name once.", path=self.path
                    )
                had[row] = 1
                self._add(member, row, name, places)
        finally:
            for name, found in places.items():
                self.places[name] = np.full((len(self.keys), 2), -1, np.int64)
                for row, offset, nbytes in found:
                    self.places[name][row] = offset, nbytes

    def _leave_out(self, name: str, why: str) -> None:
        self.counts[why] += 1
        names = self.left_out.setdefault(why, [])
        if len(names) < MOST_NAMED:
            names.append(name)

    def _add(self, member: TarMember, row: int, name: str, places: dict[str, list[tuple[int, int, int]]]) -> None:
        if member.is_linked:
            self.linked.add(member.offset)
        if member.data is None:
            places.setdefault(name, []).append((row, member.offset, member.nbytes))
        else:
            try:
                found = small_values(name, member.data)
            except ValueError as error:
                self.bad[row] = CorruptDataError(
                    f"{self.path}: {member.name} cannot be read: {error}.", hint="Leave it out with --on-bad skip.", path=self.path
                )
                return
            for field, value in found.items():
                self.values.setdefault((name, field), {})[row] = value


def key_of(name: str) -> tuple[str, str]:
    """The key of a member, and the rest of its name, which says what it is."""
    folder, slash, last = name.rpartition("/")
    key, _, rest = last.partition(".")
    return (folder + slash + key, rest.lower()) if key and "__MACOSX" not in folder else ("", "")


def kind_of_member(name: str) -> str:
    """What a member holds, by what follows its key: "image", "text", "json", "npy" or "other"."""
    last = name.rpartition(".")[2]
    if "." + last in IMAGES:
        return "image"
    return "text" if last in TEXTS else last if last in ("json", "npy") else "other"


def why_not(name: str) -> str:
    """Why what follows a key is no field: it makes no record by itself, as a LICENSE.txt would, but not a boxes.csv."""
    if not name:
        return "no ending says what it is"
    return f".{name} is {'a pickle, which could run anything' if name.rpartition('.')[2] in PICKLES else 'not read here'}"


def field_of(name: str) -> str:
    """The name of a field: "left" for left.jpg, "label" for cls."""
    name = name.rpartition(".")[0] or name
    return NAMES.get(name, name)


def image_fields(archives: Sequence[Archive]) -> dict[str, str]:
    """Names of fields of images: "image" where a record has one, whatever its kind; else the kinds."""
    bare = {name for archive in archives for name in archive.places if "." + name in IMAGES}
    for archive in archives:
        there = [places[:, 0] >= 0 for name, places in archive.places.items() if name in bare]
        if there and np.sum(there, axis=0).max(initial=0) > 1:
            return {}
    return dict.fromkeys(sorted(bare), "image")


def small_values(name: str, data: bytes) -> dict[str, Any]:
    """Values by the names of their fields."""
    if kind_of_member(name) == "text":
        return {field_of(name): data.decode().strip()}
    try:
        held = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(held, dict):
        return {field_of(name): held}
    return {str(field): value for field, value in held.items() if value is not None}


def held_fields(archives: Sequence[Archive], title: str) -> dict[tuple[str, str], str]:
    """The names of fields that are held, by where their values come from: the same for all records, whatever stands first in one.

    Raises SchemaMismatchError where a file that is a field would have the name of another.
    """
    files = {field: names[0] for field, names in file_fields(archives, title).items()}
    found = list(dict.fromkeys(one for archive in archives for one in archive.values))
    names: dict[tuple[str, str], str] = {}
    # Files of texts first: what JSON holds besides can have a longer name.
    for source, field in sorted(found, key=lambda one: (kind_of_member(one[0]) != "text", one)):
        other = files.get(field) or next((one for (one, _), name in names.items() if name == field), None)
        if other is not None and kind_of_member(source) == "text":
            raise _one_name(title, source, other, field)
        names[source, field] = field if other is None else f"{source}.{field}"
    return {one: names[one] for one in found}


def file_fields(archives: Sequence[Archive], title: str) -> dict[str, list[str]]:
    """What follows the keys of files that are read when they are asked for, by the names of their fields: one in each record."""
    images = image_fields(archives)
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for archive in archives for name in archive.places):
        found.setdefault(images.get(name, field_of(name)), []).append(name)
    for field, names in found.items():
        for archive in archives if len(names) > 1 else ():
            there = [archive.places[name][:, 0] >= 0 for name in names if name in archive.places]
            if there and int(np.sum(there, axis=0).max(initial=0)) > 1:
                raise _one_name(title, names[0], names[1], field)
    return found


def _one_name(title: str, one: str, other: str, field: str) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"{title}: files of one key that end in .{one} and .{other} would both be the field '{field}'.",
        hint="A key goes up to the first point of a name, and what follows names the field: rename one of them.",
        path=title,
    )

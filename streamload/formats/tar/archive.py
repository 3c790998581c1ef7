"""What one archive holds as WebDataset writes it: files of one name up to the first point are one record."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SchemaMismatchError, SourceError
from streamload.formats.naming.image_names import SUFFIXES as IMAGES
from streamload.formats.tar.field_names import field_names, short_name
from streamload.formats.tar.members import Members, TarMember
from streamload.formats.unpacking_budget import UnpackingBudget
from streamload.storage.plain_file import StoredFile

TEXTS = ("cls", "cls2", "txt", "text", "id", "idx", "index", "count", "label")
MOST_ENDINGS = 1000
"""More kinds of members are no fields: points in the names meant something else."""
MOST_ALIKE = 8
"""Fields of a record whose names differ in numbers alone, as those of several cameras do."""
RULE = "As in WebDataset, the first point of a name ends its record's key: rename files so that only .jpg and the like follow it."
MOST_NAMED = 1000
"""Members that are not taken are named up to here, and counted beyond."""
KEPT_NBYTES = 600
"""About what Python takes for the places of a member, and its name."""
POINTS_END_KEYS = "as in WebDataset, the first point of a file's name ends the name of its record"
"""How the note begins that says so."""
OF_THE_ARCHIVE = "it says something of the archive, as its folder __NAME__ tells in WebDataset"
HIDDEN = "hidden, or of the system"
"""Members that nobody means, such as what a Mac adds to archives."""
_ABOUT = re.compile(r"__[^/]*__/")
_GOES_ON = re.compile(r"[0-9]+(?![0-9]|\.[a-z.]+$)")
"""Behind a point, what goes on as a name does after a number: 5_0001.png, and not the number of a camera alone, 5.png."""
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt")


class Archive:
    """The records of one archive: where the images of each stand, and what else belongs to it."""

    def __init__(self, path: str, file: StoredFile | None = None) -> None:
        """Go through all heads of a file, and read what is small; it stays open. Without one, whoever makes it fills it in."""
        self.path = path
        self.addressable = file is None or file.addressable
        """Whether it is not compressed."""
        self.damage: SourceError | None = None
        self.keys: Sequence[str] = []
        """Of records, in the order of their first members."""
        self.places: dict[str, NDArray[np.int64]] = {}
        """By what follows the key: offset and length for each record; -1 where it has none."""
        self.values: dict[tuple[str, str], dict[int, Any]] = {}
        """Numbers, texts and what JSON holds: by what follows the key, field and record."""
        self.bad: dict[tuple[str, int], SourceError] = {}
        """Members that are there and cannot be read: why, by what follows the key, and record."""
        self.left_out: dict[str, list[str]] = {}
        """Members that are not taken, by reason; their names are kept up to MOST_NAMED."""
        self.counts: Counter[str] = Counter()
        """How many, by reason."""
        self.unread_nbytes: Counter[str] = Counter()
        """How many bytes they hold, by reason; what a link leads to counts once."""
        self._budget = None if self.addressable else UnpackingBudget(path)
        if file is None:
            return
        try:
            self._go_through(file)
        except CorruptDataError as error:
            self.damage = error

    def _go_through(self, file: StoredFile) -> None:
        records = _MetRecords(self.path, addressable=file.addressable)
        self.keys = keys = records.keys
        places: dict[str, list[tuple[int, int, int]]] = {}
        stop = 0
        try:
            for member in Members(file, self.path, lambda name: kind_of_member(key_of(name)[1]) in ("text", "json"), self.leave_out):
                if self._budget is not None:
                    self._budget.allow(member.name, member.nbytes)
                    self._budget.keep(KEPT_NBYTES + len(member.name) + len(member.data or b""))
                own, stop = member.nbytes if member.offset >= stop else 0, max(stop, member.offset + member.nbytes)
                key, name = key_of(member.name)
                if not name or kind_of_member(name) == "other":
                    self.leave_out(member.name, why_not(name) if name else why_no_record(member.name), own)
                    continue
                self._add(member, records.meet(key, name, member.name), name, places)
        finally:
            for name, found in places.items():
                self.places[name] = np.full((len(keys), 2), -1, np.int64)
                for row, offset, nbytes in found:
                    self.places[name][row] = offset, nbytes

    def has(self, name: str) -> bool:
        """Whether a record has a file of which this follows the key, and which is taken."""
        return name in self.places or any(name == one for one, _ in self.values)

    def records_with(self, name: str) -> int:
        """How many records have such a file."""
        if name in self.places:
            return int(np.count_nonzero(self.places[name][:, 0] >= 0))
        return len({row for (one, _), rows in self.values.items() if one == name for row in rows})

    def key_with(self, name: str) -> str:
        """The key of a record that has such a file."""
        if name in self.places:
            return self.keys[int(np.argmax(self.places[name][:, 0] >= 0))]
        return self.keys[next(row for (one, _), rows in self.values.items() if one == name for row in rows)]

    def leave_out(self, name: str, why: str, nbytes: int = 0) -> None:
        """Count a member that is not taken, and its bytes, and note its name."""
        self.counts[why] += 1
        self.unread_nbytes[why] += nbytes
        names = self.left_out.setdefault(why, [])
        if len(names) < MOST_NAMED:
            names.append(name)

    def _add(self, member: TarMember, row: int, name: str, places: dict[str, list[tuple[int, int, int]]]) -> None:
        if member.data is None:
            places.setdefault(name, []).append((row, member.offset, member.nbytes))
        else:
            try:
                found = small_values(name, member.data)
            except ValueError as error:
                self.bad[name, row] = CorruptDataError(f"{self.path}: {member.name} cannot be read: {error}.", path=self.path)
                return
            for field, value in found.items():
                self.values.setdefault((name, field), {})[row] = value


class _MetRecords:
    """The records of an archive whose members are being gone through, and which members of each have been met."""

    def __init__(self, path: str, *, addressable: bool) -> None:
        self.keys: list[str] = []
        """In the order of their first members."""
        self._path, self._addressable = path, addressable
        self._rows: dict[str, int] = {}
        self._met: dict[str, bytearray] = {}
        """By what follows the key: of each record, whether it has had such a member."""

    def meet(self, key: str, name: str, member: str) -> int:
        """The row of the record that a member belongs to. Raises SchemaMismatchError for one that is there twice, for one apart from the
        others of its record in an archive that is compressed, and for too many kinds of them."""
        row = self._rows.setdefault(key, len(self.keys))
        if row == len(self.keys):
            self.keys.append(key)
        elif not self._addressable and row != len(self.keys) - 1:
            raise SchemaMismatchError(
                f"{self._path} is packed, and the files of record {key!r} do not follow each other.",
                hint="Unpack it, or pack it sorted: tar --sort=name.",
                path=self._path,
            )
        had = self._met.setdefault(name, bytearray())
        if len(self._met) > MOST_ENDINGS:
            raise _too_many_endings(self._path, list(self._met))
        had.extend(bytes(max(0, row + 1 - len(had))))
        if had[row]:
            raise SchemaMismatchError(f"{self._path} holds {member!r} twice.", hint="Write it anew, each name once.", path=self._path)
        had[row] = 1
        return row


def _too_many_endings(path: str, endings: Sequence[str]) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"{path}: the names of its files end in more than {MOST_ENDINGS:,} ways after their first points, and each would be a field: "
        f".{endings[0]}, .{endings[1]}, .{endings[2]} and so on.",
        hint=RULE,
        path=path,
    )


def key_of(name: str) -> tuple[str, str]:
    """The key of a member, and the rest of its name, which says what it is; both empty where it belongs to no record."""
    folder, slash, last = name.rpartition("/")
    key, _, rest = last.partition(".")
    is_other = not key or "__MACOSX" in folder or _ABOUT.match(name)
    return ("", "") if is_other else (folder + slash + key, rest.lower())


def kind_of_member(name: str) -> str:
    """What a member holds, by what follows its key: "image", "text", "json", "npy" or "other"."""
    last = name.rpartition(".")[2]
    if "." + last in IMAGES:
        return "image"
    return "text" if last in TEXTS else last if last in ("json", "npy") else "other"


def why_no_record(name: str) -> str:
    """Why a member is of no record."""
    if name.rpartition("/")[2].startswith(".") or "__MACOSX/" in name:
        return HIDDEN
    return OF_THE_ARCHIVE if _ABOUT.match(name) else why_not("")


def why_not(name: str) -> str:
    """Why what follows a key is no field: it makes no record by itself, as a LICENSE.txt would, but not a boxes.csv."""
    if not name:
        return "no ending says what it is"
    return f".{name} is {'a pickle, which could run anything' if name.rpartition('.')[2] in PICKLES else 'not read here'}"


def small_values(name: str, data: bytes) -> dict[str, Any]:
    """Values by the names of their fields; a text by its ending."""
    if kind_of_member(name) == "text":
        return {name: data.decode().strip()}
    try:
        held = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(held, dict):
        return {short_name(name): held}
    return {str(field): value for field, value in held.items() if value is not None}


def names_of_files(archives: Sequence[Archive]) -> dict[str, str]:
    """The names of fields of members that are read when they are asked for, by what follows their keys; one field may have several."""
    files = {name for archive in archives for name in archive.places}
    return {name: field for name, field in _names(archives).items() if name in files}


def held_fields(archives: Sequence[Archive]) -> dict[tuple[str, str], str]:
    """The names of fields that are held, by where their values come from: the same for all records, whatever stands first in one."""
    of_members = _names(archives)
    found = list(dict.fromkeys(one for archive in archives for one in archive.values))
    names = {one: of_members[one[0]] for one in found if kind_of_member(one[0]) == "text"}
    taken = set(of_members.values())
    # What JSON holds besides can have a longer name.
    for source, field in sorted(one for one in found if one not in names):
        name = field
        while name in taken:
            name = source if name == short_name(source) else f"{source}.{name}"
        names[source, field] = name
        taken.add(name)
    return {one: names[one] for one in found}


def refuse_counted_endings(path: str, archives: Sequence[Archive]) -> None:
    """Raise SchemaMismatchError where what stands behind keys differs in numbers alone, more often than there are records.

    What several records have is a field of them, as those of cameras are, unless the point before it is one of a number.
    """
    records = sum(len(archive.keys) for archive in archives)
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for archive in archives for name in (*archive.places, *(name for name, _ in archive.values))):
        if "." in name and _is_counted(name, archives):
            alike.setdefault(re.sub("[0-9]+", "0", name), []).append(name)
    names = max(alike.values(), key=len, default=[])
    if len(names) > max(records, MOST_ALIKE):
        raise SchemaMismatchError(
            f"{path}: what stands behind the first points of its names differs in numbers alone ({len(names):,} times, .{names[0]}, "
            f".{names[1]} and so on), and makes {records:,} record{'s' * (records != 1)} of as many fields.",
            hint=RULE,
            path=path,
        )


def _is_counted(name: str, archives: Sequence[Archive]) -> bool:
    """Whether one record alone has what this follows the key of, or the point between them is one of a number."""
    having = [archive for archive in archives if archive.has(name)]
    if _GOES_ON.match(name) and having[0].key_with(name)[-1:].isdecimal():
        return True
    return sum(archive.records_with(name) for archive in having) == 1


def notes_on_points(archives: Sequence[Archive]) -> list[str]:
    """How a name was taken apart, where its point may have been that of a number: it ends a key too."""
    names = {name: field for (name, _), field in held_fields(archives).items()} | names_of_files(archives)
    name = next((one for one in names if "." in one and one[0].isdecimal()), None)
    if name is None:
        return []
    key = next(archive.key_with(name) for archive in archives if archive.has(name))
    return [f"{POINTS_END_KEYS}: '{key}.{name}' is the field '{names[name]}' of record '{key}'"]


def _names(archives: Sequence[Archive]) -> dict[str, str]:
    """The names of fields of all members but JSON, by what follows their keys."""
    files = dict.fromkeys(name for archive in archives for name in archive.places)
    texts = dict.fromkeys(name for archive in archives for name, _ in archive.values if kind_of_member(name) == "text")

    def meet(names: Iterable[str]) -> bool:
        wanted = set(names)
        for archive in archives:
            there = [places[:, 0] >= 0 for name, places in archive.places.items() if name in wanted]
            if len(there) > 1 and int(np.sum(there, axis=0).max(initial=0)) > 1:
                return True
        return False

    return field_names(files, texts, meet)

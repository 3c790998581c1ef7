"""WebDataset: tar archives, packed or not, in which files of one name up to the first point are one record."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SchemaMismatchError, SourceError
from streamload.formats.label_values import LabelValues, values_of
from streamload.formats.names import natural_key
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.container import Raw
from streamload.tools.convert.readers.images import MOST_FILE_NBYTES
from streamload.tools.convert.readers.images import SUFFIXES as IMAGES
from streamload.tools.convert.readers.npy_bytes import array_in
from streamload.tools.convert.readers.records import ContainerReader
from streamload.tools.convert.readers.tar import BLOCK, Members, TarMember, is_head
from streamload.tools.files.decompress import SUFFIXES as PACKED
from streamload.tools.files.decompress import StoredFile, bytes_of

SUFFIXES = (".tar", *(".tar" + packed for packed in PACKED), ".tgz", ".tzst")
TEXTS = ("cls", "cls2", "txt", "text", "id", "idx", "index", "count", "label")
NAMES = {"cls": "label"}
"""How fields are called that are called otherwise in archives."""
MOST_NAMED = 1000
"""Members that are not taken are named up to here, and counted beyond."""
KEPT_NBYTES = 1 << 28
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt")


def matches(path: str) -> bool:
    """Whether it is a tar archive, or a folder or pattern of them."""
    return bool(paths_of(path, SUFFIXES)) and _is_tar(paths_of(path, SUFFIXES)[0])


def paths_of(path: str, suffixes: Sequence[str]) -> list[str]:
    """The file itself, or the files of certain names in a folder or of a pattern, in natural order."""
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            found = [entry.path for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    else:
        found = [one for one in glob.glob(path, recursive=True) if os.path.isfile(one)] if glob.has_magic(path) else []
    return sorted((one for one in found if one.lower().endswith(tuple(suffixes))), key=natural_key)


def _is_tar(path: str) -> bool:
    try:
        file = bytes_of(path)
    except SourceError:
        return False
    try:
        head = file.read(0, BLOCK)
        # An archive without members is zeros, and so are other files: there the name must say it.
        return is_head(head) if head.strip(b"\0") else len(head) == BLOCK and path.lower().endswith(SUFFIXES)
    except SourceError:
        return path.lower().endswith(SUFFIXES)
    finally:
        file.close()


def opened(request: OpenRequest, threads: int) -> ContainerReader:
    """The records of archives."""
    return ContainerReader(WebDataset(paths_of(request.path, SUFFIXES), request), request, threads=threads)


class Archive:
    """The records of one archive: where the images of each stand, and what else belongs to it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.damage: SourceError | None = None
        self.keys: list[str] = []
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
        file = bytes_of(path)
        try:
            self._go_through(file)
        except CorruptDataError as error:
            self.damage = error
        finally:
            file.close()

    def _go_through(self, file: StoredFile) -> None:
        rows: dict[str, int] = {}
        places: dict[str, list[tuple[int, int, int]]] = {}
        seen: dict[str, bytearray] = {}
        try:
            for member in Members(file, self.path, lambda name: _kind(_split(name)[1]) in ("text", "json"), self._leave_out):
                key, name = _split(member.name)
                if not name:
                    self._leave_out(member.name, "no ending says what it is")
                    continue
                if _kind(name) == "other":
                    # It makes no record by itself: a LICENSE.txt would, but not a boxes.csv.
                    pickle = name.rpartition(".")[2] in PICKLES
                    why = "a pickle, which could run anything" if pickle else "not read here"
                    self._leave_out(member.name, f".{name} is {why}")
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
                found = _small(name, member.data)
            except ValueError as error:
                self.bad[row] = CorruptDataError(
                    f"{self.path}: {member.name} cannot be read: {error}.", hint="Leave it out with --on-bad skip.", path=self.path
                )
                return
            for field, value in found.items():
                self.values.setdefault((name, field), {})[row] = value


@lru_cache(maxsize=1024)
def _archive(path: str, nbytes: int, mtime_ns: int) -> Archive:
    """An archive that was gone through before, in this process, is not gone through again."""
    return Archive(path)


class WebDataset:
    """Records of several archives; labels are held, images are read when they are asked for."""

    format_name = "WebDataset"
    set_aside: ClassVar[dict[str, list[str]]] = {}
    notes: tuple[str, ...] = ()

    def __init__(self, paths: Sequence[str], request: OpenRequest) -> None:
        self.paths = paths
        self.title = request.path
        self.identity: list[Any] = [[os.path.realpath(path), os.path.getsize(path), os.stat(path).st_mtime_ns] for path in paths]
        archives = [_archive(*one) for one in self.identity]
        self.damage = next((one.damage for one in archives if one.damage is not None), None)
        self._archives = archives
        # The rest of a damaged archive counts as one record, which cannot be read.
        self._starts = np.cumsum([0] + [len(archive.keys) + (archive.damage is not None) for archive in archives])
        self._file: tuple[int, StoredFile] | None = None
        self._kept: dict[int, bytes] = {}
        """Of the open archive, if it is packed: members that stand in more than one record, by offset, up to KEPT_NBYTES."""
        files = [bytes_of(path) for path in paths]
        self.addressable = all(file.addressable for file in files)
        for file in files:
            file.close()
        self._images = _image_names(archives)
        pictures = [name for archive in archives for name in archive.places if _kind(name) == "image"]
        self.images = frozenset(self._images.get(name, _stem(name)) for name in pictures)
        self.classes: dict[str, list[str]] = {}
        self.left_out: dict[str, str] = {}
        self._held: dict[str, LabelValues] = {}
        self._hold(set((request.fields or {}).values()))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _found(self, number: int) -> tuple[int, int]:
        """The archive of a record, and which of its records it is."""
        at = int(np.searchsorted(self._starts, number, side="right")) - 1
        return at, number - int(self._starts[at])

    def where(self, number: int) -> str:
        """The archive and the key of a record."""
        at, row = self._found(number)
        archive = self._archives[at]
        return f"{archive.path}: {archive.keys[row]}" if row < len(archive.keys) else archive.path

    def _hold(self, wanted: set[str]) -> None:
        """Make the fields that are held: numbers and texts, and what JSON holds."""
        for source, name in self._held_names().items():
            column: list[Any] = [None] * len(self)
            for start, archive in zip(self._starts.tolist(), self._archives, strict=False):
                for row, value in archive.values.get(source, {}).items():
                    column[start + row] = value
            made = values_of(column, **({"most_classes": len(column)} if name in wanted or name == "label" else {}))
            if made.array is None:
                self.left_out[name] = made.why
                continue
            self._held[name] = made
            if made.classes is not None:
                self.classes[name] = made.classes

    @property
    def files(self) -> Sequence[str]:
        """All of them are read."""
        return self.paths

    @property
    def members_left_out(self) -> dict[str, tuple[int, list[str]]]:
        """Members that are not taken, by reason."""
        reasons = dict.fromkeys(why for archive in self._archives for why in archive.counts)
        names = {why: [name for archive in self._archives for name in archive.left_out.get(why, ())] for why in reasons}
        return {why: (sum(archive.counts[why] for archive in self._archives), names[why][:MOST_NAMED]) for why in reasons}

    def _held_names(self) -> dict[tuple[str, str], str]:
        """The names of fields that are held, by where their values come from: the same for all records, whatever stands first in one.

        Raises SchemaMismatchError where a file that is a field would have the name of another.
        """
        files = {field: names[0] for field, names in self._file_names().items()}
        found = list(dict.fromkeys(one for archive in self._archives for one in archive.values))
        names: dict[tuple[str, str], str] = {}
        # Files of texts first: what JSON holds besides can have a longer name.
        for source, field in sorted(found, key=lambda one: (_kind(one[0]) != "text", one)):
            other = files.get(field) or next((one for (one, _), name in names.items() if name == field), None)
            if other is not None and _kind(source) == "text":
                raise self._one_name(source, other, field)
            names[source, field] = field if other is None else f"{source}.{field}"
        return {one: names[one] for one in found}

    def _file_names(self) -> dict[str, list[str]]:
        """What follows the keys of files that are read when they are asked for, by the names of their fields: one in each record."""
        found: dict[str, list[str]] = {}
        for name in dict.fromkeys(name for archive in self._archives for name in archive.places):
            found.setdefault(self._images.get(name, _stem(name)), []).append(name)
        for field, names in found.items():
            for archive in self._archives if len(names) > 1 else ():
                there = [archive.places[name][:, 0] >= 0 for name in names if name in archive.places]
                if there and int(np.sum(there, axis=0).max(initial=0)) > 1:
                    raise self._one_name(*names[:2], field)
        return found

    def _one_name(self, one: str, other: str, field: str) -> SchemaMismatchError:
        return SchemaMismatchError(
            f"{self.title}: files of one key that end in .{one} and .{other} would both be the field '{field}'.",
            hint="A key goes up to the first point of a name, and what follows names the field: rename one of them.",
            path=self.title,
        )

    def named(self, number: int, stored: str) -> str:
        """The name of one thing in a record."""
        return f"{self.where(number)}: {stored}"

    def held(self, stored: str) -> NDArray[Any] | None:
        """A field of all records that is in memory."""
        values = self._held.get(stored)
        return values.array if values is not None and values.there.all() and not self.damage else None

    def begin(self, number: int, stored: str, most: int) -> bytes | None:
        """The first bytes of an image; of packed archives, which are read in order alone, nothing."""
        at, row = self._found(number)
        archive = self._archives[at]
        if not self.addressable or row >= len(archive.keys):
            return None
        for name, places in archive.places.items():
            if self._images.get(name, _stem(name)) == stored and places[row, 0] >= 0:
                return self._read(at, f"{archive.keys[row]}.{name}", int(places[row, 0]), min(most, int(places[row, 1])))
        return None

    def image_nbytes(self) -> dict[str, int]:
        """Bytes of all images, by field."""
        found: dict[str, int] = {}
        for name, places in ((name, places) for archive in self._archives for name, places in archive.places.items()):
            field = self._images.get(name, _stem(name))
            found[field] = found.get(field, 0) + int(places[places[:, 0] >= 0, 1].sum())
        return found

    def raw(self, number: int) -> Raw:
        """Images as bytes, the rest as numbers."""
        at, row = self._found(number)
        archive = self._archives[at]
        if row == len(archive.keys):
            assert archive.damage is not None
            raise archive.damage
        if row in archive.bad:
            raise archive.bad[row]
        found: dict[str, bytes | NDArray[Any]] = {}
        standing = [(name, *places[row].tolist()) for name, places in archive.places.items()]
        for name, offset, nbytes in sorted(standing, key=lambda one: one[1]):
            if offset >= 0:
                data = self._read(at, f"{archive.keys[row]}.{name}", offset, nbytes)
                found[self._images.get(name, _stem(name))] = data if _kind(name) == "image" else array_in(data, self.where(number))
        for field, held in self._held.items():
            if held.there[number] and held.array is not None:
                found[field] = held.array[number]
        return found

    def _read(self, at: int, name: str, offset: int, nbytes: int) -> bytes:
        path = self._archives[at].path
        if nbytes > MOST_FILE_NBYTES:
            raise CorruptDataError(
                f"{path}: {name} has {nbytes:,} bytes, which is no image.", hint="Leave it out with --on-bad skip.", path=path
            )
        if self._file is None or self._file[0] != at:
            self.close()  # records come archive by archive: one is open at a time
            self._file = (at, bytes_of(path))
        if offset in self._kept:
            return self._kept[offset]
        data = self._file[1].read(offset, nbytes)
        # To go back in a packed archive is to unpack it all again.
        again = offset in self._archives[at].linked and not self._file[1].addressable
        if again and sum(map(len, self._kept.values())) + nbytes <= KEPT_NBYTES:
            self._kept[offset] = data
        return data

    def close(self) -> None:
        """Let go of files."""
        if self._file is not None:
            self._file[1].close()
        self._file = None
        self._kept.clear()


def _split(name: str) -> tuple[str, str]:
    """The key of a member, and the rest of its name, which says what it is."""
    folder, slash, last = name.rpartition("/")
    key, _, rest = last.partition(".")
    return (folder + slash + key, rest.lower()) if key and "__MACOSX" not in folder else ("", "")


def _kind(name: str) -> str:
    last = name.rpartition(".")[2]
    if "." + last in IMAGES:
        return "image"
    return "text" if last in TEXTS else last if last in ("json", "npy") else "other"


def _stem(name: str) -> str:
    """The name of a field: "left" for left.jpg, "label" for cls."""
    name = name.rpartition(".")[0] or name
    return NAMES.get(name, name)


def _image_names(archives: Sequence[Archive]) -> dict[str, str]:
    """Names of fields of images: "image" where a record has one, whatever its kind; else the kinds."""
    bare = {name for archive in archives for name in archive.places if "." + name in IMAGES}
    for archive in archives:
        there = [places[:, 0] >= 0 for name, places in archive.places.items() if name in bare]
        if there and np.sum(there, axis=0).max(initial=0) > 1:
            return {}
    return dict.fromkeys(sorted(bare), "image")


def _small(name: str, data: bytes) -> dict[str, Any]:
    """Values by the names of their fields."""
    if _kind(name) == "text":
        return {_stem(name): data.decode().strip()}
    try:
        held = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(held, dict):
        return {_stem(name): held}
    return {str(field): value for field, value in held.items() if value is not None}

"""WebDataset: tar archives, packed or not, in which files of one name up to the first point are one record."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SourceError
from streamload.formats.label_values import LabelValues, labels_or_texts
from streamload.formats.names import natural_key
from streamload.formats.tar.archive import MOST_NAMED, Archive, held_fields, kind_of_member, names_of_files, notes_on_points
from streamload.formats.tar.members import BLOCK, is_head
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.container import Raw
from streamload.tools.convert.readers.images import MOST_FILE_NBYTES
from streamload.tools.convert.readers.npy_bytes import array_in
from streamload.tools.convert.readers.records import ContainerReader
from streamload.tools.files.decompress import SUFFIXES as PACKED
from streamload.tools.files.decompress import StoredFile, bytes_of

SUFFIXES = (".tar", *(".tar" + packed for packed in PACKED), ".tgz", ".tzst")
KEPT_NBYTES = 1 << 28


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


@lru_cache(maxsize=1024)
def _archive(path: str, nbytes: int, mtime_ns: int) -> Archive:
    """An archive that was gone through before, in this process, is not gone through again."""
    file = bytes_of(path)
    try:
        return Archive(path, file)
    finally:
        file.close()


class WebDataset:
    """Records of several archives; labels are held, images are read when they are asked for."""

    format_name = "WebDataset"
    set_aside: ClassVar[dict[str, list[str]]] = {}

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
        self._names = names_of_files(archives)
        self.notes = tuple(notes_on_points(archives))
        pictures = [name for archive in archives for name in archive.places if kind_of_member(name) == "image"]
        self.images = frozenset(self._names[name] for name in pictures)
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
        for source, name in held_fields(self._archives).items():
            column: list[Any] = [None] * len(self)
            for start, archive in zip(self._starts.tolist(), self._archives, strict=False):
                for row, value in archive.values.get(source, {}).items():
                    column[start + row] = value
            made = labels_or_texts(column, as_classes=True if name == "label" else None)
            if made.array is None and made.texts is None:
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
            if self._names[name] == stored and places[row, 0] >= 0:
                return self._read(at, f"{archive.keys[row]}.{name}", int(places[row, 0]), min(most, int(places[row, 1])))
        return None

    def image_nbytes(self) -> dict[str, int]:
        """Bytes of all images, by field."""
        found: dict[str, int] = {}
        for name, places in ((name, places) for archive in self._archives for name, places in archive.places.items()):
            field = self._names[name]
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
                is_image = kind_of_member(name) == "image"
                found[self._names[name]] = data if is_image else array_in(data, self.where(number))
        for field, held in self._held.items():
            if held.there[number] and held.array is not None:
                found[field] = held.array[number]
            elif held.texts is not None and (text := held.texts[number]) is not None:
                found[field] = text.encode()
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

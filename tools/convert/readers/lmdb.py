"""LMDB databases: keys, and images as they were encoded; what is pickled, or packed by other libraries, is refused by its name."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from streamload.errors import CorruptDataError, SourceError
from streamload.formats.label_values import LabelValues, labels_or_texts
from streamload.formats.lmdb.pages import LmdbPages, ValuePlace
from streamload.formats.lmdb.records import COUNTS, IMAGES, NUMBERED
from streamload.formats.lmdb.values import as_text, identified, key_text
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.container import Raw
from streamload.tools.convert.readers.images import kind_of
from streamload.tools.convert.readers.records import ContainerReader

DATA = "data.mdb"
MAGIC = b"\xde\xc0\xef\xbe"
"""At byte 16 of a database that was written on a machine like this one."""
_LOOKED_AT = 64


def matches(path: str) -> bool:
    """Whether it is a database, or the folder of one."""
    path = os.path.join(path, DATA) if os.path.isdir(path) else path
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return False
    return head[16:20] == MAGIC


def opened(request: OpenRequest, threads: int) -> ContainerReader:
    """The records of a database."""
    return ContainerReader(LmdbImages(request), request, threads=threads)


class LmdbImages:
    """Encoded images by key. Other values of a record are those of keys with the same number; a label is also the folder in a key."""

    format_name = "LMDB"
    addressable = True
    set_aside: ClassVar[dict[str, list[str]]] = {}
    notes: tuple[str, ...] = ()

    def __init__(self, request: OpenRequest) -> None:
        self.title = request.path
        self._data = os.path.join(request.path, DATA) if os.path.isdir(request.path) else request.path
        self.paths = [self._data]
        self.classes: dict[str, list[str]] = {}
        self.left_out: dict[str, str] = {}
        self.members_left_out: dict[str, tuple[int, list[str]]] = {}
        self.damage: SourceError | None = None
        self._held: dict[str, LabelValues] = {}
        self._pages = LmdbPages(self._data)
        try:
            self._look(set((request.fields or {}).values()))
        except BaseException:
            self.close()
            raise

    def _look(self, wanted: set[str]) -> None:
        """Make records of keys: all keys of a number, where most have one and some are images, else each by itself."""
        places = dict(self._pages.entries())
        self._leave_out("a database of its own", [key for key, place in places.items() if place is None])
        found = {key: place for key, place in places.items() if place is not None and key not in COUNTS}
        numbered = {key: match for key in found if (match := NUMBERED.fullmatch(key))}
        prefixes = Counter(match[1].decode() for match in numbered.values())
        if any(name in prefixes for name in IMAGES) and 2 * len(numbered) > len(found):
            others = [key for key in found if key not in numbered]
            self._leave_out("a key without the number of a record", others)
            self._by_number(found, numbered, wanted)
        else:
            self._by_key(found, wanted)

    def _leave_out(self, why: str, keys: Sequence[bytes]) -> None:
        if keys:
            self.members_left_out[why] = (len(keys), [key_text(key) for key in keys[:_LOOKED_AT]])

    def _by_number(self, found: dict[bytes, ValuePlace], numbered: dict[bytes, re.Match[bytes]], wanted: set[str]) -> None:
        """A record for each number, in the order of their images; a field for each beginning of keys."""
        stored: dict[str, dict[bytes, ValuePlace]] = {}
        for key, match in numbered.items():
            stored.setdefault(match[1].decode(), {})[match[2]] = found[key]
        if {"image", "img"} <= stored.keys():
            names = {name: name for name in stored}
        else:
            names = {name: IMAGES.get(name, name) for name in stored}
        first = next(name for name in stored if name in IMAGES)
        numbers = list(dict.fromkeys([*stored[first], *(number for one in stored.values() for number in one)]))
        self._titles = [first.encode() + number for number in numbers]
        self._places = {names[name]: [one.get(number) for number in numbers] for name, one in stored.items()}
        self.images = frozenset(names[name] for name in stored if name in IMAGES)
        for name in [name for name in self._places if name not in self.images]:
            self._settle(name, wanted)
        for name in sorted(self.images):
            self._refuse_others(name)

    def _settle(self, name: str, wanted: set[str]) -> None:
        """What a field beside the images is: images too, or texts, which are held; others are left out, and why is said."""
        places = self._places[name]
        first = [self._pages.read(place) for place in places[:_LOOKED_AT] if place is not None]
        if any(kind_of(value) for value in first):
            self.images |= {name}
            return
        texts = [None if place is None else as_text(self._pages.read(place)) for place in places]
        del self._places[name]
        if all(text is None for text in texts):
            self.left_out[name] = identified(first[0])[1] if first else "nothing in the first records"
            return
        self._hold(name, texts, wanted)

    def _by_key(self, found: dict[bytes, ValuePlace], wanted: set[str]) -> None:
        """A record for each key; the folders in them are labels."""
        self._titles = list(found)
        self._places = {"image": list(found.values())}
        self.images = frozenset(("image",))
        self._refuse_others("image")
        folders = [key.rpartition(b"/")[0].rpartition(b"/")[2] for key in found]
        labels = [folder.decode("utf-8", "surrogateescape") or None for folder in folders]
        # The folder of all of them is no label.
        if len(set(labels)) > 1:
            self._hold("label", labels, wanted)

    def _hold(self, name: str, values: Sequence[str | None], wanted: set[str]) -> None:
        made = labels_or_texts(values, as_classes=True if name == "label" else None)
        if made.array is None and made.texts is None:
            self.left_out[name] = made.why
            return
        self._held[name] = made
        if made.classes is not None:
            self.classes[name] = made.classes

    def _refuse_others(self, name: str) -> None:
        """Raise where the first values are not images."""
        values = [b"" if place is None else self._pages.read(place) for place in self._places[name][:_LOOKED_AT]]
        if not values or any(kind_of(value) for value in values):
            return
        kind, what, hint = identified(values[0])
        raise kind(f"{self.title}: the value of {self._titles[0][:80]!r} is {what}.", hint=hint, path=self.title)

    @property
    def files(self) -> Sequence[str]:
        """All of them are read."""
        return self.paths

    def __len__(self) -> int:
        return len(self._titles)

    @property
    def identity(self) -> list[Any]:
        """Size and time of the file."""
        status = os.stat(self._data)
        return [[os.path.realpath(self._data), status.st_size, status.st_mtime_ns]]

    def where(self, number: int) -> str:
        """The database, and the key of the record."""
        return f"{self.title}: {key_text(self._titles[number])}"

    def named(self, number: int, stored: str) -> str:
        """The name of one thing in a record."""
        return f"{self.where(number)}: {stored}"

    def begin(self, number: int, stored: str, most: int) -> bytes | None:
        """The first bytes of an image."""
        place = self._places[stored][number] if stored in self._places else None
        return None if place is None else self._pages.read(place._replace(nbytes=min(most, place.nbytes)))

    def image_nbytes(self) -> dict[str, int]:
        """Bytes of all images, by field."""
        return {name: sum(place.nbytes for place in places if place is not None) for name, places in self._places.items()}

    def held(self, stored: str) -> NDArray[Any] | None:
        """A field of all records that is in memory."""
        values = self._held.get(stored)
        return values.array if values is not None and values.there.all() else None

    def raw(self, number: int) -> Raw:
        """Images as bytes, and what is held."""
        found: dict[str, bytes | NDArray[Any]] = {}
        for name, places in self._places.items():
            place = places[number]
            if place is None:
                continue
            value = self._pages.read(place)
            if kind_of(value) is None:
                what = identified(value)[1]
                raise CorruptDataError(
                    f"{self.where(number)} is {what}, and no image.", hint="Leave it out with --on-bad skip.", path=self.title
                )
            found[name] = value
        for name, held in self._held.items():
            if held.array is not None and held.there[number]:
                found[name] = held.array[number]
            elif held.texts is not None and (text := held.texts[number]) is not None:
                found[name] = text.encode()
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._pages.close()

"""LMDB databases: keys, and images as they were encoded; what is pickled, or packed by other libraries, is refused by its name."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SourceError, UnsafeSourceError, UnsupportedFeatureError
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.container import Raw
from streamload.tools.convert.readers.images import kind_of
from streamload.tools.convert.readers.labels import LabelValues, values_of
from streamload.tools.convert.readers.records import ContainerReader

DATA = "data.mdb"
MAGIC = b"\xde\xc0\xef\xbe"
"""At byte 16 of a database that was written on a machine like this one."""
_NUMBERED = re.compile(rb"(image|img)-?([0-9]+)")
LABELLED = {b"image": b"label", b"img": b"label"}
COUNTS = (b"num-samples", b"num_samples", b"length", b"__len__", b"__keys__", b"classnames", b"meta")
"""Keys that stand beside records and are none."""
_LOOKED_AT = 64
_OPEN: dict[str, tuple[Any, int]] = {}
"""Databases that are open, and for how many: the library allows each only once in a process."""
_LOCK = threading.Lock()


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
    """Encoded images by key. Labels are those that keys say: the folder in them, or a second key with the same number."""

    format_name = "LMDB"
    addressable = True
    images = frozenset(("image",))
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
        self._labels: LabelValues | None = None
        self._environment = _environment(self._data)
        self._closed = False
        try:
            self._look(set((request.fields or {}).values()))
        except BaseException:
            self.close()
            raise

    def _look(self, wanted: set[str]) -> None:
        keys = list(self._keys())
        numbered = [key for key in keys if _NUMBERED.fullmatch(key)]
        labels: list[Any]
        if numbered and len(numbered) >= len(keys) // 2 - len(COUNTS):
            self._records = numbered
            beside = [self._label_key(key) for key in numbered]
            labels = [self._text(key) for key in beside]
            others = sorted(set(keys) - {*numbered, *beside, *COUNTS})
            if others:
                named = [key.decode("utf-8", "backslashreplace")[:200] for key in others[:_LOOKED_AT]]
                self.members_left_out = {"a key of no image, nor of a label": (len(others), named)}
        else:
            self._records = [key for key in keys if key not in COUNTS]
            folders = [key.rpartition(b"/")[0].rpartition(b"/")[2] for key in self._records]
            labels = [folder.decode("utf-8", "surrogateescape") or None for folder in folders]
            # The folder of all of them is no label.
            labels = labels if len(set(labels)) > 1 else []
        self._refuse_others()
        if any(label is not None for label in labels):
            self._labels = values_of(labels, **({"most_classes": len(labels)} if "label" in wanted else {}))
            if self._labels.array is None:
                self.left_out["label"] = self._labels.why
            elif self._labels.classes is not None:
                self.classes["label"] = self._labels.classes

    def _keys(self) -> Iterator[bytes]:
        with self._reading() as transaction, transaction.cursor() as cursor:
            yield from cursor.iternext(keys=True, values=False)

    def _reading(self) -> Any:
        return self._environment.begin(buffers=False)

    def _value(self, key: bytes) -> bytes | None:
        import lmdb

        try:
            with self._reading() as transaction:
                found = transaction.get(key)
        except lmdb.Error as error:
            raise CorruptDataError(f"{self.title}: {key!r} cannot be read: {error}.", hint="Fetch it again.", path=self.title) from error
        return None if found is None else bytes(found)

    @staticmethod
    def _label_key(key: bytes) -> bytes:
        name = _NUMBERED.fullmatch(key)
        assert name is not None
        return LABELLED[name[1]] + key[len(name[1]) :]

    def _text(self, key: bytes) -> str | None:
        """A label as text; what is no text is none, and refused when its record is taken."""
        value = self._value(key)
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError:
            return None

    def _refuse_others(self) -> None:
        """Raise where the values are not images."""
        values = [self._value(key) or b"" for key in self._records[:_LOOKED_AT]]
        if not values or any(kind_of(value) for value in values):
            return
        kind, what, hint = _identified(values[0])
        raise kind(f"{self.title}: the value of {self._records[0][:80]!r} is {what}.", hint=hint, path=self.title)

    @property
    def files(self) -> Sequence[str]:
        """All of them are read."""
        return self.paths

    def __len__(self) -> int:
        return len(self._records)

    @property
    def identity(self) -> list[Any]:
        """Size and time of the file."""
        status = os.stat(self._data)
        return [[os.path.realpath(self._data), status.st_size, status.st_mtime_ns]]

    def where(self, number: int) -> str:
        """The database, and the key of the record."""
        return f"{self.title}: {self._records[number].decode('utf-8', 'backslashreplace')[:200]}"

    def named(self, number: int, stored: str) -> str:
        """The name of one thing in a record."""
        return f"{self.where(number)}: {stored}"

    def begin(self, number: int, stored: str, most: int) -> bytes | None:
        """Of a database, which gives out whole values, what it maps."""
        value = self._value(self._records[number]) if stored == "image" else None
        return None if value is None else value[:most]

    def image_nbytes(self) -> dict[str, int]:
        """Not known: nothing but the records themselves says it."""
        return {}

    def held(self, stored: str) -> NDArray[Any] | None:
        """A field of all records that is in memory."""
        labels = self._labels
        return labels.array if stored == "label" and labels is not None and labels.there.all() else None

    def raw(self, number: int) -> Raw:
        """The image as bytes, and the label."""
        value = self._value(self._records[number])
        if value is None or kind_of(value) is None:
            _, what, _ = _identified(value or b"")
            raise CorruptDataError(
                f"{self.where(number)} is {what}, and no image.", hint="Leave it out with --on-bad skip.", path=self.title
            )
        found: dict[str, bytes | NDArray[Any]] = {"image": value}
        labels = self._labels
        if labels is not None and labels.array is not None and labels.there[number]:
            found["label"] = labels.array[number]
        return found

    def close(self) -> None:
        """Let go of the database."""
        if not self._closed:
            self._closed = True
            _let_go(self._data)


def _environment(path: str) -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise ConfigError(f"{path} is an LMDB database, and lmdb is not installed.", hint="pip install 'streamload[lmdb]'") from error
    with _LOCK:
        if path not in _OPEN:
            try:
                # Without its lock file: nothing is written, not even beside it.
                made = lmdb.open(path, subdir=False, readonly=True, lock=False, readahead=False, create=False, max_readers=1)
            except lmdb.Error as error:
                raise CorruptDataError(f"{path} cannot be opened as an LMDB database: {error}.", hint="Is it whole?", path=path) from error
            _OPEN[path] = (made, 0)
        _OPEN[path] = (_OPEN[path][0], _OPEN[path][1] + 1)
        return _OPEN[path][0]


def _let_go(path: str) -> None:
    with _LOCK:
        environment, users = _OPEN[path]
        _OPEN[path] = (environment, users - 1)
        if users == 1:
            del _OPEN[path]
            environment.close()


def _identified(value: bytes) -> tuple[type[SourceError], str, str]:
    """What a value is that is no image, and what to do."""
    if len(value) > 2 and value[0] == 0x80 and value[1] in (2, 3, 4, 5) and value.endswith(b"."):
        return UnsafeSourceError, "a pickle, which could run anything", "Save the arrays as HDF5 where you trust it."
    if value[:1] == b"\x08" and b"\x18" in value[:12]:
        return UnsupportedFeatureError, "a Datum of Caffe", "Save its images as they are encoded, or the arrays as HDF5."
    if value[:1] and (value[0] & 0xF0 in (0x80, 0x90) or value[0] in (0xDC, 0xDE)):
        return UnsupportedFeatureError, "an object of MessagePack", "Save its images as they are encoded."
    if value.startswith(b"ARROW1") or value[:4] == b"\xff\xff\xff\xff":
        return UnsupportedFeatureError, "an object of Arrow", "Save its images as they are encoded."
    start = value[:8].hex(" ") or "nothing"
    return UnsupportedFeatureError, f"of a kind that is not known here: it begins with {start}", "Images as they are encoded are read."

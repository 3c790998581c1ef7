"""TFRecord files of `tf.train.Example` messages: every length and every record is checked against its checksum."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ChecksumError, CorruptDataError, SourceError
from streamload.formats.label_values import MOST_CLASSES
from streamload.formats.names import natural_key
from streamload.formats.tfrecord.example import features_of
from streamload.formats.tfrecord.framing import HEAD, TAIL, masked
from streamload.kernels import checksum_kernels, crc32c_plain
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.container import Raw
from streamload.tools.convert.readers.records import ContainerReader
from streamload.tools.files.decompress import SUFFIXES as PACKED
from streamload.tools.files.decompress import StoredFile, bytes_of

SUFFIXES = tuple(end + packed for end in (".tfrecord", ".tfrecords", ".tfrec") for packed in ("", *PACKED))
_SHARD = re.compile(r"-[0-9]+-of-[0-9]+$")
_FETCH = "Fetch it again; --on-bad skip takes what is whole."


def matches(path: str) -> bool:
    """Whether it is a file of records with the right checksum of its first length, or a folder or pattern of such files."""
    found = _paths(path)
    return bool(found) and _is_tfrecord(found[0])


def _paths(path: str) -> list[str]:
    """Files by their names: with the usual endings, or numbered as TensorFlow does it, without any."""
    found = paths_of(path, SUFFIXES)
    return found or [one for one in paths_of(path, ("",)) if _SHARD.search(os.path.basename(one))]


def _is_tfrecord(path: str) -> bool:
    try:
        file = bytes_of(path)
    except SourceError:
        return False
    try:
        head = file.read(0, HEAD.size)
    except SourceError:
        head = b""
    finally:
        file.close()
    if len(head) < HEAD.size:
        return path.lower().endswith(SUFFIXES)
    # Eight bytes: not worth the compiler.
    return masked(crc32c_plain.crc32c(head[:8])) == HEAD.unpack(head)[1] or path.lower().endswith(SUFFIXES)


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


def opened(request: OpenRequest, threads: int) -> ContainerReader:
    """The records of TFRecord files."""
    return ContainerReader(TFRecords(_paths(request.path), request), request, threads=threads)


class Framed:
    """Where the records of one file stand, as far as their lengths can be believed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.damage: SourceError | None = None
        checksum = checksum_kernels().crc32c
        places: list[tuple[int, int]] = []
        file = bytes_of(path)
        try:
            at = 0
            while head := file.read(at, HEAD.size):
                name = f"{path}: record {len(places):,} at byte {at:,}"
                if len(head) < HEAD.size:
                    raise CorruptDataError(f"{name} is cut short: {len(head)} bytes are there.", hint=_FETCH, path=path)
                nbytes, said = HEAD.unpack(head)
                if masked(checksum(head[:8])) != said:
                    raise ChecksumError(f"{name}: the checksum of its length is wrong.", hint=_FETCH, path=path)
                end = at + HEAD.size + nbytes + TAIL.size
                if not file.read(end - 1, 1):
                    raise CorruptDataError(
                        f"{name} is cut short: it has {nbytes:,} bytes, and the file ends before.", hint=_FETCH, path=path
                    )
                places.append((at + HEAD.size, nbytes))
                at = end
        except CorruptDataError as error:
            self.damage = error
        finally:
            file.close()
        self.places = np.array(places, np.int64).reshape(-1, 2)


@lru_cache(maxsize=4096)
def _framed(path: str, nbytes: int, mtime_ns: int) -> Framed:
    """A file that was gone through before, in this process, is not gone through again."""
    return Framed(path)


class TFRecords:
    """Records of several files; nothing is held but where they stand."""

    format_name = "TFRecord"
    images: frozenset[str] = frozenset()
    set_aside: ClassVar[dict[str, list[str]]] = {}
    notes: tuple[str, ...] = ()
    members_left_out: ClassVar[dict[str, tuple[int, list[str]]]] = {}

    def __init__(self, paths: Sequence[str], request: OpenRequest) -> None:
        self.paths = paths
        self.title = request.path
        self.identity: list[Any] = [[os.path.realpath(path), os.path.getsize(path), os.stat(path).st_mtime_ns] for path in paths]
        self._files = [_framed(*one) for one in self.identity]
        self.damage = next((one.damage for one in self._files if one.damage is not None), None)
        # The rest of a damaged file counts as one record, which cannot be read.
        self._starts = np.cumsum([0] + [len(one.places) + (one.damage is not None) for one in self._files])
        self._open: tuple[int, StoredFile] | None = None
        self._checksum = checksum_kernels().crc32c
        self.addressable = True
        for path in paths:
            file = bytes_of(path)
            self.addressable &= file.addressable
            file.close()
        self.left_out: dict[str, str] = {}
        self.classes: dict[str, list[str]] = {}
        self._numbers: dict[str, dict[str, int]] = {}
        for name in (request.fields or {}).values():
            self._number_texts(name)

    @property
    def files(self) -> Sequence[str]:
        """All of them are read."""
        return self.paths

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _found(self, number: int) -> tuple[int, int]:
        at = int(np.searchsorted(self._starts, number, side="right")) - 1
        return at, number - int(self._starts[at])

    def where(self, number: int) -> str:
        """The file, and the number of the record in it."""
        at, row = self._found(number)
        return f"{self.paths[at]}: record {row:,}"

    def named(self, number: int, stored: str) -> str:
        """The name of one thing in a record."""
        return f"{self.where(number)}: {stored}"

    def begin(self, number: int, stored: str, most: int) -> bytes | None:
        """Nothing: a record is read and checked whole."""
        return None

    def image_nbytes(self) -> dict[str, int]:
        """Not known: nothing but the records themselves says it."""
        return {}

    def held(self, stored: str) -> NDArray[Any] | None:
        """A field of all records that is in memory."""
        return None

    def raw(self, number: int) -> Raw:
        """The features of a record: bytes, and numbers."""
        found: dict[str, bytes | NDArray[Any]] = {}
        for name, feature in self._features(number).items():
            if name in self.classes:
                text = _text(feature)
                if text is not None:
                    found[name] = np.int64(self._numbers[name][text])
            elif isinstance(feature, list):
                if len(feature) == 1:
                    found[name] = feature[0]
                elif feature:
                    self.left_out[name] = "lists of bytes"
            elif len(feature):
                found[name] = feature[0] if len(feature) == 1 else feature
        return found

    def _features(self, number: int) -> dict[str, Any]:
        at, row = self._found(number)
        file = self._files[at]
        if row == len(file.places):
            assert file.damage is not None
            raise file.damage
        if self._open is None or self._open[0] != at:
            self.close()
            self._open = (at, bytes_of(file.path))
        offset, nbytes = file.places[row].tolist()
        data = self._open[1].read(offset, nbytes + TAIL.size)
        if len(data) != nbytes + TAIL.size or masked(self._checksum(memoryview(data)[:nbytes])) != TAIL.unpack(data[nbytes:])[0]:
            raise ChecksumError(f"{self.where(number)}: its checksum is wrong.", hint=_FETCH, path=file.path)
        try:
            return features_of(data[:nbytes])
        except ValueError as error:
            raise CorruptDataError(
                f"{self.where(number)} is no tf.train.Example that can be read: {error}.", hint="Only those are known here.", path=file.path
            ) from error

    def _number_texts(self, name: str) -> None:
        """Make classes of a feature that holds texts which repeat, each twice on average, or is called label.

        All records must be read for that, so it is done only where the feature was asked for.
        """
        texts: set[str] = set()
        count = 0
        for number in range(len(self)):
            try:
                feature = self._features(number).get(name)
            except SourceError:
                continue  # its turn comes when it is taken
            text = _text(feature)
            if feature is not None and text is None:
                return
            texts |= {text} if text is not None else set()
            count += text is not None
        if texts and (name.rpartition("/")[2] == "label" or len(texts) <= min(MOST_CLASSES, count // 2)):
            self.classes[name] = sorted(texts)
            self._numbers[name] = {text: number for number, text in enumerate(self.classes[name])}

    def close(self) -> None:
        """Let go of the file."""
        if self._open is not None:
            self._open[1].close()
        self._open = None


def _text(feature: Any) -> str | None:
    """The one text of a feature; None where it holds anything else."""
    if not isinstance(feature, list) or len(feature) != 1:
        return None
    try:
        text = str(feature[0].decode())
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None

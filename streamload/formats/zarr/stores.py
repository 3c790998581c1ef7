"""Where the files of a store lie: in a folder, or as members of a zip file. Links are followed within the store, and no further."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self

from streamload.errors import SourceError, UnsafeSourceError, UnsupportedFeatureError, damaged
from streamload.formats.zarr.marks import MARKS
from streamload.sizes import format_nbytes
from streamload.storage.files import Fingerprint, fingerprint, identity_of, regular_file, system_failure

MOST_METADATA_NBYTES = 16 * 1024**2
"""Of one file that describes an array."""
MOST_MEMBERS = 10_000_000
NO_CHUNKS = frozenset((*MARKS, ".zattrs", ".zmetadata"))
LOCAL_HEAD_NBYTES = 30
"""What stands before the name of a member in a zip file."""


class Stored(NamedTuple):
    """Some bytes of a store."""

    number: int
    """The file, as an index into the store's `files`."""
    offset: int
    nbytes: int


class Store(Protocol):
    """The files of one store by key, which has "/" between its parts, and none at its ends."""

    path: str
    """As it was named."""
    files: list[Fingerprint]
    """All that were found so far."""

    def read(self, key: str) -> bytes | None:
        """What describes an array or a group; None where there is no such key."""
        ...

    def below(self, prefix: str) -> list[str]:
        """The names of what lies below a group, one part of the key each."""
        ...

    def beside(self, prefix: str) -> list[str]:
        """The names of the files in a group that are no part of it; hidden ones are nobody's data."""
        ...

    def chunks(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        """Everything below an array but what describes it, by the rest of the key."""
        ...

    def folder(self, key: str) -> str | None:
        """The folder in which files of an array lie, and more may be added; None where nothing can be added."""
        ...

    def close(self) -> None:
        """Let go of handles."""
        ...


def open_store(path: str) -> Store:
    """The store at a path."""
    return FolderStore(path) if os.path.isdir(path) else ZipStore(path)


def _is_beside(name: str) -> bool:
    """Whether a file of a group is none that describes it, and not hidden."""
    return name not in NO_CHUNKS and not name.startswith(".")


class FolderStore:
    """A folder, each key a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.files: list[Fingerprint] = []
        self._root = os.path.realpath(path)

    def read(self, key: str) -> bytes | None:
        """What describes an array or a group."""
        name = self._resolved(os.path.join(self._root, key))
        if not os.path.isfile(name):
            return None
        try:
            was = fingerprint(name)
            if was.nbytes > MOST_METADATA_NBYTES:
                raise damaged(f"{name} takes {format_nbytes(was.nbytes)}, and should describe an array.", path=name)
            with open(name, "rb", opener=regular_file) as file:
                data = file.read(MOST_METADATA_NBYTES)
        except OSError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{name} cannot be read: {error.strerror}.", hint="Check its permissions and the disk.", path=name) from error
        self.files.append(was)
        return data

    def below(self, prefix: str) -> list[str]:
        """The names of the folders in a group."""
        with os.scandir(self._resolved(os.path.join(self._root, prefix))) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def beside(self, prefix: str) -> list[str]:
        """The names of files in a group that describe nothing."""
        with os.scandir(self._resolved(os.path.join(self._root, prefix))) as entries:
            return sorted(entry.name for entry in entries if _is_beside(entry.name) and not entry.is_dir())

    def chunks(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        """The files of an array, in folders or not."""
        waiting, seen = [(self._resolved(os.path.join(self._root, prefix)), "")], set[str]()
        while waiting:
            folder, before = waiting.pop()
            if folder in seen:
                continue
            seen.add(folder)
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = self._resolved(entry.path) if entry.is_symlink() else entry.path
                    if entry.is_dir():
                        waiting.append((path, f"{before}{entry.name}/"))
                    elif before or entry.name not in NO_CHUNKS:
                        status = entry.stat()
                        self.files.append(Fingerprint(path, *identity_of(status)))
                        yield before + entry.name, Stored(len(self.files) - 1, 0, status.st_size)

    def folder(self, key: str) -> str | None:
        """Where it lies."""
        return self._resolved(os.path.join(self._root, key))

    def close(self) -> None:
        """Nothing is held."""

    def _resolved(self, path: str) -> str:
        """Where a path leads. Raises UnsafeSourceError where that is outside of the store."""
        real = os.path.realpath(path)
        if real != self._root and not real.startswith(os.path.join(self._root, "")):
            raise UnsafeSourceError(
                f"{path} leads out of the store, to {real}: links are followed within a store, and no further.",
                hint="Put what it leads to into the store, or open that by itself.",
                path=path,
            )
        return real


class ZipStore:
    """A zip file, each key a member that is stored as it is: read at its offset in the file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.files = [fingerprint(path)]
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
            failure = system_failure(path, error)
            raise failure or damaged(f"{path} cannot be opened as a Zarr store: {error}.", path=path) from error
        self._members = {name: one for name, one in self._archive.NameToInfo.items() if not name.endswith("/")}

    def __enter__(self) -> Self:
        return self

    def read(self, key: str) -> bytes | None:
        """What describes an array or a group."""
        member = self._members.get(key)
        if member is None:
            return None
        try:
            if member.file_size > MOST_METADATA_NBYTES:
                raise zipfile.BadZipFile(f"{key} takes {format_nbytes(member.file_size)}")
            return self._archive.read(member)
        except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
            failure = system_failure(self.path, error)
            raise failure or damaged(f"{self.path}: {key} cannot be read: {error}.", path=self.path) from error

    def below(self, prefix: str) -> list[str]:
        """The names of the folders in a group."""
        before = f"{prefix}/" if prefix else ""
        inside = (name[len(before) :] for name in self._members if name.startswith(before))
        return sorted({rest.partition("/")[0] for rest in inside if "/" in rest})

    def beside(self, prefix: str) -> list[str]:
        """The names of members in a group that describe nothing."""
        before = f"{prefix}/" if prefix else ""
        inside = (name[len(before) :] for name in self._members if name.startswith(before))
        return sorted(rest for rest in inside if "/" not in rest and _is_beside(rest))

    def chunks(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        """The members of an array."""
        before = f"{prefix}/" if prefix else ""
        for name, member in self._members.items():
            rest = name[len(before) :]
            if name.startswith(before) and rest not in NO_CHUNKS:
                yield rest, self._place(name, member)

    def folder(self, key: str) -> str | None:
        """None: the file itself would change."""
        return None

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def _place(self, name: str, member: zipfile.ZipInfo) -> Stored:
        """Where a member's bytes begin: behind its own head, whose length only it says."""
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise UnsupportedFeatureError(
                f"{self.path}: {name} is compressed or encrypted by the zip file, and can only be read from its beginning.",
                hint="Unpack it: the folder is a store too. Or zip it without compression.",
                path=self.path,
            )
        file = self._archive.fp
        assert file is not None
        file.seek(member.header_offset)
        head = file.read(LOCAL_HEAD_NBYTES)
        begin = member.header_offset + LOCAL_HEAD_NBYTES
        if len(head) == LOCAL_HEAD_NBYTES and head[:4] == b"PK\x03\x04":
            begin += sum(struct.unpack("<HH", head[26:]))
            if begin + member.file_size <= self.files[0].nbytes and member.file_size == member.compress_size:
                return Stored(0, begin, member.file_size)
        raise damaged(f"{self.path}: {name} is cut short, or does not begin where it should.", path=self.path)

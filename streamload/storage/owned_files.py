"""The one place where files are created, replaced and deleted.

1. A folder that a user names is opened once, wherever links lead. From then on it is held, and what stands in it is reached
   through its descriptor: a link that is put in its place leads nowhere.
2. Below it no link is followed, neither to create nor to replace nor to delete: of a link, the link itself is meant.
3. Deleted or replaced is only what this run made, or what it has claimed: names that a manifest, a mark or a pattern of ours
   says are ours, or that the user has asked to replace.
4. A file gets its name whole, or not at all.

Where a system has no such descriptors, a folder is looked at before each step: it must still be the same one, and no link.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, BinaryIO

from streamload.errors import UnsafeSourceError
from streamload.storage.renaming import EXCHANGING, WITHOUT_REPLACING, renamed

BY_DESCRIPTOR = {os.open, os.mkdir, os.unlink, os.rmdir, os.rename, os.stat} <= os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether names can be looked up in a folder that is held open."""
_CLOSED_IN_CHILDREN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
IN_MEMORY = "/dev/shm"  # files in it are in memory, on Linux
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK | _CLOSED_IN_CHILDREN
_READ = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | _CLOSED_IN_CHILDREN
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOSED_IN_CHILDREN
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Folder:
    """A folder that is held open; a context manager. Names are those of entries in it, never paths."""

    def __init__(self, path: str, fd: int, status: os.stat_result) -> None:
        self.path = path
        """Where it was when it was opened, links resolved: to be read, and to be told."""
        self.fd = fd
        """Its descriptor; -1 where the system has none for folders."""
        self.inode = status.st_ino
        self._same: tuple[int, int] | None = status.st_dev, status.st_ino
        """None once it is closed."""
        self._ours: set[str] = set()

    @classmethod
    def named(cls, path: str | os.PathLike[str], *, make: int | None = None) -> Folder:
        """The folder at a path of the user's, wherever links lead; with `make`, a mode, it is made where there is none."""
        whole = os.path.realpath(path)
        if make is not None:
            os.makedirs(whole, mode=make, exist_ok=True)
        return cls._opened(whole, whole, None)

    @classmethod
    def _opened(cls, path: str, place: str, within: int | None) -> Folder:
        if BY_DESCRIPTOR:
            fd = os.open(place, _FOLDER | _NO_LINK, dir_fd=within)
            return cls(path, fd, os.fstat(fd))
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return cls(path, -1, status)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        self._same = None

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            os.close(self.fd)

    def _at(self, name: str) -> tuple[str, int | None]:
        """How the system is told of an entry."""
        if os.path.basename(name) != name or name in ("", ".", ".."):
            raise ValueError(f"{name!r} is no name of an entry")
        if self._same is None:
            raise ValueError(f"{self.path} is closed")
        if self.fd >= 0:
            return name, self.fd
        status = os.lstat(self.path)
        if (status.st_dev, status.st_ino) != self._same:
            raise UnsafeSourceError(
                f"{self.path} was replaced while files were written to it.", hint="See who else writes there.", path=self.path
            )
        return os.path.join(self.path, name), None

    def path_of(self, name: str) -> str:
        """The path of an entry, to be read or told."""
        return os.path.join(self.path, name)

    def held_path(self, name: str) -> str:
        """A path for libraries of this process that take nothing else: it leads to this very folder, whatever is renamed."""
        held = f"/proc/self/fd/{self.fd}"
        return f"{held}/{name}" if self.fd >= 0 and os.path.isdir(held) else self.path_of(name)

    def folder(self, name: str) -> Folder:
        """The folder of this name in it. Raises OSError for a link or a file."""
        place, within = self._at(name)
        return self._opened(self.path_of(name), place, within)

    def make_folder(self, name: str, *, mode: int = 0o700) -> bool:
        """Make a folder in it; whether there was none."""
        place, within = self._at(name)
        try:
            os.mkdir(place, mode, dir_fd=within)
        except FileExistsError:
            return False
        self._ours.add(name)
        return True

    def names(self) -> list[str]:
        """The names of all entries, in order."""
        if self.fd < 0:
            self._at("x")
        return sorted(os.listdir(self.fd if self.fd >= 0 else self.path))

    def status(self, name: str) -> os.stat_result | None:
        """What the system says of an entry, of a link of the link itself; None where there is none."""
        place, within = self._at(name)
        try:
            return os.stat(place, dir_fd=within, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def claim(self, *names: str) -> None:
        """Say that entries may be replaced and deleted: a manifest of ours names them, or the user has asked for it."""
        self._ours.update(names)

    def create(self, name: str, *, mode: int = 0o666) -> int:
        """A descriptor of a new file, to be written and read. Raises FileExistsError where anything has this name, a link too."""
        place, within = self._at(name)
        fd = os.open(place, _NEW, mode, dir_fd=within)
        self._ours.add(name)
        return fd

    def open(self, name: str) -> BinaryIO:
        """An entry, to be read. Raises OSError for a link, and for all that is no file."""
        place, within = self._at(name)
        if not _NO_LINK and os.path.islink(place):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), place)
        fd = os.open(place, _READ, dir_fd=within)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is no file", self.path_of(name))
        return os.fdopen(fd, "rb")

    def write(self, name: str, *pieces: bytes | memoryview, mode: int = 0o666, lasting: bool = True) -> None:
        """Give a name to a whole file: written beside it, made to last through a power cut if that is asked for, and renamed."""
        half = f".{name}.tmp-{os.getpid()}-{os.urandom(4).hex()}"
        fd = self.create(half, mode=mode)
        try:
            with os.fdopen(fd, "wb") as file:
                file.writelines(pieces)
                file.flush()
                if lasting:
                    os.fsync(file.fileno())
            self.move(half, name)
        except BaseException:
            self.delete(half)
            raise

    def move(self, name: str, new: str, into: Folder | None = None) -> None:
        """Rename an entry; one of the new name is replaced if it is ours. Raises FileExistsError if it is not."""
        into = into or self
        (here, within), (there, beyond) = self._at(name), into._at(new)
        if new in into._ours:
            os.replace(here, there, src_dir_fd=within, dst_dir_fd=beyond)
        elif not renamed(here, within, there, beyond, WITHOUT_REPLACING):
            if into.status(new) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), into.path_of(new))
            os.rename(here, there, src_dir_fd=within, dst_dir_fd=beyond)
        self._ours.discard(name)
        into._ours.add(new)

    def exchange(self, name: str, other: str, beyond: Folder) -> None:
        """Swap two names at once, so that neither is ever missing; one after the other where the kernel cannot.

        The other must be ours, and is then so here.
        """
        self._require_ours(name)
        beyond._require_ours(other)
        (here, within), (there, outside) = self._at(name), beyond._at(other)
        if renamed(here, within, there, outside, EXCHANGING):
            return
        aside = f"{name}.old"
        beyond.move(other, aside, self)
        self.move(name, other, beyond)
        self.move(aside, name)

    def delete(self, name: str) -> None:
        """Delete a file, or a link, of ours; nothing where there is none. Raises OSError for a folder."""
        self._require_ours(name)
        place, within = self._at(name)
        try:
            os.unlink(place, dir_fd=within)
        except FileNotFoundError:
            pass

    def delete_folder(self, name: str) -> bool:
        """Delete a folder of ours, if it is empty; whether it is gone."""
        self._require_ours(name)
        place, within = self._at(name)
        try:
            os.rmdir(place, dir_fd=within)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    def _require_ours(self, name: str) -> None:
        if name not in self._ours:
            raise UnsafeSourceError(
                f"{self.path_of(name)} was not made by this program.", hint="Look at it, and move it away.", path=self.path_of(name)
            )

    def refresh(self, name: str) -> None:
        """Set the times of an entry to now, of a link those of the link."""
        place, within = self._at(name)
        if os.utime in os.supports_follow_symlinks:
            os.utime(place, dir_fd=within, follow_symlinks=False)
        else:
            os.utime(place)

    def set_mode(self, name: str, mode: int) -> None:
        """Say who may read and write a file or a folder; nothing for a link."""
        place, within = self._at(name)
        fd = os.open(place, _READ, dir_fd=within)
        try:
            os.chmod(fd if os.chmod in os.supports_fd else place, mode)
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Make the names in it last through a power cut."""
        if self.fd >= 0:
            os.fsync(self.fd)

    def is_private(self) -> bool:
        """Whether it belongs to the user of this process, and nobody else may write to it."""
        return is_private(os.fstat(self.fd) if self.fd >= 0 else os.lstat(self.path))

    def is_like_ours(self, other: Folder) -> bool:
        """Whether a folder has the owner that new files of ours get here: some shares say another user than that of this process."""
        if other.is_private():
            return True
        name = f".streamload-probe-{os.getpid()}-{os.urandom(4).hex()}"
        fd = self.create(name, mode=0o600)
        try:
            ours, theirs = os.fstat(fd), os.stat(other.fd if other.fd >= 0 else other.path)
        finally:
            os.close(fd)
            self.delete(name)
        return ours.st_uid == theirs.st_uid and not theirs.st_mode & _OTHERS_WRITE & ~ours.st_mode


def is_private(status: os.stat_result) -> bool:
    """Whether what has this status belongs to the user of this process, and nobody else may write to it."""
    return not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE)


def cache_folder(name: str) -> Folder | None:
    """A folder in the user's cache folder, or in `$STREAMLOAD_CACHE_DIR`; None where it cannot be made, or is not the user's alone."""
    root = _cache_root()
    if root is None:
        return None
    try:
        with Folder.named(root, make=0o700) as whole:
            whole.make_folder(name)
            found = whole.folder(name)
    except OSError:
        return None
    if found.is_private():
        return found
    found.close()
    return None


def _cache_root() -> str | None:
    """Where the cache folder is to be; None where this user has no home: a `~` that stands for nothing would be a folder of that name."""
    asked = os.environ.get("STREAMLOAD_CACHE_DIR")
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):  # As XDG wants it.
        caches = "~/.cache"
    root = os.path.expanduser(asked or os.path.join(caches, "streamload"))
    return None if root.startswith("~") else root


def replace_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A new file, to be written and read, in a folder that this run holds or made; one of an earlier try, or a link, is deleted."""
    folder, name = os.path.split(os.fspath(path))
    with Folder.named(folder or ".") as whole:
        whole.claim(name)
        whole.delete(name)
        return os.fdopen(whole.create(name), "w+b")


def create_file(path: str | os.PathLike[str], *, mode: int = 0o666) -> int:
    """A descriptor of a file that was not there, to be written and read. Raises FileExistsError."""
    return os.open(path, _NEW, mode)


def write_report(path: str | os.PathLike[str], data: bytes) -> None:
    """Write what a user asked for to the path that the user named, which may be a link: the file that it leads to is replaced whole.

    What is no file, such as a terminal or a pipe, is written to.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "r+b", buffering=0) as stream:
            stream.write(data)
        return
    folder, name = os.path.split(os.path.realpath(path))
    with Folder.named(folder) as whole:
        whole.claim(name)
        whole.write(name, data)


def anonymous_file(folder: str | None = None) -> IO[bytes]:
    """A file without a name, in a folder or where temporary files are, else in memory; it goes when it is closed."""
    try:
        return tempfile.TemporaryFile(dir=folder)
    except FileNotFoundError:  # no folder for temporary files can be written to
        if folder is not None:
            raise
        return os.fdopen(os.memfd_create("streamload", os.MFD_CLOEXEC), "w+b")


@contextmanager
def temporary_folder(prefix: str, within: str | os.PathLike[str] | None = None) -> Generator[str]:
    """A new folder that only this user can look into, gone afterwards with all that is in it; FileNotFoundError where there can be none."""
    try:
        made = tempfile.mkdtemp(prefix=prefix, dir=within)
    except FileNotFoundError:  # none for temporary files can be written to
        if within is not None or not os.access(IN_MEMORY, os.W_OK):
            raise
        made = tempfile.mkdtemp(prefix=prefix, dir=IN_MEMORY)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)  # which follows no link, either


@contextmanager
def finished_file(path: str | os.PathLike[str]) -> Generator[str]:
    """Where a library may create a file, which gets its name when all was well, in place of one that has it, and is gone otherwise."""
    folder, name = os.path.split(os.fspath(path))
    with Folder.named(folder or ".") as whole:
        half = f".{name}.tmp-{os.getpid()}-{os.urandom(4).hex()}"
        whole.claim(half, name)
        try:
            yield whole.path_of(half)
            whole.move(half, name)
        except BaseException:
            whole.delete(half)
            raise


@contextmanager
def finished_folder(path: str | os.PathLike[str]) -> Generator[str]:
    """A new folder that gets its name when all was well, and is gone otherwise. Raises FileExistsError where there is one already."""
    parent, name = os.path.split(os.path.abspath(path))
    with Folder.named(parent) as whole, temporary_folder(f".{name}-", whole.path) as made:
        yield made
        os.chmod(made, 0o755)
        whole.claim(os.path.basename(made))
        whole.move(os.path.basename(made), name)


@contextmanager
def scratch_file(prefix: str) -> Generator[tuple[int, str]]:
    """A new file whose path begins so, gone afterwards: its descriptor, to be written and read, and its path."""
    fd, path = tempfile.mkstemp(prefix=os.path.basename(prefix) + "-", dir=os.path.dirname(prefix) or ".")
    try:
        yield fd, path
    finally:
        os.close(fd)
        os.unlink(path)

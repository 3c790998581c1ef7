"""Data files as the kernel knows them: fingerprints, descriptors, mappings, and the proof that nothing changed."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from streamload.errors import ConfigError, CorruptDataError, SourceChangedError, SourceError, damaged
from streamload.sizes import format_nbytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_DESCRIPTORS = 256
"""Files that one process keeps open at a time; the least recently used is closed first."""
SHARE_OF_LIMIT = 4
"""Of the descriptors that the system allows a process, a quarter: a file whose reads pass the page cache has two, and more is opened."""


def most_descriptors(sources: int = 1) -> int:
    """Files that one process keeps open of each of so many sources: within MOST_DESCRIPTORS in all, and what the system allows."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except ImportError:
        return max(1, MOST_DESCRIPTORS // sources)
    most = MOST_DESCRIPTORS if limit == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, limit // SHARE_OF_LIMIT)
    return max(1, most // sources)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One file at one moment: the same five values mean the same bytes."""

    path: str
    """Absolute, links resolved."""
    device: int
    inode: int
    nbytes: int
    mtime_ns: int

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """What `os.stat` must still say for the bytes to be the same."""
        return self.device, self.inode, self.nbytes, self.mtime_ns


def mtime_of(status: os.stat_result) -> int:
    """Time of change in ns as 64 bits with a sign hold it: a date beyond the year 2262 wraps round, and tells files apart as well."""
    mtime_ns = status.st_mtime_ns
    return mtime_ns if -(2**63) <= mtime_ns < 2**63 else (mtime_ns + 2**63) % 2**64 - 2**63


def identity_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """The part of `os.stat` that a fingerprint compares."""
    return status.st_dev, status.st_ino, status.st_size, mtime_of(status)


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """The fingerprint of a regular file.

    Raises SourceError when it is missing or cannot be looked at, ConfigError when it is not a regular file, and
    CorruptDataError when it is empty.
    """
    name = os.fspath(path)
    try:
        real = os.path.realpath(name, strict=True)
        status = os.stat(real)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and os.path.islink(name):
            what = f"{name} is a link to {os.path.realpath(name)}, which does not exist."
            raise SourceError(what, hint="Check where it is to lead.", path=name) from error
        raise SourceError(f"{name} cannot be opened: {error.strerror}.", hint="Check the path and its permissions.", path=name) from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ConfigError(f"{name} is {kind}, where a data file was expected.", hint="Name the data file itself.", path=name)
    if status.st_size == 0:
        raise CorruptDataError(f"{name} is empty (0 bytes).", hint="Was the download or the copy interrupted? Fetch it again.", path=name)
    return Fingerprint(real, *identity_of(status))


def changed(was: Fingerprint, status: os.stat_result) -> SourceChangedError:
    """The error for a file that no longer is what it was when it was opened."""
    if (status.st_dev, status.st_ino) != (was.device, was.inode):
        what = "was replaced by another file"
    elif status.st_size < was.nbytes:
        what = f"shrank from {was.nbytes:,} to {status.st_size:,} bytes"
    elif status.st_size > was.nbytes:
        what = f"grew from {was.nbytes:,} to {status.st_size:,} bytes"
    else:
        what = "was written to"
    return SourceChangedError(
        f"{was.path} {what} after it was opened.",
        hint="Leave data files alone while they are read; open the source again to read the new contents.",
        path=was.path,
    )


def recheck(was: Fingerprint) -> None:
    """Raise SourceChangedError unless the path still leads to the same bytes."""
    try:
        status = os.stat(was.path)
    except OSError as error:
        raise SourceChangedError(
            f"{was.path} is gone: {error.strerror}.", hint="Put the file back, and open the source again.", path=was.path
        ) from error
    # Field by field: this runs once a step and file.
    if mtime_of(status) != was.mtime_ns or status.st_size != was.nbytes or status.st_ino != was.inode or status.st_dev != was.device:
        raise changed(was, status)


def open_unchanged(was: Fingerprint) -> int:
    """A read-only descriptor of a file, to be closed. Raises SourceChangedError unless it is what its fingerprint says."""
    try:
        fd = os.open(was.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        recheck(was)
        raise
    except OSError as error:
        raise SourceError(
            f"{was.path} cannot be opened: {error.strerror}.", hint="Check its permissions and `ulimit -n`.", path=was.path
        ) from error
    status = os.fstat(fd)
    if identity_of(status) != was.identity:
        os.close(fd)
        raise changed(was, status)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise damaged(f"{was.path} is not a regular file, where a data file was expected.", path=was.path)
    return fd


def regular_file(path: str, flags: int = os.O_RDONLY) -> int:
    """A read-only descriptor of a regular file, whatever `flags` say: the `opener` of Python's own `open`. No pipe is waited for.

    Raises OSError for what is something else, as for what cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ENXIO, "Not a regular file", path)
    return fd


class Closing(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let go of handles."""
        ...


Beside = TypeVar("Beside", bound=Closing)


class OpenFiles:
    """The files of a source in one process, by number: opened on first use, and verified after every run of reads.

    Not shared between processes or threads. `descriptor` and `address` note the file as touched; `verify` then proves
    that nothing which was read since the last call can have come from other bytes.
    """

    def __init__(self, fingerprints: Sequence[Fingerprint], *, limit: int | None = None, direct: bool = False) -> None:
        self.fingerprints = fingerprints
        self._limit = most_descriptors() if limit is None else limit
        self._past_cache = direct
        self._descriptors: OrderedDict[int, int] = OrderedDict()
        self._direct: dict[int, int] = {}
        self._maps: dict[int, Mapping] = {}
        self._touched: set[int] = set()
        self._opened: dict[int, Fingerprint] = {}
        """Of files that are open: a table of very many makes each anew when it is asked."""
        self._beside: dict[str, Closing] = {}

    def beside(self, what: str, make: Callable[[], Beside]) -> Beside:
        """What a format keeps open of these files by other means, such as a library's own handles: made when it is first asked
        for, shared by all readers, and closed with the files."""
        if what not in self._beside:
            self._beside[what] = make()
        return cast("Beside", self._beside[what])

    def descriptor(self, number: int, *, reads: bool = True) -> int:
        """A read-only descriptor of file `number`, checked against its fingerprint when it is opened; `reads` says whether bytes that
        are delivered will come from it."""
        if reads:
            self._touched.add(number)
        if number in self._descriptors:
            if len(self.fingerprints) > 1:
                self._descriptors.move_to_end(number)
            return self._descriptors[number]
        was = self.fingerprints[number]
        fd = self._descriptors[number] = open_unchanged(was)
        self._opened[number] = was
        if len(self._descriptors) > self._limit:
            oldest, old = self._descriptors.popitem(last=False)
            os.close(old)
            if oldest in self._direct:
                os.close(self._direct.pop(oldest))
            closed = self._opened.pop(oldest)
            if oldest != number and oldest in self._touched:
                recheck(closed)
            self._touched.discard(oldest)
        return fd

    @property
    def past_cache(self) -> bool:
        """Whether large reads are to pass the page cache by."""
        return self._past_cache

    def direct(self, number: int) -> int | None:
        """A descriptor of file `number` whose reads pass the page cache by, where that is wanted and the file system can."""
        if not self._past_cache:
            return None
        fd = self.descriptor(number)
        if number not in self._direct:
            try:
                # The same inode, whatever the path leads to by now: what was checked when it was opened still holds.
                self._direct[number] = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
            except (OSError, AttributeError):
                self._past_cache = False
                return None
        return self._direct[number]

    def map(self, number: int) -> Mapping:
        """Map file `number` whole, read-only, or return the mapping that exists."""
        if number not in self._maps:
            self._maps[number] = Mapping(self.descriptor(number), self.fingerprints[number].nbytes)
        return self._maps[number]

    def address(self, number: int) -> int | None:
        """Where file `number` is mapped, if all of it is mapped and present; else None."""
        mapping = self._maps.get(number)
        if mapping is None or not mapping.populated:
            return None
        self._touched.add(number)
        return mapping.address

    def bytes_at(self, number: int, offset: int, nbytes: int) -> NDArray[np.uint8] | None:
        """So many bytes of file `number`, read-only, if all of it is mapped and present, and has them; else None."""
        mapping = self._maps.get(number)
        if mapping is None or not mapping.populated or offset < 0 or nbytes < 0 or offset + nbytes > mapping.nbytes:
            return None
        self._touched.add(number)
        return mapping.bytes[offset : offset + nbytes]

    def verify(self) -> None:
        """Raise SourceChangedError if a file touched since the last call is not what its fingerprint says."""
        # A descriptor was checked when it was opened; if the path still leads to that inode, size and time, so does it.
        for number in self._touched:
            recheck(self._opened.get(number) or self.fingerprints[number])
        self._touched.clear()

    def close(self) -> None:
        """Close every descriptor and mapping. The object may be used again: files are then opened anew."""
        for one in self._beside.values():
            one.close()
        self._beside.clear()
        for mapping in self._maps.values():
            mapping.close()
        self._maps.clear()
        for numbered in (self._descriptors, self._direct):
            while numbered:  # Forgotten before it is closed: an interrupted call is followed by another.
                os.close(numbered.popitem()[1])
        self._opened.clear()
        self._touched.clear()

    def __del__(self) -> None:
        if hasattr(self, "_touched"):
            self.close()


class Mapping:
    """A whole file, mapped read-only, made present a stretch at a time."""

    STRETCH_NBYTES = 32 * 1024**2
    """How much one call of `populate` brings in: a few milliseconds where the page cache holds it."""

    def __init__(self, fd: int, nbytes: int) -> None:
        import numpy as np

        self._map = (
            mmap.mmap(fd, nbytes, prot=mmap.PROT_READ) if hasattr(mmap, "PROT_READ") else mmap.mmap(fd, nbytes, access=mmap.ACCESS_READ)
        )
        self.bytes = np.frombuffer(self._map, np.uint8)
        """All of it, read-only."""
        self.address: int = self.bytes.ctypes.data
        self.nbytes = nbytes
        self._present = 0

    @property
    def populated(self) -> bool:
        """Whether every page has been made present once."""
        return self._present >= self.nbytes

    def populate(self) -> bool:
        """Make the next stretch present, if the page cache holds most of it; False if it does not.

        SIGBUS follows if the file has shrunk: only workers do this.
        """
        populate_read = getattr(mmap, "MADV_POPULATE_READ", 22)
        stop = min(self._present + self.STRETCH_NBYTES, self.nbytes)
        if not self._cached(self._present, stop):
            return False
        try:
            self._map.madvise(populate_read, self._present, stop - self._present)
        except OSError:
            self.bytes[self._present : stop : mmap.PAGESIZE].sum()
        self._present = stop
        if self.populated and hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)
        return True

    def _cached(self, start: int, stop: int) -> bool:
        """Whether the page cache holds most pages of [start, stop); True where the system cannot tell."""
        pages = -(-(stop - start) // mmap.PAGESIZE)
        there = (ctypes.c_ubyte * pages)()
        try:
            if ctypes.CDLL(None).mincore(ctypes.c_void_p(self.address + start), ctypes.c_size_t(stop - start), there) != 0:
                return True
        except (AttributeError, OSError, TypeError):
            return True
        return bytes(there).count(0) <= pages // 2

    def close(self) -> None:
        """Unmap, unless an array still looks at the mapping; it then goes with the array."""
        del self.bytes
        try:
            self._map.close()
        except BufferError:
            pass


def short_read(was: Fingerprint, offset: int, nbytes: int) -> SourceError:
    """The error for bytes that should be in a file and could not be read there."""
    recheck(was)
    return damaged(f"{was.path} ends before {format_nbytes(nbytes)} at offset {offset:,} (it has {was.nbytes:,} bytes).", path=was.path)


def unreadable(was: Fingerprint, name: str | None, offset: int, nbytes: int, error: OSError) -> SourceError:
    """The error for bytes, of a field if it has a name, that the system could not read."""
    of = "" if name is None else f" of '{name}'"
    return SourceError(
        f"{was.path}: reading {nbytes:,} bytes{of} at offset {offset:,} failed: {error.strerror}.",
        hint="Check the disk and the system log; a copy of the file on another disk may help.",
        path=was.path,
        dataset=name,
        errno=error.errno,
    )


def system_failure(path: str, error: BaseException) -> SourceError | None:
    """The error for a file that the system could not open or read; None where a library found that its bytes are wrong.

    Libraries have no number of the system in errors of their own; that of a wrong argument stands for a place that no file has,
    which only bytes that are wrong name.
    """
    if not isinstance(error, OSError) or error.errno in (None, 0, errno.EINVAL):
        return None
    what = f"{path} cannot be read: {os.strerror(error.errno)}."
    return SourceError(what, hint="Check its permissions, the disk and `ulimit -n`.", path=path, errno=error.errno)


def is_cached(fd: int, offset: int) -> bool:
    """Whether the page cache holds the byte at `offset`; False where the system cannot tell."""
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except (OSError, AttributeError):
        return False

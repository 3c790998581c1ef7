"""Shared memory without a name: nothing that could be left behind, whoever is killed."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ResourceError
from streamload.memory.forks import Piece, keep_for_children
from streamload.memory.mapping_ahead import AheadMapping
from streamload.sizes import format_nbytes
from streamload.storage.owned_files import anonymous_file

ALIGNMENT = 64
"""Arrays begin on cache lines."""
_TAKEN_NBYTES = 1 << 23
"""Bytes that are taken at a time: a signal makes the system begin anew with those that it is at."""
_FIRST_NBYTES = 1 << 24
"""Bytes that are mapped when memory is made; must be whole pages."""
_TEXT_NBYTES = 1 << 16
"""What is read of a process's last words."""


def aligned(nbytes: int, to: int = ALIGNMENT) -> int:
    """`nbytes` rounded up to a multiple of `to`."""
    return -(-nbytes // to) * to


class SharedBlock:
    """A stretch of anonymous memory that a descriptor can hand to other processes.

    The memory lives until the last process has unmapped it and closed its descriptor. `bytes` is the whole stretch as an
    array; arrays made from it keep this process's mapping alive, also after `close`.
    """

    _mapping: AheadMapping | None = None
    _map: mmap.mmap | None = None
    _purpose = ""

    def __init__(self, fd: int, nbytes: int, *, writable: bool = True) -> None:
        """`fd` is this block's to close, unless mapping it fails."""
        self.fd = -1
        """The descriptor; -1 once it is closed."""
        self._map_file(fd, nbytes, writable=writable)
        self.fd = fd

    def _map_file(self, fd: int, nbytes: int, *, writable: bool) -> None:
        self.nbytes = nbytes
        if hasattr(mmap, "PROT_WRITE"):
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._map = mmap.mmap(fd, max(nbytes, 1), prot=protection)
        else:
            self._map = mmap.mmap(fd, max(nbytes, 1), access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)[:nbytes]
        self.address: int = self.bytes.ctypes.data

    @classmethod
    def create(cls, nbytes: int, *, purpose: str, at_once: int | None = None) -> SharedBlock:
        """New memory, zeroed and really there. Raises ResourceError, naming `purpose`, when there is not enough.

        Where only the first `at_once` bytes are taken at once, the others are once `await_present` has returned. What lies in a
        file system, which may be full, is taken at once all the same.
        """
        block = cls.__new__(cls)
        block.fd, block._purpose = -1, purpose
        try:
            block.fd = _anonymous_file()  # The block's own at once: whatever is interrupted from here on, it is closed with it.
        except OSError as error:
            raise _no_descriptor(purpose, error) from error
        try:
            os.ftruncate(block.fd, max(nbytes, 1))
            block._map_file(block.fd, nbytes, writable=True)
            later = at_once is not None and _is_unlimited(block.fd)
            block._make_present(min(aligned(at_once, mmap.PAGESIZE), nbytes) if at_once is not None and later else nbytes)
            return block
        except (OSError, ValueError) as error:
            block.close()
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):  # A mapping holds a descriptor of its own.
                raise _no_descriptor(purpose, cast(OSError, error)) from error
            raise _no_memory(purpose, nbytes, error) from error

    @property
    def mapping(self) -> mmap.mmap:
        """The mapping that arrays of this memory keep alive. There is none after `close`."""
        assert self._map is not None
        return self._map

    def keep_from_forks(self) -> None:
        """A forked child of this process does not get the mapping: it must not watch it change."""
        self._advise("MADV_DONTFORK")

    def keep_for_forks(self, lent: Callable[[], Iterable[Piece]] | None = None) -> None:
        """A forked child finds private copies of what is lent of the memory (of all of it, where nobody says), and zeros elsewhere.

        `lent` must not refer to this block.
        """
        if self._map is not None:
            nbytes = self.nbytes
            keep_for_children(self._map, self.address, nbytes, lent or (lambda: [(0, nbytes)]))

    def _make_present(self, at_once: int) -> None:
        """Take pages now, and have the others taken: not having one when it is touched would be a SIGBUS.

        They are zeroed and mapped as well, those beyond the first by a thread: taking costs 0.7 ms a MB, the rest as much again,
        and left to who touches a page first it would cost three times that. Huge pages were tried: 4 times as long to get, and
        no faster to fill or read.
        """
        if self._map is None or not self.nbytes:
            return
        try:
            for start in range(0, at_once, _TAKEN_NBYTES):
                os.posix_fallocate(self.fd, start, min(_TAKEN_NBYTES, at_once - start))
        except AttributeError:
            self.bytes[:] = 0
            return
        first = min(_FIRST_NBYTES, at_once)
        try:
            self._map.madvise(getattr(mmap, "MADV_POPULATE_WRITE", 23), 0, first)
        except (OSError, ValueError):  # Pages are mapped as they are touched.
            first = self.nbytes
        if first < self.nbytes or at_once < self.nbytes:
            self._mapping = AheadMapping(self.fd, self._map, self.address, self.nbytes, taken=at_once, populated=first)

    def take(self, places: Iterable[int]) -> None:
        """Take the pages of these bytes before the rest. Raises ResourceError when there is not enough."""
        try:
            for place in places:
                os.posix_fallocate(self.fd, place, 1)
        except AttributeError:
            return
        except OSError as error:
            raise _no_memory(self._purpose, self.nbytes, error) from error

    def await_present(self, stop: int | None = None) -> None:
        """Wait until the first `stop` bytes, or all of them, are really there. Raises ResourceError when there is not enough memory."""
        if self._mapping is None:
            return
        try:
            self._mapping.await_taken(self.nbytes if stop is None else min(stop, self.nbytes))
        except OSError as error:
            raise _no_memory(self._purpose, self.nbytes, error) from error

    def _advise(self, name: str) -> None:
        advice = getattr(mmap, name, None)
        if advice is not None and self._map is not None and self.nbytes >= mmap.PAGESIZE:
            try:
                self._map.madvise(advice)
            except OSError:
                pass  # Advice that a kernel does not know is advice not needed.

    def close(self) -> None:
        """Close the descriptor, and unmap as soon as no array looks at the memory."""
        if self._mapping is not None:
            self._mapping.close()
            self._mapping = None
        fd, self.fd = self.fd, -1  # First: were this interrupted behind the call, another file could have the number by the next.
        if fd >= 0:
            os.close(fd)
        self.bytes = np.empty(0, np.uint8)
        self._map = None

    def __del__(self) -> None:
        if getattr(self, "fd", -1) < 0:
            return
        if self._mapping is not None:
            self._mapping.leave_descriptor()  # A thread may be using it: were it closed, the next file would get its number.
        else:
            os.close(self.fd)


class AnonymousFile:
    """A file without a name, for a few lines that another process may write before it dies."""

    def __init__(self) -> None:
        try:
            self.fd = _anonymous_file()
        except OSError as error:
            raise ResourceError(
                f"no descriptor for a worker's last words: {error.strerror}.",
                hint="Raise `ulimit -n`, or lower num_workers.",
                errno=error.errno,
            ) from error

    def text(self) -> str:
        """What was written, or the end of it; nothing once it is closed."""
        if self.fd < 0:
            return ""
        return os.pread(self.fd, _TEXT_NBYTES, max(0, os.fstat(self.fd).st_size - _TEXT_NBYTES)).decode(errors="replace")

    def close(self) -> None:
        """Let go of the file."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            self.close()


def _is_unlimited(fd: int) -> bool:
    """Whether a file is in memory that belongs to no file system of a size of its own."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:")
    except OSError:
        return False


def _no_memory(purpose: str, nbytes: int, error: Exception) -> ResourceError:
    return ResourceError(
        f"{purpose} needs {format_nbytes(nbytes)} of memory, and the system does not give it: {error}.",
        hint="Lower `memory=`, or free memory on this machine.",
        errno=getattr(error, "errno", None) or errno.ENOMEM,
        needed_nbytes=nbytes,
    )


def _no_descriptor(purpose: str, error: OSError) -> ResourceError:
    return ResourceError(
        f"no descriptor for {purpose}: {error.strerror}.",
        hint="Close other files or loaders, or raise `ulimit -n`.",
        errno=error.errno,
    )


def _anonymous_file() -> int:
    """A descriptor of an empty file that has no name: in memory, or where that cannot be, an unlinked temporary file."""
    if hasattr(os, "memfd_create"):
        try:
            # Python looks for interrupts behind a call, where the number would be lost, and not while it unpacks.
            [fd] = map(os.memfd_create, ("streamload",), (os.MFD_CLOEXEC,))
            return fd
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
    in_memory = "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None
    with anonymous_file(in_memory) as file:
        return os.dup(file.fileno())

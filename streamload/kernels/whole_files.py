"""Files that are read whole, compiled: a few calls of the system each, and nothing made in Python. Little-endian Linux has it."""

# pyright: basic, reportCallIssue=false
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# A cached kernel calls functions of this module only, as numba does not notice when another module changes: `identities` has
# what calls statx, and puts a device together, once more. A change here is one there.
_open = types.ExternalFunction("open", types.int32(types.voidptr, types.int32))
_close = types.ExternalFunction("close", types.int32(types.int32))
_pread = types.ExternalFunction("pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64))
_statx = types.ExternalFunction("statx", types.int32(types.int32, types.voidptr, types.int32, types.uint32, types.voidptr))
_advise = types.ExternalFunction("posix_fadvise", types.int32(types.int32, types.int64, types.int64, types.int32))
_FLAGS = 0o2004000  # O_RDONLY | O_CLOEXEC | O_NONBLOCK
_WILL_NEED = 3
_EMPTY_PATH, _WANTED = 0x1000, 0x7FF  # AT_EMPTY_PATH, STATX_BASIC_STATS
_STATX_NBYTES = 256


@intrinsic
def _pointer(typing_context, address):
    """An integer address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@njit(nogil=True, cache=True)
def _is_still(fd, known, room):
    """Whether an open file has the device, inode, size and time of change that are known of it."""
    room[_STATX_NBYTES // 8] = 0  # An empty path.
    if _statx(fd, _pointer(room.ctypes.data + _STATX_NBYTES), _EMPTY_PATH, _WANTED, _pointer(room.ctypes.data)) != 0:
        return False
    # struct statx, of fixed layout: inode in bytes 32:40, size 40:48, time of change 112:124, device 136:144.
    major, minor = room[17] & np.uint64(0xFFFFFFFF), room[17] >> np.uint64(32)
    device = ((major & np.uint64(0xFFFFF000)) << np.uint64(32)) | ((major & np.uint64(0xFFF)) << np.uint64(8))
    device |= ((minor & np.uint64(0xFFFFFF00)) << np.uint64(12)) | (minor & np.uint64(0xFF))
    time = np.int64(room[14]) * 1_000_000_000 + np.int64(room[15] & np.uint64(0xFFFFFFFF))
    return np.int64(device) == known[0] and np.int64(room[4]) == known[1] and np.int64(room[5]) == known[2] and time == known[3]


@njit(["int64(int64, int64[::1], int64[:,::1], int64, int64[::1])"], nogil=True, cache=True)
def _read(address, starts, known, out_address, places):
    room = np.zeros(_STATX_NBYTES // 8 + 1, np.uint64)
    for k in range(known.shape[0]):
        fd = _open(_pointer(address + starts[k]), _FLAGS)
        if fd < 0:
            return k
        done, nbytes = np.int64(0), known[k, 2]
        good = _is_still(fd, known[k], room)
        while good and done < nbytes:
            got = _pread(fd, _pointer(out_address + places[k] + done), np.uintp(nbytes - done), done)
            good = got > 0
            done += got
        good = good and _is_still(fd, known[k], room)
        _close(fd)
        if not good:
            return k
    return -1


@njit(["void(int64, int64[::1])"], nogil=True, cache=True)
def _begin(address, starts):
    for k in range(starts.size):
        fd = _open(_pointer(address + starts[k]), _FLAGS)
        if fd >= 0:
            _advise(fd, 0, 0, _WILL_NEED)
            _close(fd)


def read_files(paths: bytes, starts: NDArray[np.int64], known: NDArray[np.int64], out: NDArray[np.uint8], places: NDArray[np.int64]) -> int:
    """Read all of the file that `paths[starts[k]:]` calls, up to a zero, into `out[places[k]:]`; -1, or the first k that failed.

    `known` has device, inode, size and time of change in ns of each, shape (files, 4), inodes as the bits of unsigned numbers:
    a file that is not that, before and after, has failed. `out` is of bytes, has room for all, and is C-contiguous.
    """
    return _read(np.frombuffer(paths, np.uint8).ctypes.data, starts, known, out.ctypes.data, places)


def begin_reading(paths: bytes, starts: NDArray[np.int64]) -> None:
    """Ask the kernel to begin reading the files that `paths[starts[k]:]` calls, up to a zero, as far as they can be opened."""
    _begin(np.frombuffer(paths, np.uint8).ctypes.data, starts)

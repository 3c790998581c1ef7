"""Files that are read whole, compiled: a few calls of the system each, and nothing made in Python. Little-endian Linux has it."""

# pyright: basic, reportCallIssue=false
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# A cached kernel calls functions of this module only, as numba does not notice when another module changes: `identities` has
# what calls statx, and puts a device together, once more. A change here is one there.
_open = types.ExternalFunction("open", types.int32(types.voidptr, types.int32))
_close = types.ExternalFunction("close", types.int32(types.int32))
_pread = types.ExternalFunction("pread", types.intp(types.int32, types.voidptr, types.uintp, types.int64))
_preadv2 = types.ExternalFunction("preadv2", types.intp(types.int32, types.voidptr, types.int32, types.int64, types.int32))
_memcpy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))
_statx = types.ExternalFunction("statx", types.int32(types.int32, types.voidptr, types.int32, types.uint32, types.voidptr))
_advise = types.ExternalFunction("posix_fadvise", types.int32(types.int32, types.int64, types.int64, types.int32))
_FLAGS = 0o2004000  # O_RDONLY | O_CLOEXEC | O_NONBLOCK
_WILL_NEED = 3
_NOT_WAITING = 8  # RWF_NOWAIT
_EMPTY_PATH, _WANTED = 0x1000, 0x7FF  # AT_EMPTY_PATH, STATX_BASIC_STATS
_STATX_NBYTES = 256

# Addresses, in the order of the fields of `FileArrays`; behind them the number of folders, whether sizes have four bytes, and whether each
# file has a device of its own.
_FOLDERS, _FOLDER_PLACES, _FOLDER_STARTS, _NAMES, _NAME_STARTS, _DEVICES, _INODES, _SIZES, _TIMES, _COUNT, _NARROW, _APART = range(12)


class FileArrays(NamedTuple):
    """Very many files as arrays, all contiguous; what `FileTable` has, its folders as bytes."""

    folders: NDArray[np.uint8]
    """Paths of folders one after the other, with the separator at the end of each."""
    folder_places: NDArray[np.int64]
    """Where each begins there, and the end of the last: shape (folders + 1,)."""
    folder_starts: NDArray[np.int64]
    """The first file of each, and the number of files: shape (folders + 1,)."""
    names: NDArray[np.uint8]
    """Names one after the other."""
    name_starts: NDArray[np.int64]
    """Where each begins there, and the end of the last: shape (files + 1,)."""
    devices: NDArray[np.int64]
    """Of each file, or of all: shape (files,) or (1,)."""
    inodes: NDArray[np.uint64]
    sizes: NDArray[np.int64] | NDArray[np.uint32]
    mtimes_ns: NDArray[np.int64]


@intrinsic
def _pointer(typing_context, address):
    """An integer address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@intrinsic
def _number_at(typing_context, address):
    """The number of eight bytes at an address."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), align=1)

    return types.int64(types.int64), generate


@intrinsic
def _narrow_at(typing_context, address):
    """The unsigned number of four bytes at an address."""

    def generate(context, builder, signature, arguments):
        held = builder.load(builder.inttoptr(arguments[0], ir.IntType(32).as_pointer()), align=1)
        return builder.zext(held, ir.IntType(64))

    return types.int64(types.int64), generate


@njit(nogil=True, cache=True)
def _size_of(places, k):
    return _narrow_at(places[_SIZES] + 4 * k) if places[_NARROW] else _number_at(places[_SIZES] + 8 * k)


@njit(nogil=True, cache=True)
def _open_listed(places, k, path):
    """Open file k; `path` has room for its path."""
    low, high = np.int64(0), places[_COUNT]  # The last folder that does not begin behind it: some before it may be empty.
    while high - low > 1:
        middle = (low + high) // 2
        if _number_at(places[_FOLDER_STARTS] + 8 * middle) <= k:
            low = middle
        else:
            high = middle
    begin = _number_at(places[_FOLDER_PLACES] + 8 * low)
    length = _number_at(places[_FOLDER_PLACES] + 8 * (low + 1)) - begin
    _memcpy(_pointer(path.ctypes.data), _pointer(places[_FOLDERS] + begin), np.uintp(length))
    begin = _number_at(places[_NAME_STARTS] + 8 * k)
    more = _number_at(places[_NAME_STARTS] + 8 * (k + 1)) - begin
    _memcpy(_pointer(path.ctypes.data + length), _pointer(places[_NAMES] + begin), np.uintp(more))
    path[length + more] = 0
    return _open(_pointer(path.ctypes.data), _FLAGS)


@njit(nogil=True, cache=True)
def _is_still(fd, places, k, room):
    """Whether an open file has the device, inode, size and time of change that are known of file k."""
    room[_STATX_NBYTES // 8] = 0  # An empty path.
    if _statx(fd, _pointer(room.ctypes.data + _STATX_NBYTES), _EMPTY_PATH, _WANTED, _pointer(room.ctypes.data)) != 0:
        return False
    # struct statx, of fixed layout: inode in bytes 32:40, size 40:48, time of change 112:124, device 136:144.
    major, minor = room[17] & np.uint64(0xFFFFFFFF), room[17] >> np.uint64(32)
    device = ((major & np.uint64(0xFFFFF000)) << np.uint64(32)) | ((major & np.uint64(0xFFF)) << np.uint64(8))
    device |= ((minor & np.uint64(0xFFFFFF00)) << np.uint64(12)) | (minor & np.uint64(0xFF))
    time = np.int64(room[14]) * 1_000_000_000 + np.int64(room[15] & np.uint64(0xFFFFFFFF))
    return (
        np.int64(device) == _number_at(places[_DEVICES] + (8 * k if places[_APART] else 0))
        and np.int64(room[4]) == _number_at(places[_INODES] + 8 * k)
        and np.int64(room[5]) == _size_of(places, k)
        and time == _number_at(places[_TIMES] + 8 * k)
    )


@njit(["int64(int64[::1], int64, int64[::1], int64, int64[::1])"], nogil=True, cache=True)
def _read(places, path_nbytes, numbers, out_address, targets):
    room = np.zeros(_STATX_NBYTES // 8 + 1, np.uint64)
    path = np.empty(path_nbytes, np.uint8)
    for k in range(numbers.size):
        number = numbers[k]
        fd = _open_listed(places, number, path)
        if fd < 0:
            return k
        done, nbytes = np.int64(0), _size_of(places, number)
        good = _is_still(fd, places, number, room)
        while good and done < nbytes:
            got = _pread(fd, _pointer(out_address + targets[k] + done), np.uintp(nbytes - done), done)
            good = got > 0
            done += got
        good = good and _is_still(fd, places, number, room)
        _close(fd)
        if not good:
            return k
    return -1


@njit(["int64(int64[::1], int64, int64[::1], int64[::1], int64[::1])"], nogil=True, cache=True)
def _absent(places, path_nbytes, numbers, offsets, room):
    path = np.empty(path_nbytes, np.uint8)
    # struct iovec, whose byte is behind it: an array of its own would be freed once its address is taken.
    room[0], room[1] = room.ctypes.data + 16, 1
    for k in range(numbers.size):
        fd = _open_listed(places, numbers[k], path) if _size_of(places, numbers[k]) else -1
        if fd >= 0:
            got = _preadv2(fd, _pointer(room.ctypes.data), np.int32(1), offsets[k], np.int32(_NOT_WAITING))
            _close(fd)
            if got != 1:
                return k
    return -1


@njit(["void(int64[::1], int64, int64[::1])"], nogil=True, cache=True)
def _begin(places, path_nbytes, numbers):
    path = np.empty(path_nbytes, np.uint8)
    for k in range(numbers.size):
        fd = _open_listed(places, numbers[k], path)
        if fd >= 0:
            _advise(fd, 0, 0, _WILL_NEED)
            _close(fd)


class ListedFiles:
    """Very many files, to be read whole by number; may be used by several threads at a time."""

    def __init__(self, arrays: FileArrays) -> None:
        self._arrays = arrays
        more = len(arrays.folder_starts) - 1, arrays.sizes.itemsize == 4, len(arrays.devices) > 1
        self._places = np.array([*(array.ctypes.data for array in arrays), *map(int, more)], np.int64)
        longest = [int(np.diff(starts).max(initial=0)) for starts in (arrays.folder_places, arrays.name_starts)]
        self._path_nbytes = sum(longest) + 1

    def read(self, numbers: NDArray[np.int64], out: NDArray[np.uint8], places: NDArray[np.int64]) -> int:
        """Read all of file `numbers[k]` into `out[places[k]:]`; -1, or the first k that failed.

        A file that is not what is known of it, before and after, has failed. `out` is of bytes, has room for all, and is
        C-contiguous.
        """
        return _read(self._places, self._path_nbytes, numbers, out.ctypes.data, places)

    def first_absent(self, numbers: NDArray[np.int64], offsets: NDArray[np.int64]) -> int:
        """The first k for which the page cache lacks the byte at `offsets[k]` of file `numbers[k]`; -1 for none.

        Files that are empty, or cannot be opened, lack nothing: whoever reads them will say what is wrong.
        """
        return _absent(self._places, self._path_nbytes, numbers, offsets, np.zeros(3, np.int64))

    def begin_reading(self, numbers: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading these files, as far as they can be opened."""
        _begin(self._places, self._path_nbytes, numbers)

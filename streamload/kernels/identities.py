"""What the system says of many files, compiled: a call of the system each, and nothing made in Python."""

# pyright: basic, reportCallIssue=false
# The types of arguments stand in the signatures; numba's own stubs know nothing of them.

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# A cached kernel calls functions of this module only, as numba does not notice when another module changes: `whole_files` has
# what calls statx, and puts a device together, once more. A change here is one there.
_statx = types.ExternalFunction("statx", types.int32(types.int32, types.voidptr, types.int32, types.uint32, types.voidptr))
_WANTED = 0x7FF  # STATX_BASIC_STATS
_STATX_NBYTES = 256


@intrinsic
def _pointer(typing_context, address):
    """An integer address as a pointer."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@njit(["void(int32, int64, int64[::1], int64[:,::1])"], nogil=True, cache=True)
def _identities(fd, address, starts, found):
    room = np.zeros(_STATX_NBYTES // 8, np.uint64)
    place = room.ctypes.data
    for k in range(found.shape[0]):
        if _statx(fd, _pointer(address + starts[k]), 0, _WANTED, _pointer(place)) != 0:
            found[k, 4] = -1
            continue
        # struct statx, of fixed layout: mode in bytes 28:30, inode 32:40, size 40:48, time of change 112:124, device 136:144.
        major, minor = room[17] & np.uint64(0xFFFFFFFF), room[17] >> np.uint64(32)
        device = ((major & np.uint64(0xFFFFF000)) << np.uint64(32)) | ((major & np.uint64(0xFFF)) << np.uint64(8))
        device |= ((minor & np.uint64(0xFFFFFF00)) << np.uint64(12)) | (minor & np.uint64(0xFF))
        found[k, 0] = np.int64(device)
        found[k, 1] = np.int64(room[4])
        found[k, 2] = np.int64(room[5])
        found[k, 3] = np.int64(room[14]) * 1_000_000_000 + np.int64(room[15] & np.uint64(0xFFFFFFFF))
        found[k, 4] = np.int64((room[3] >> np.uint64(32)) & np.uint64(0xFFFF))


def identities(fd: int, names: bytes, starts: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    """See `identities_plain.identities`."""
    held = np.frombuffer(names, np.uint8)
    _identities(-100 if fd < 0 else fd, held.ctypes.data, starts, found)

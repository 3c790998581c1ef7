"""Renames that Python has no function for: without replacing anything, and of two names for each other."""

from __future__ import annotations

import errno
import os

WITHOUT_REPLACING, EXCHANGING = 1, 2
"""Flags of the system call renameat2."""


def renamed(here: str, within: int | None, there: str, beyond: int | None, flags: int) -> bool:
    """Rename as flags say, where the kernel can; whether it could. Raises OSError."""
    if within is None or beyond is None:
        return False
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if call(within, os.fsencode(here), beyond, os.fsencode(there), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), here, None, there)

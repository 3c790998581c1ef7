"""The page cache: emptied of a file's pages before a cold run, and looked at, so that "cold" is a fact."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

DROP = Path("/proc/sys/vm/drop_caches")
EVICT_ONLY = "STREAMLOAD_BENCH_EVICT_ONLY"
"""Set in the environment, it spares the other files on the machine: tests set it."""
MOST_APART = 256
"""Of more files not each is brought to the disk by itself, which on a busy one takes a few milliseconds a file."""
COLD_SHARE = 0.01
"""A file counts as cold when at most this share of its pages is in memory."""


def resident_share(path: Path) -> float:
    """The share of a file's pages that the page cache holds, by mincore."""
    nbytes = path.stat().st_size
    if not nbytes:
        return 0.0
    with path.open("rb") as file, mmap.mmap(file.fileno(), nbytes, prot=mmap.PROT_READ) as mapping:
        view = np.frombuffer(mapping, np.uint8)
        there = np.zeros(-(-nbytes // mmap.PAGESIZE), np.uint8)
        done = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(nbytes), ctypes.c_void_p(there.ctypes.data)
        )
        del view
    if done != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return float((there & 1).mean())


def make_cold(paths: Sequence[Path]) -> str:
    """Empty the page cache of these files, and say how: "dropped" (everything) or "evicted" (these files alone), with what is left.

    Raises RuntimeError where pages stay, since a figure called cold would then be wrong.
    """
    how = "evicted"
    # Pages that are not on the disk yet stay, whatever is asked.
    together = len(paths) > MOST_APART
    if together:
        os.sync()
    for path in paths:
        with path.open("rb") as file:
            if not together:
                os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if not os.environ.get(EVICT_ONLY):
        try:
            DROP.write_text("3")
            how = "dropped"
        except OSError:
            pass  # Not root: these files alone, then.
    left = max(resident_share(path) for path in paths)
    if left > COLD_SHARE:
        raise RuntimeError(f"{100 * left:.1f} % of the file stay in the page cache after it was {how}: some process maps them")
    return f"{how}, mincore finds {100 * left:.2f} % in memory"


def make_warm(paths: Sequence[Path]) -> str:
    """Read these files once, and say what share of them is then in memory."""
    buffer = bytearray(8 << 20)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return f"warm, mincore finds {100 * min(resident_share(path) for path in paths):.1f} % in memory"

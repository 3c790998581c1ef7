"""A ceiling on memory that the kernel holds, page cache included, where this process may make a control group."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

LEAVE_SECONDS = 5.0
"""How long processes that are dying may keep the group from being removed."""


class MemoryCeiling:
    """This process and all that it starts, under a ceiling of memory; to be used with `with`.

    `peak_nbytes` is the most that the group ever held. Processes started inside must have ended before it is left.
    """

    def __init__(self, *, home: Path, nbytes: int, version: int) -> None:
        self.nbytes = nbytes
        self._home = home
        self._group = home / f"streamload-{os.getpid()}"
        names = ("memory.max", "memory.peak") if version == 2 else ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
        self._ceiling, self._peak = names
        self.peak_nbytes = 0

    def __enter__(self) -> MemoryCeiling:
        self._group.mkdir()
        try:
            (self._group / self._ceiling).write_text(str(self.nbytes))
            (self._group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self._group.rmdir()
            raise
        return self

    def measure(self) -> int:
        """The most that the group held so far, in bytes; 0 where the kernel does not say."""
        try:
            self.peak_nbytes = int((self._group / self._peak).read_text())
        except OSError:
            self.peak_nbytes = 0
        return self.peak_nbytes

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.measure()
        (self._home / "cgroup.procs").write_text(str(os.getpid()))
        deadline = time.monotonic() + LEAVE_SECONDS
        while True:
            try:
                self._group.rmdir()
                return
            except OSError:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.05)


def homes(about: Path = Path("/proc/self")) -> list[tuple[Path, int]]:
    """Where a group of ours could stand, with the version of control groups there: within our own group, or beside it."""
    found: list[tuple[Path, int]] = []
    try:
        own = dict(line.split(":", 2)[1:] for line in (about / "cgroup").read_text().splitlines())
        mounts = [line.split() for line in (about / "mounts").read_text().splitlines()]
    except OSError:
        return []
    for _, point, kind, options, *_ in mounts:
        if kind == "cgroup" and "memory" in options.split(",") and "memory" in own:
            found.append((Path(point + own["memory"]), 1))
        elif kind == "cgroup2" and "" in own:
            inside = Path(point + own[""])
            found += [(inside, 2), (inside.parent, 2)]
    return [(home, version) for home, version in found if offers_memory(home, version)]


def offers_memory(home: Path, version: int) -> bool:
    """Whether a group made in `home` would have a ceiling of memory."""
    if not os.access(home, os.W_OK):
        return False
    if version == 1:
        return (home / "memory.limit_in_bytes").exists()
    try:
        return "memory" in (home / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def confined(nbytes: int) -> MemoryCeiling | None:
    """A ceiling of `nbytes` that can be entered here, or None where this process may not make one."""
    for home, version in homes():
        confinement = MemoryCeiling(home=home, nbytes=nbytes, version=version)
        try:
            with confinement:
                pass
        except OSError:
            continue
        return MemoryCeiling(home=home, nbytes=nbytes, version=version)
    return None

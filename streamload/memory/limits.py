"""How much memory there is to use: what the machine and every control group above this process leave free."""

from __future__ import annotations

import errno
import os
from functools import cache
from pathlib import Path

from streamload.errors import ResourceError

_UNLIMITED = 1 << 60


def available_nbytes() -> int:
    """Bytes that this process may still use: free memory of the machine, or of the tightest control group, in bytes.

    Page cache counts as free, since the kernel gives it back. Where the system does not say what is free, half of its memory is taken
    to be; 4 GiB where it does not say that either.
    """
    return min(machine_nbytes(), *(limit - used for limit, used in group_limits()), _UNLIMITED)


def group_limits(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> list[tuple[int, int]]:
    """For each control group with a memory limit, this process's and those above it: (limit, bytes in use without page cache).

    Both versions of the interface are understood, and both at once.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    found: list[tuple[int, int]] = []
    for line in lines:
        if line.count(":") < 2:
            continue
        number, controllers, path = line.split(":", 2)
        if number == "0":
            for base in (root, root / "unified"):
                found += _walk(base, path, "memory.max", "memory.current", "file")
        elif "memory" in controllers.split(","):
            found += _walk(root / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")
    return found


def _walk(base: Path, path: str, limit_name: str, used_name: str, cache_name: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    parts = [part for part in path.split("/") if part and part != ".."]
    # A container may see its own group as the root: then only the base itself exists, and it is the one that counts.
    for depth in range(len(parts), -1, -1):
        folder = base.joinpath(*parts[:depth])
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and limit < _UNLIMITED:
            found.append((limit, max(0, (used or 0) - _cache(folder / "memory.stat", cache_name))))
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _cache(path: Path, name: str) -> int:
    """Page cache that can be given back: file pages, but not shared memory, which is counted among them."""
    try:
        entries = dict(line.split() for line in path.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    shared = entries.get("total_shmem" if name.startswith("total_") else "shmem", "0")
    return max(0, int(entries.get(name, 0)) - int(shared))


def machine_nbytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Free memory of the machine, in bytes: as the kernel's table says, or else half of all, or 4 GiB where nothing is said."""
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * 1024**3


@cache
def last_cache_nbytes() -> int:
    """Bytes of the largest cache that cores share; 32 MB where the machine does not say."""
    sizes = [32 * 1024**2]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            sizes.append(int(path.read_text().strip().removesuffix("K")) * 1024)
        except (OSError, ValueError):
            continue
    return max(sizes[1:] or sizes)


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_descriptors(more: int, *, purpose: str) -> None:
    """Raise ResourceError where this process may not open so many descriptors more."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd")) - 1
    except (ImportError, OSError):
        return
    if limit != resource.RLIM_INFINITY and used + more > limit:
        raise ResourceError(
            f"{purpose} need about {more} descriptors, {used} are open in this process, and its limit is {limit}.",
            hint=f"Raise it with `ulimit -n {max(1024, 2 * (used + more))}`, or lower num_workers.",
            errno=errno.EMFILE,
        )

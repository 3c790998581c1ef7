"""What a figure was measured on: machine, disk, versions."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from streamload.memory.limits import usable_cores
from streamload.sizes import format_decimal

PACKAGES = ("numpy", "h5py", "numba", "imagecodecs", "torch")


def processor() -> str:
    """The model of the processor, as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_nbytes() -> int:
    """Memory of the machine, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def mount_of(folder: Path) -> tuple[str, str]:
    """The device and the kind of file system that hold a folder; question marks where the system does not tell."""
    try:
        mounts = [line.split()[:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "?", "?"
    place = str(folder.resolve())
    holding = [m for m in mounts if place == m[1] or place.startswith(m[1].rstrip("/") + "/")]
    if not holding:
        return "?", "?"
    device, _, kind = max(holding, key=lambda mount: len(mount[1]))
    return device, kind


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter; those that are not installed are left out."""
    found = {"python": platform.python_version(), "streamload": _streamload_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _streamload_version() -> str:
    import streamload

    return streamload.__version__


def machine(folder: Path) -> dict[str, str]:
    """Everything that belongs beside a figure, as short texts."""
    device, kind = mount_of(folder)
    return {
        "processor": f"{processor()}, {usable_cores()} cores",
        "memory": format_decimal(memory_nbytes()),
        "disk": f"{device} ({kind})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": " ".join(f"{name} {version}" for name, version in versions().items()),
        "executable": sys.executable,
    }

"""What of this machine matters to the library: versions, codecs, memory, descriptors, disk; what is wrong, and the cure."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any

import streamload
from streamload.kernels import cache_folder
from streamload.memory.limits import available_nbytes, group_limits, usable_cores
from streamload.sizes import format_nbytes, format_rate
from streamload.storage.owned_files import IN_MEMORY, anonymous_file
from streamload.tools.benchmark.other_work import OtherWork, told
from streamload.tools.console import FOUND, GOOD, Console

EXAMPLE = "streamload doctor --disk /data"

NEEDED = {"numpy": (1, 26), "h5py": (3, 14), "pyarrow": (16, 0), "numba": (0, 61), "imagecodecs": (2024, 9), "cloudpickle": (3, 0)}
"""The oldest releases that are known to work; h5py before 3.14 breaks in forked processes."""
WELCOME = ("rich", "simplejpeg", "PIL", "torch", "jax", "tensorflow")
CODECS = ("deflate", "lzf", "lz4", "blosc", "blosc2", "zstd", "bitshuffle", "jpeg8", "png", "webp")
LEAST_DESCRIPTORS = 1024
LEAST_MEMORY_NBYTES = 1024**3
PROBE_NBYTES = 64 * 1024**2
"""How much is written and read back to find out what the disk does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload doctor`."""
    parser.add_argument("--disk", metavar="FOLDER", default=".", help="the folder whose disk is measured (this one)")
    parser.add_argument("--no-measure", action="store_true", help="write nothing to find out how fast the disk is")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Look everywhere, say everything; exit code 1 where something is wrong."""
    document: dict[str, Any] = {
        "streamload": streamload.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "start": "a launcher that forks workers" if sys.platform == "linux" else "no worker processes here: num_workers=0",
        "packages": {name: _version(name) for name in (*NEEDED, *WELCOME)},
        "hdf5": _hdf5(),
        "codecs": _codecs(),
        "cores": usable_cores(),
        "memory": {"available_nbytes": available_nbytes(), "groups": [{"limit": a, "used": b} for a, b in group_limits()]},
        "shm_nbytes": _free("/dev/shm"),
        "descriptors": _descriptors(),
        "dirty_nbytes": _dirty_nbytes(),
        "cache": _cache(),
    }
    document["disk"] = {"folder": os.path.abspath(arguments.disk), "free_nbytes": _free(arguments.disk)}
    work = OtherWork()
    if not arguments.no_measure:
        document["disk"] |= _disk_rates(arguments.disk)
    document["other_work"] = work.found()
    wrong = list(_wrong(document))
    document["wrong"] = [{"what": what, "cure": cure} for what, cure in wrong]
    _show(document, console)
    console.answer(document)
    return FOUND if wrong else GOOD


def _version(name: str) -> str | None:
    """The release of a package that is installed; it is not imported."""
    try:
        return importlib.metadata.version({"PIL": "Pillow"}.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        return None


def _hdf5() -> str | None:
    try:
        return str(importlib.import_module("h5py").version.hdf5_version)
    except ImportError:
        return None


def _codecs() -> dict[str, bool]:
    try:
        codecs = importlib.import_module("imagecodecs")
    except ImportError:
        return dict.fromkeys(CODECS, False)
    return {name: bool(getattr(getattr(codecs, name.upper(), None), "available", False)) for name in CODECS}


def _free(folder: str) -> int | None:
    """Bytes free for this user in a folder's file system."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def _cache() -> dict[str, Any]:
    """The folder of what is kept from run to run, and whether there can be one."""
    found = cache_folder()
    return {"folder": None if found is None else str(found), "writable": found is not None}


def _descriptors() -> dict[str, int] | None:
    try:
        import resource
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {"limit": soft, "most": hard}


def _dirty_nbytes() -> int | None:
    """Bytes that still wait to be written to disks: many make every measurement slow."""
    try:
        with open("/proc/meminfo") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Dirty:")), None)
    except OSError:
        return None


def _disk_rates(folder: str) -> dict[str, float]:
    """Write a file that has no name, and read it back with an empty page cache: bytes a second."""
    free = _free(folder)
    if free is None or free < 4 * PROBE_NBYTES or not hasattr(os, "posix_fadvise"):
        return {}
    block = os.urandom(1024**2)
    try:
        with anonymous_file(folder) as file:
            began = time.perf_counter()
            for _ in range(PROBE_NBYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            written = time.perf_counter() - began
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            began = time.perf_counter()
            while file.read(len(block)):
                pass
            read = time.perf_counter() - began
    except OSError:
        return {}
    return {"write_nbytes_per_s": PROBE_NBYTES / written, "read_nbytes_per_s": PROBE_NBYTES / read}


def _wrong(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong, and the cure."""
    for name, least in NEEDED.items():
        version = document["packages"][name]
        wanted = ".".join(map(str, least))
        if version is None:
            yield f"{name} is not installed", f"pip install '{name}>={wanted}'"
        elif _numbers(version) < least:
            yield f"{name} {version} is older than {wanted}", f"pip install '{name}>={wanted}'"
    missing = [name for name, there in document["codecs"].items() if not there]
    if missing and document["packages"]["imagecodecs"]:
        yield f"imagecodecs lacks {', '.join(missing)}", "pip install --force-reinstall imagecodecs"
    descriptors = document["descriptors"]
    if descriptors and descriptors["limit"] < LEAST_DESCRIPTORS:
        yield f"a process may open {descriptors['limit']:,} files", f"ulimit -n {min(65_536, max(LEAST_DESCRIPTORS, descriptors['most']))}"
    available = document["memory"]["available_nbytes"]
    if available < LEAST_MEMORY_NBYTES:
        yield f"{format_nbytes(available)} of memory are free", "end other programs, or raise the limit of the control group"
    if not document["cache"]["writable"]:
        yield (
            "no folder of your own can be written to for what is kept from run to run: kernels are compiled every time",
            f"export STREAMLOAD_CACHE_DIR={IN_MEMORY}/streamload, or another folder that you may write to",
        )
    if not sys.platform.startswith("linux"):
        yield f"worker processes need Linux, this is {sys.platform}", "use num_workers=0"
    if document["disk"]["free_nbytes"] is None:
        yield f"{document['disk']['folder']} cannot be looked at", "name another folder with --disk"


def _numbers(version: str) -> tuple[int, ...]:
    found = [part for part in version.split(".") if part.isdecimal()]
    return tuple(int(part) for part in found[:2])


def _show(document: dict[str, Any], console: Console) -> None:
    memory, disk = document["memory"], document["disk"]
    console.title(f"streamload {document['streamload']} · Python {document['python']} · {document['system']}")
    there = {name: version for name, version in document["packages"].items() if version}
    absent = [name for name in WELCOME if name not in there]
    groups = ", ".join(f"{format_nbytes(g['used'])} of {format_nbytes(g['limit'])}" for g in memory["groups"])
    descriptors, dirty = document["descriptors"], document["dirty_nbytes"]
    rates = {name: disk.get(f"{name}_nbytes_per_s") for name in ("read", "write")}
    free = disk["free_nbytes"]
    measured = ", ".join(f"{name}s {format_rate(rate)}" for name, rate in rates.items() if rate)
    console.pairs(
        [
            ("packages", " · ".join(f"{name} {version}" for name, version in there.items())),
            ("not there", " · ".join(absent) + (" (none is needed)" if absent else "")),
            ("HDF5", document["hdf5"] or ""),
            ("codecs", " ".join(name for name, found in document["codecs"].items() if found)),
            ("workers", f"{document['cores']} cores; {document['start']}"),
            ("memory", f"{format_nbytes(memory['available_nbytes'])} free" + (f"; control groups use {groups}" if groups else "")),
            ("/dev/shm", f"{format_nbytes(document['shm_nbytes'])} free; not used here" if document["shm_nbytes"] is not None else ""),
            ("open files", f"at most {descriptors['limit']:,}" if descriptors else ""),
            ("disk", f"{disk['folder']}: {format_nbytes(free)} free" + (f", {measured}" if measured else "") if free is not None else ""),
            ("unwritten", f"{format_nbytes(dirty)} wait in the page cache" if dirty is not None else ""),
        ]
    )
    for one in document["wrong"]:
        console.found(one["what"])
        console.advise(one["cure"])
    busy = told(document["other_work"])
    if busy:
        console.found(busy)
    if not document["wrong"]:
        console.say(f"  nothing is wrong{' with what is installed' if busy else ''}", "green")
